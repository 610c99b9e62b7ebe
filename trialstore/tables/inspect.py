"""Comparing the file of a part with what the journal says of it."""

from __future__ import annotations

import zlib

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trialstore.model.part import Part
from trialstore.tables.parts import describe_part
from trialstore.tables.schema import ROW_SCHEMAS, STRUCTS, TRIAL_COLUMNS
from trialstore.tables.times import time_texts

__all__ = ["artifact_rows_of", "differences", "parse_part"]


def parse_part(data: bytes, table: str) -> pa.Table:
    """The rows in the bytes of a part.

    Raises:
        ValueError: the bytes are no Parquet file, or it has not the columns of the table.
    """
    try:
        rows = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"it is no Parquet file that can be read: {error}") from None
    names = list(TRIAL_COLUMNS) if table == "trials" else ROW_SCHEMAS[table].names
    if rows.schema.names != names:
        raise ValueError("it has not the columns of its table")
    if table != "trials" and not rows.schema.equals(ROW_SCHEMAS[table]):
        raise ValueError("its columns have not the types of its table")
    if table == "trials" and not all(pa.types.is_struct(rows.schema.field(name).type) for name in STRUCTS):
        raise ValueError("its struct columns are none")
    return rows


def differences(data: bytes, part: Part) -> list[str]:
    """What is not as the journal says; empty when all is.

    Checks size, CRC-32, columns, number of rows, trial numbers, times, the schema of struct columns, and that no
    trial has two rows in a trials part.
    """
    found = []
    if len(data) != part.size_bytes:
        found.append(f"size is {len(data)} bytes, not {part.size_bytes}")
    elif zlib.crc32(data) != part.crc32:
        found.append(f"CRC-32 is {zlib.crc32(data):08x}, not {part.crc32:08x}")
    if found:
        return found
    try:
        rows = parse_part(data, part.table)
    except ValueError as error:
        return [str(error)]
    real = describe_part(part.id, part.table, rows, data, part.seq)
    for name in ("rows", "trials", "schema", "exact", "first_at", "last_at"):
        is_, said = getattr(real, name), getattr(part, name)
        if is_ != said:
            found.append(f"{name} is {is_!r}, not {said!r}"[:300])
    if part.table == "trials" and pc.count_distinct(rows["trial"]).as_py() != rows.num_rows:
        found.append("a trial has two rows")
    return found


def artifact_rows_of(data: bytes) -> list[list[object]]:
    """The rows of a part of the artifacts table, in the order of its columns.

    Raises:
        ValueError: as for `parse_part`.
    """
    table = parse_part(data, "artifacts")
    columns = [time_texts(table[name]) if name == "at" else table[name].to_pylist() for name in table.schema.names]
    return [list(row) for row in zip(*columns, strict=True)]
