"""Tables as CSV, Parquet and Arrow files."""

from __future__ import annotations

import io
from typing import Any

__all__ = ["dump_arrow", "dump_csv", "dump_parquet", "load_arrow", "load_csv", "load_parquet"]


def _arrow_table(value: Any) -> Any:
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value
    if hasattr(value, "to_arrow"):
        return value.to_arrow()
    if type(value).__module__.startswith("pandas"):
        return pa.Table.from_pandas(value)
    raise TypeError("a Polars, pandas or Arrow table is needed")


def dump_csv(value: Any) -> bytes:
    """A table as CSV with a header."""
    import polars as pl

    frame: Any = pl.from_arrow(_arrow_table(value))
    return bytes(frame.write_csv().encode())


def load_csv(data: bytes) -> Any:
    """A Polars frame; bytes that are no UTF-8 are refused."""
    import polars as pl

    data.decode()  # Polars replaces what is none in a header
    return pl.read_csv(data)


def dump_parquet(value: Any) -> bytes:
    """A table as Parquet, zstd."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(_arrow_table(value), sink, compression="zstd")
    return sink.getvalue()


def load_parquet(data: bytes) -> Any:
    """A Polars frame."""
    import polars as pl

    return pl.read_parquet(data)


def dump_arrow(value: Any) -> bytes:
    """A table as an Arrow IPC file."""
    import pyarrow as pa

    table = _arrow_table(value)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def load_arrow(data: bytes) -> Any:
    """An Arrow table."""
    import pyarrow as pa

    return pa.ipc.open_file(data).read_all()
