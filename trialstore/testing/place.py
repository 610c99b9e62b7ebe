"""Where a store under test is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trialstore.blobs.protocol import Blobs
from trialstore.blobs.resolve import open_blobs
from trialstore.store import Store
from trialstore.store import open as open_store

__all__ = ["Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """An empty place for a store, as a value that can be sent to another process.

    Attributes:
        url: What `trialstore.open` takes: an address, or blobs of your own.
        storage_options: As for `trialstore.open`.
    """

    url: str | os.PathLike[str] | Blobs
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)

    def open(self, **options: Any) -> Store:
        """The store, as a session of its own."""
        return open_store(self.url, storage_options=self.storage_options, **options)

    def blobs(self) -> Blobs:
        """What is under the store."""
        return open_blobs(self.url, storage_options=self.storage_options)

    def contents(self) -> dict[str, tuple[int, datetime]]:
        """Size and time of each blob by key: equal twice when nothing was written between."""
        return {info.key: (info.size_bytes, info.modified_at) for info in self.blobs().list("")}
