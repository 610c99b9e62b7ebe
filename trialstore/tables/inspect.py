"""Comparing the file of a part with what the journal says of it."""

from __future__ import annotations

import zlib

import pyarrow.compute as pc

from trialstore.model.part import Part
from trialstore.tables.conform import read_checked
from trialstore.tables.parts import describe_part
from trialstore.tables.times import time_texts

__all__ = ["artifact_rows_of", "differences"]


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
        rows = read_checked(data, part.table)
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
        ValueError: as for `read_checked`.
    """
    table = read_checked(data, "artifacts")
    columns = [time_texts(table[name]) if name == "at" else table[name].to_pylist() for name in table.schema.names]
    return [list(row) for row in zip(*columns, strict=True)]
