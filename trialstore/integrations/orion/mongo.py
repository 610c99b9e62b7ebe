"""What MongoDB's `mongodump` writes of a database of Oríon's: a folder with a BSON file for each collection."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Any

from orion.core.io.database.ephemeraldb import EphemeralDB

from trialstore.model.errors import DamagedError, MissingExtraError, UsageError

__all__ = ["read_mongodump", "without_bson"]

_COLLECTIONS = ("experiments", "trials", "algo", "benchmarks")
_SUFFIXES = (".bson", ".bson.gz")


def read_mongodump(folder: str | os.PathLike[str]) -> EphemeralDB:
    """The collections of a dump, with their ids as they were; nothing in the files is run.

    Args:
        folder: What ``mongodump --db orion --out DUMP`` made, ``DUMP/orion``, with ``--gzip`` or without.

    Raises:
        UsageError: the folder has no file of experiments.
        DamagedError: a file is not whole.
        MissingExtraError: there is no ``bson``, which comes with pymongo.
    """
    files = {name: _file(Path(folder), name) for name in _COLLECTIONS}
    if files["experiments"] is None:
        raise UsageError(
            "folder has no experiments.bson",
            hint="the one that mongodump names after the database",
            path=os.fspath(folder),
        )
    database = EphemeralDB()
    for name, path in files.items():
        documents = [] if path is None else _documents(path)
        if documents:
            database.write(name, documents)
    return database


def _file(folder: Path, name: str) -> Path | None:
    return next((path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)


def _documents(path: Path) -> list[dict[str, Any]]:
    try:
        import bson
    except ModuleNotFoundError:
        raise MissingExtraError("a dump of MongoDB is read with pymongo", hint="pip install pymongo") from None
    try:
        data = path.read_bytes()
        found = bson.decode_all(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (bson.errors.BSONError, OSError, EOFError, zlib.error) as error:
        raise DamagedError("not a file of mongodump", path=os.fspath(path), reason=str(error)) from None
    return list(found)


def without_bson(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Documents whose numbers are Python's, where MongoDB told its 64-bit integers from others."""
    return [_plain(document) for document in documents]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if type(value).__name__ == "Int64" else value
