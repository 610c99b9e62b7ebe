"""A table as the bytes of a Parquet file, encoded for its columns."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from trialstore.tables.schema import STRUCTS, fields_of

__all__ = ["ROW_GROUP_ROWS", "parquet_bytes"]

ROW_GROUP_ROWS = 1 << 17
"""Rows of a row group: the least that a query of one trial reads."""

_LABELS = frozenset({"status", "worker", "reason", "loader", "type", "text"})
_SERIES = frozenset({"metrics", "telemetry"})


def parquet_bytes(table: pa.Table, name: str) -> memoryview:
    """The Parquet file of a table, with statistics and page checksums.

    Cost: numbers, times and booleans at memory speed; text is hashed once where it repeats.
    """
    dictionary, encodings = _encodings(table.schema, name)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        use_dictionary=dictionary,
        column_encoding=encodings,
        write_statistics=True,
        write_page_checksum=True,
        store_schema=False,
    )
    return memoryview(sink.getvalue())


def _encodings(schema: pa.Schema, name: str) -> tuple[list[str], dict[str, str]]:
    """The columns to encode with a dictionary, and the encodings of the others."""
    leaves: list[tuple[str, pa.DataType, bool]] = []
    for field in schema:
        if pa.types.is_struct(field.type):
            leaves += [(f"{field.name}.{child}", _leaf(field, child), True) for child in _children(field)]
        else:
            leaves.append((field.name, field.type, field.name in _LABELS or (field.name == "name" and name in _SERIES)))
    dictionary: list[str] = []
    encodings: dict[str, str] = {}
    for path, type_, repeats in leaves:
        if repeats and (pa.types.is_string(type_) or pa.types.is_integer(type_)):
            dictionary.append(path)
        elif pa.types.is_integer(type_) or pa.types.is_timestamp(type_):
            encodings[path] = "DELTA_BINARY_PACKED"
        elif pa.types.is_floating(type_) and name != "trials":
            encodings[path] = "BYTE_STREAM_SPLIT"
    return dictionary, encodings


def _children(field: pa.Field) -> list[str]:
    return list(fields_of(field.type)) if field.name in STRUCTS else []


def _leaf(field: pa.Field, child: str) -> pa.DataType:
    return field.type.field(child).type
