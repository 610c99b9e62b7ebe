"""The rows that are still in the journal's state, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from trialstore.journal.experiment import ExperimentState
from trialstore.journal.manifest import ROW_TABLES
from trialstore.model.codec import unpack
from trialstore.model.damage import as_damage
from trialstore.model.record import TrialRecord
from trialstore.tables.rows import rows_table
from trialstore.tables.trials import trials_table

__all__ = ["VALUE_COLUMN", "copy_records", "live_tables", "packed_rows_table", "records_table"]

VALUE_COLUMN = {"metrics": 5, "telemetry": 4}
"""Where a row of these tables has its value, which the journal holds in plain JSON form."""


def live_tables(state: ExperimentState) -> dict[str, pa.Table]:
    """Every table's rows that are in no part."""
    with as_damage("a row of the journal"):
        tables = {table: packed_rows_table(table, state.manifest.rows[table].rows) for table in ROW_TABLES}
        return {"trials": records_table(state.trials.values()), **tables}


def copy_records(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Copies that later commits do not change."""
    return [replace(record) for record in records]


def records_table(records: Iterable[TrialRecord]) -> pa.Table:
    """The trials table of records as the state holds them."""
    return trials_table([record.decoded() for record in records])


def packed_rows_table(table: str, rows: Sequence[Sequence[Any]]) -> pa.Table:
    """The table of rows as the state holds them."""
    column = VALUE_COLUMN.get(table)
    if column is None:
        return rows_table(table, [tuple(row) for row in rows])
    return rows_table(table, [(*row[:column], unpack(row[column]), *row[column + 1 :]) for row in rows])
