"""How an object of an AMLTK program becomes an artifact and comes back: the user's loaders first, then the store's."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from amltk.store import PathLoader

from trialstore.artifacts.loaders import dump
from trialstore.artifacts.store import Artifact, load, save
from trialstore.blobs.protocol import Blobs
from trialstore.model.errors import DamagedError, UsageError

__all__ = ["PICKLED", "Formats", "local_file"]

PICKLED = (".pkl", ".pickle", ".pdpickle")


class Formats:
    """What a bucket can store, and what comes back.

    As AMLTK has it, pandas frames come back as pandas frames, ``.pkl`` is a pickle, and a `PathLoader` of the user goes
    before everything else. Otherwise the store's own loaders do it, which are exact: ``.json`` keeps tuples, NaN and
    bytes apart, bytes are bytes under any name, and what has no way back is refused rather than pickled.

    Args:
        loaders: Loaders of the user, the first that says it can is taken.
        pickle: Whether objects may be pickled and unpickled, which can run any code that the store holds.
    """

    def __init__(self, loaders: Sequence[type[PathLoader[Any]]] = (), pickle: bool = False) -> None:
        self.loaders = tuple(loaders)
        self.pickle = pickle

    def __reduce__(self) -> tuple[object, ...]:
        return Formats, (self.loaders, self.pickle)

    @contextmanager
    def dumped(self, path: Path, value: Any) -> Iterator[tuple[Any, str | None]]:
        """What is to be stored for a value, and the loader to record; None for the one that it would choose itself.

        Raises:
            UsageError: the value cannot be stored under this name.
        """
        for loader in self.loaders:
            if loader.can_save(value, path):
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / path.name
                    loader.save(value, file)
                    yield file, "bytes"
                return
        suffix = path.suffix.lower()
        if isinstance(value, bytes | bytearray | memoryview):
            yield value, None
        elif suffix in PICKLED:
            self._require_pickle(path.name)
            yield dump(path.name, value, "pickle")[0], "pickle"
        elif suffix == ".csv":
            yield _csv(path.name, value), "csv"
        elif suffix == ".text":
            yield dump(path.name, value, "text")[0], "text"
        else:
            yield value, None

    def load(self, blobs: Blobs, artifact: Artifact, path: Path) -> Any:
        """The object that was stored.

        Raises:
            DamagedError: the bytes are not those that were stored, or not in their format.
            UsageError: it is a pickle, and the bucket was not made with ``pickle=True``.
        """
        for loader in self.loaders:
            if loader.can_load(path):
                with local_file(blobs, artifact, path) as file:
                    return loader.load(file)
        if artifact.loader in ("pickle", "joblib"):
            self._require_pickle(path.name)
            return load(blobs, artifact, artifact.loader)
        if artifact.loader in ("csv", "parquet"):
            return _table(artifact, load(blobs, artifact, "bytes"))
        return load(blobs, artifact)

    def _require_pickle(self, name: str) -> None:
        if not self.pickle:
            raise UsageError(
                "this bucket neither pickles nor unpickles, since unpickling can run any code that the store holds",
                hint="if you trust all who write to the store: TrialStoreBucket(..., pickle=True)",
                name=name,
            )


@contextmanager
def local_file(blobs: Blobs, artifact: Artifact, path: Path) -> Iterator[Path]:
    """The artifact as a local file of the path's name, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        save(blobs, artifact, file)
        yield file


def _csv(name: str, value: Any) -> bytes:
    if not isinstance(value, pd.DataFrame) or value.index.nlevels != 1:
        raise UsageError(
            "only a pandas frame with a plain index can be stored as CSV here",
            hint="use the ending .parquet, which keeps types as well",
            name=name,
            type=type(value).__name__,
        )
    return bytes(value.to_csv(index=True).encode())


def _table(artifact: Artifact, data: bytes) -> Any:
    """A pandas frame; of Parquet that was not made of one, a Polars frame."""
    try:
        if artifact.loader == "csv":
            return pd.read_csv(io.BytesIO(data), index_col=0)
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(data))
        if b"pandas" in (table.schema.metadata or {}):
            return table.to_pandas()
        import polars as pl

        return pl.from_arrow(table)
    except (ValueError, OSError) as error:  # pandas' and Arrow's own errors are of these
        raise DamagedError(f"file cannot be read as {artifact.loader}", name=artifact.name, reason=str(error)) from None
