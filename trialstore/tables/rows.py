"""Rows of the tables that have fixed columns, and the order that every part keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trialstore.tables.schema import ROW_SCHEMAS, SORT_KEYS
from trialstore.tables.times import time_array
from trialstore.tables.values import split_values

__all__ = ["order_rows", "rows_table"]


def rows_table(name: str, rows: Sequence[Sequence[Any]]) -> pa.Table:
    """The table of these rows, in their order.

    Args:
        name: metrics, telemetry, status or artifacts.
        rows: Values as the journal's state keeps them, decoded: metrics (trial, attempt, name, step, at, value);
            telemetry (trial, attempt, at, name, value); status (trial, attempt, status, at, worker, reason);
            artifacts (trial, attempt, name, path, size_bytes, sha256, at, loader, id). Times are stored spellings.
    """
    schema = ROW_SCHEMAS[name]
    if not rows:
        return schema.empty_table()
    columns = list(zip(*rows, strict=True))
    arrays: list[pa.Array] = []
    for field, column in zip(schema, columns, strict=False):
        if field.name == "at":
            arrays.append(time_array(column))
        elif field.name == "value":
            arrays.extend(split_values(column))
        else:
            arrays.append(pa.array(column, field.type))
    return pa.table(arrays, schema=schema)


def order_rows(name: str, table: pa.Table) -> pa.Table:
    """The rows in the order of the table's parts; of telemetry with equal trial, name and time the first one only.

    Cost: a few vectorised comparisons when the rows are in order already.
    """
    keys = SORT_KEYS[name]
    if table.num_rows < 2:
        return table
    ties = _ties(table, keys)
    if ties is None:
        table = table.take(pc.sort_indices(table, sort_keys=[(key, "ascending") for key in keys]))
        if name != "telemetry":
            return table
        ties = _ties(table, keys)
    if name == "telemetry" and pc.any(ties).as_py():
        keep = pa.chunked_array([pa.array([True]), *pc.invert(ties).chunks])
        table = table.filter(keep)
    return table


def _ties(table: pa.Table, keys: Sequence[str]) -> pa.ChunkedArray | None:
    """Which rows have the keys of the row before, from the second on; None when the rows are not in order."""
    count = table.num_rows
    ties: pa.ChunkedArray | None = None
    for key in keys:
        column = table[key]
        before, after = column.slice(0, count - 1), column.slice(1)
        falls = pc.greater(before, after)
        same = pc.equal(before, after)
        if ties is not None:
            falls, same = pc.and_(falls, ties), pc.and_(same, ties)
        if pc.any(falls).as_py():
            return None
        ties = same
    return ties
