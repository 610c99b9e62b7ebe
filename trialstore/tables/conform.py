"""Seeing that rows which were read are rows of their table, before anything relies on it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from trialstore.tables.schema import ROW_SCHEMAS, STRUCTS, fields_of, trials_schema

__all__ = ["GROUP_ROWS", "conform", "read_checked"]

GROUP_ROWS = 131_072
"""Most rows of a row group. So a file of a few bytes cannot have rows without end."""


def read_checked(data: bytes, table: str) -> pa.Table:
    """The rows in the bytes of a part, page checksums compared.

    Raises:
        ValueError: the bytes are no Parquet file, or not one of this table.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        about = file.metadata
        if any(about.row_group(index).num_rows > GROUP_ROWS for index in range(about.num_row_groups)):
            raise ValueError(f"it has a row group of more than {GROUP_ROWS} rows")
        rows = file.read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"it is no Parquet file that can be read: {error}") from None
    return conform(rows, table)


def conform(rows: pa.Table, table: str) -> pa.Table:
    """The rows with the columns of their table alone: what a later version adds is passed over.

    Raises:
        ValueError: a column is missing, there twice, or of another type.
    """
    schema = trials_schema({}) if table == "trials" else ROW_SCHEMAS[table]
    names = rows.schema.names
    if any(names.count(name) != 1 for name in schema.names):
        raise ValueError("it has not the columns of its table")
    if names != schema.names:
        rows = rows.select(schema.names)
    for field in schema:
        type_ = rows.schema.field(field.name).type
        if table == "trials" and field.name in STRUCTS:
            if not pa.types.is_struct(type_):
                raise ValueError("its struct columns are none")
            try:
                fields_of(type_)
            except KeyError as error:
                raise ValueError(f"a field of {field.name} has a type that there is not: {error}") from None
        elif type_ != field.type:
            raise ValueError("its columns have not the types of its table")
    return rows
