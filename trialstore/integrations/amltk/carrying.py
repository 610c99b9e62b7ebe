"""The objects of buckets elsewhere become artifacts of trials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from amltk.store import PathBucket

from trialstore.artifacts.loaders import loader_of
from trialstore.artifacts.store import put
from trialstore.experiment import Experiment
from trialstore.integrations.amltk.bucket import TrialStoreBucket
from trialstore.integrations.amltk.formats import PICKLED

__all__ = ["carry"]


def carry(bucket: PathBucket, experiment: Experiment, trial: int, attempt: int) -> None:
    """Copy all objects of a bucket, and of those in it, as artifacts of a trial.

    Bytes are copied as they are, in bounded memory; what loads them is known by the names' endings.

    Cost: a write an object; the rows are with the next commit.
    """
    ledger = experiment._ledger
    with ledger.journal.view() as state:
        retired = set(state.manifest.retired_blobs)
    rows = []
    for name, loader, source in _objects(bucket):
        with source as file:
            stored = put(ledger.blobs, ledger.key, trial, attempt, name, file, loader=None, retired=retired)
        rows.append(replace(stored, loader=loader).row())
    if rows:
        ledger.log_rows("artifacts", rows)


def _objects(bucket: PathBucket) -> Iterator[tuple[str, str, Any]]:
    """Name, loader, and what opens each object."""
    if isinstance(bucket, TrialStoreBucket):
        for name, artifact in bucket._artifacts().items():
            yield name, artifact.loader, _opened(bucket._blobs.open(artifact.path))
        return
    for path in sorted(bucket.path.rglob("*")):
        if path.is_file():
            name = path.relative_to(bucket.path).as_posix()
            yield name, "pickle" if path.suffix.lower() in PICKLED else loader_of(name).name, _opened(path)


@contextmanager
def _opened(source: Path | IO[bytes]) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        yield stack.enter_context(source.open("rb") if isinstance(source, Path) else source)
