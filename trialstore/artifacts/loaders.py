"""How an object becomes bytes and comes back, by the extension of its name.

===================  ====================================================  =======================
extension            what can be stored                                    what comes back
===================  ====================================================  =======================
.json                anything `trialstore.model.codec` encodes             the same, type for type
.yaml .yml           what YAML says exactly (not tuples)                   the same, type for type
.txt .log .md …      str                                                   str
.csv                 Polars, pandas or Arrow tables                        polars.DataFrame
.parquet             Polars, pandas or Arrow tables                        polars.DataFrame
.arrow               Polars, pandas or Arrow tables                        pyarrow.Table
.npy                 NumPy arrays, without object fields                   numpy.ndarray
.npz                 mappings of names to such arrays                      dict of numpy.ndarray
any                  bytes, or a path or open file to copy                 bytes
===================  ====================================================  =======================

Nothing is pickled unless the caller names the loader ``"pickle"`` or ``"joblib"``, in storing and in retrieving.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trialstore.artifacts.arrays import dump_npy, dump_npz, load_npy, load_npz
from trialstore.artifacts.frames import dump_arrow, dump_csv, dump_parquet, load_arrow, load_csv, load_parquet
from trialstore.artifacts.texts import dump_text, dump_yaml, load_yaml
from trialstore.model.codec import decode, encode
from trialstore.model.errors import DamagedError, MissingExtraError, UsageError

__all__ = ["LOADERS", "Loader", "dump", "loader_for", "loader_named", "loader_of", "parse"]


@dataclass(frozen=True, slots=True)
class Loader:
    """One way between objects and bytes.

    Attributes:
        name: Recorded with the artifact.
        extensions: File name endings that choose it.
        dump: Bytes of an object; raises TypeError for one it cannot store.
        load: The object in the bytes.
        runs_code: Whether loading can run any code that the bytes hold. It is then never chosen by a name.
    """

    name: str
    extensions: tuple[str, ...]
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]
    runs_code: bool = False


def _dump_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError("bytes are needed")


def _joblib() -> Any:
    try:
        import joblib
    except ImportError:
        raise MissingExtraError('loader="joblib" needs joblib', hint="pip install joblib") from None
    return joblib


def _dump_joblib(value: Any) -> bytes:
    import io

    sink = io.BytesIO()
    _joblib().dump(value, sink)
    return sink.getvalue()


def _load_joblib(data: bytes) -> Any:
    import io

    return _joblib().load(io.BytesIO(data))


_TEXT = (".txt", ".log", ".md", ".toml", ".ini", ".html", ".xml", ".svg", ".py", ".sh", ".sql")

LOADERS = (
    Loader("json", (".json",), encode, decode),
    Loader("yaml", (".yaml", ".yml"), dump_yaml, load_yaml),
    Loader("text", _TEXT, dump_text, bytes.decode),
    Loader("csv", (".csv",), dump_csv, load_csv),
    Loader("parquet", (".parquet",), dump_parquet, load_parquet),
    Loader("arrow", (".arrow", ".feather"), dump_arrow, load_arrow),
    Loader("npy", (".npy",), dump_npy, load_npy),
    Loader("npz", (".npz",), dump_npz, load_npz),
    Loader("bytes", (), _dump_bytes, bytes),
    Loader("pickle", (), pickle.dumps, pickle.loads, runs_code=True),
    Loader("joblib", (), _dump_joblib, _load_joblib, runs_code=True),
)
_BY_NAME = {loader.name: loader for loader in LOADERS}
_BY_EXTENSION = {extension: loader for loader in LOADERS for extension in loader.extensions}


def loader_named(name: str) -> Loader:
    """The loader of this name.

    Raises:
        UsageError: there is none.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        raise UsageError("no such loader", hint=f"one of {', '.join(_BY_NAME)}", loader=name) from None


def loader_of(name: str) -> Loader:
    """The loader that a file of this name is read with: that of its ending, else bytes. It never runs code."""
    return _BY_EXTENSION.get(_ending(name), _BY_NAME["bytes"])


def loader_for(name: str, value: object) -> Loader:
    """The loader that an artifact's name, or else the object's type, asks for.

    Bytes are stored as they are under any name.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return _BY_NAME["bytes"]
    chosen = _BY_EXTENSION.get(_ending(name))
    if chosen is not None:
        return chosen
    raise UsageError(
        "do not know how to store this object under this name",
        hint=f'use one of the endings {", ".join(sorted(_BY_EXTENSION))}, store bytes, or ask for loader="pickle"',
        name=name,
        type=type(value).__name__,
    )


def dump(name: str, value: object, loader: str | None) -> tuple[bytes, Loader]:
    """The bytes of an object that is stored under a name, and the loader that made them.

    Args:
        name: Its ending chooses the loader.
        value: The object.
        loader: Name of a loader to use instead.

    Raises:
        UsageError: the loader cannot store the object.
    """
    how = loader_for(name, value) if loader is None else loader_named(loader)
    try:
        return how.dump(value), how
    except TypeError as error:
        raise UsageError(
            f"object cannot be stored as {how.name}: {error}",
            hint='choose another ending, store bytes, or ask for loader="pickle"',
            name=name,
            type=type(value).__name__,
        ) from None


def parse(name: str, data: bytes, how: Loader) -> Any:
    """The object in the bytes that are stored under a name.

    Raises:
        DamagedError: they are not in the loader's format. What a loader that runs code raises comes through.
    """
    try:
        return how.load(data)
    except MissingExtraError:
        raise
    except Exception as error:
        if how.runs_code:
            raise
        raise DamagedError(
            f"file cannot be read as {how.name}",
            hint='ask for another loader; loader="bytes" gives the raw bytes',
            name=name,
            reason=getattr(error, "message", None) or str(error),
        ) from error


def _ending(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot >= 0 else ""
