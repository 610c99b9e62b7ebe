"""Several trials tables as one, with nothing lost where their types differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from trialstore.tables.schema import STRUCTS, Fields, fields_of, trials_schema, unify_fields
from trialstore.tables.trials import records_from, trials_table

__all__ = ["concat_trials", "fits", "widen"]


def concat_trials(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all tables, with struct columns that hold the fields of each.

    A table whose own types and order of fields are part of the result's is widened as it is; the rows of any other are
    converted one by one, and what their new columns cannot say is kept in `exact`.
    """
    structs = {
        name: unify_fields(fields_of(table.schema.field(name).type) for table in tables if table.num_rows)
        for name in STRUCTS
    }
    schema = trials_schema(structs)
    return pa.concat_tables([widen(table, structs) for table in tables if table.num_rows] or [schema.empty_table()])


def widen(table: pa.Table, structs: Mapping[str, Fields]) -> pa.Table:
    """A trials table with struct columns of these fields, which must be wide enough; no value is changed by it."""
    schema = trials_schema(structs)
    if table.schema.equals(schema):
        return table
    if not all(fits(fields_of(table.schema.field(name).type), structs[name]) for name in STRUCTS):
        return trials_table(records_from(table), structs)
    arrays = [
        _widen_struct(table[field.name], field.type) if pa.types.is_struct(field.type) else table[field.name]
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def fits(fields: Fields, wide: Fields) -> bool:
    """Whether the fields stand in `wide` with the same kinds and in the same order: rows can be widened as they are."""
    rest = iter(wide.items())
    return all(
        any(name == other and kind in ("null", wide_kind) for other, wide_kind in rest) for name, kind in fields.items()
    )


def _widen_struct(column: pa.ChunkedArray, type_: pa.StructType) -> pa.ChunkedArray:
    chunks = []
    for chunk in column.chunks:
        known = {field.name: chunk.field(index) for index, field in enumerate(chunk.type)}
        children = [
            known[field.name].cast(field.type) if field.name in known else pa.nulls(len(chunk), field.type)
            for field in type_
        ]
        chunks.append(pa.StructArray.from_arrays(children, fields=list(type_), mask=chunk.is_null()))
    return pa.chunked_array(chunks, type_)
