"""How an object becomes bytes and comes back, by the extension of its name.

===================  ====================================================  =======================
extension            what can be stored                                    what comes back
===================  ====================================================  =======================
.json                anything `trialstore.model.codec` encodes             the same, type for type
.txt .log .md …      str                                                   str
.csv                 Polars, pandas or Arrow tables                        polars.DataFrame
.parquet             Polars, pandas or Arrow tables                        polars.DataFrame
.arrow               Polars, pandas or Arrow tables                        pyarrow.Table
.npy                 NumPy arrays, without object fields                   numpy.ndarray
any                  bytes, or a path or open file to copy                 bytes
===================  ====================================================  =======================

Nothing is pickled unless the caller names the loader ``"pickle"``, in storing and in retrieving.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trialstore.model.codec import decode, encode
from trialstore.model.errors import MissingExtraError, UsageError

__all__ = ["LOADERS", "Loader", "loader_for", "loader_named"]


@dataclass(frozen=True, slots=True)
class Loader:
    """One way between objects and bytes.

    Attributes:
        name: Recorded with the artifact.
        extensions: File name endings that choose it.
        dump: Bytes of an object; raises TypeError for one it cannot store.
        load: The object in the bytes.
    """

    name: str
    extensions: tuple[str, ...]
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]


def _dump_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError("bytes are needed")


def _dump_text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("text is needed")
    return value.encode()


def _arrow_table(value: Any) -> Any:
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value
    if hasattr(value, "to_arrow"):
        return value.to_arrow()
    if type(value).__module__.startswith("pandas"):
        return pa.Table.from_pandas(value)
    raise TypeError("a Polars, pandas or Arrow table is needed")


def _dump_csv(value: Any) -> bytes:
    import polars as pl

    frame: Any = pl.from_arrow(_arrow_table(value))
    return bytes(frame.write_csv().encode())


def _load_csv(data: bytes) -> Any:
    import polars as pl

    return pl.read_csv(data)


def _dump_parquet(value: Any) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(_arrow_table(value), sink, compression="zstd")
    return sink.getvalue()


def _load_parquet(data: bytes) -> Any:
    import polars as pl

    return pl.read_parquet(data)


def _dump_arrow(value: Any) -> bytes:
    import pyarrow as pa

    table = _arrow_table(value)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _load_arrow(data: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(data).read_all()


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError:
        raise MissingExtraError("storing .npy needs NumPy", hint="pip install numpy") from None
    return np


def _dump_npy(value: Any) -> bytes:
    np = _numpy()
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        raise TypeError("a NumPy array without object fields is needed")
    sink = io.BytesIO()
    np.save(sink, value, allow_pickle=False)
    return sink.getvalue()


def _load_npy(data: bytes) -> Any:
    return _numpy().load(io.BytesIO(data), allow_pickle=False)


_TEXT = (".txt", ".log", ".md", ".yaml", ".yml", ".toml", ".ini", ".html", ".xml", ".svg", ".py", ".sh", ".sql")

LOADERS = (
    Loader("json", (".json",), encode, decode),
    Loader("text", _TEXT, _dump_text, bytes.decode),
    Loader("csv", (".csv",), _dump_csv, _load_csv),
    Loader("parquet", (".parquet",), _dump_parquet, _load_parquet),
    Loader("arrow", (".arrow", ".feather"), _dump_arrow, _load_arrow),
    Loader("npy", (".npy",), _dump_npy, _load_npy),
    Loader("bytes", (), _dump_bytes, bytes),
    Loader("pickle", (), pickle.dumps, pickle.loads),
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


def loader_for(name: str, value: object) -> Loader:
    """The loader that an artifact's name, or else the object's type, asks for.

    Bytes are stored as they are under any name.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return _BY_NAME["bytes"]
    dot = name.rfind(".")
    chosen = _BY_EXTENSION.get(name[dot:].lower()) if dot >= 0 else None
    if chosen is not None:
        return chosen
    raise UsageError(
        "do not know how to store this object under this name",
        hint=f'use one of the endings {", ".join(sorted(_BY_EXTENSION))}, store bytes, or ask for loader="pickle"',
        name=name,
        type=type(value).__name__,
    )
