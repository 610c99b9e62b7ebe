"""What killed writers leave in a local folder under names that are no blobs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.oserrors import from_oserror
from trialstore.blobs.protocol import BlobInfo, Blobs
from trialstore.blobs.reading import ReadingBlobs

__all__ = ["delete_leftovers", "leftovers"]

_TEMPORARY = re.compile(r"\.[0-9A-Z]{26}\.tmp")


def leftovers(blobs: Blobs) -> Iterator[BlobInfo]:
    """Temporary files of writers, those at work included; none where the backend has none.

    Only where files cannot be made without a name (macOS, network mounts) does a killed writer leave one.
    """
    if not isinstance(blobs.inner if isinstance(blobs, ReadingBlobs) else blobs, LocalBlobs):
        return
    root = blobs.engine_path("x")[:-1]
    for folder, _, names in os.walk(root):
        for name in names:
            if _TEMPORARY.fullmatch(name):
                path = os.path.join(folder, name)
                try:
                    found = os.lstat(path)
                except FileNotFoundError:
                    continue
                yield BlobInfo(path[len(root) :], found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def delete_leftovers(blobs: Blobs, keys: Iterable[str]) -> None:
    """Remove temporary files that `leftovers` named."""
    root = blobs.engine_path("x")[:-1]
    for key in keys:
        try:
            os.unlink(root + key)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise from_oserror(error, "delete a temporary file", key=key, url=blobs.url) from error
