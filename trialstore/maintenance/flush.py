"""Flush: finished trials and logged rows leave the journal's state for parts."""

from __future__ import annotations

from trialstore.blobs.protocol import Blobs
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft, Journal
from trialstore.model.part import Part
from trialstore.model.ranges import ranges_of
from trialstore.tables.live import copy_records, packed_rows_table, records_table
from trialstore.tables.parts import write_part

__all__ = ["flush"]


def flush(blobs: Blobs, key: str, journal: Journal[ExperimentState]) -> int:
    """Move what is finished into parts; returns how many trials moved.

    Guarantees: every row is in exactly one live place before, during and after, however many processes flush at once
    and wherever one of them dies. A trial that changes meanwhile stays in the state, and its newer row counts.

    Cost: one write for each table that has rows, and one commit.
    """
    with journal.view() as state:
        seq = state.seq
        records = copy_records(record for record in state.trials.values() if record.status.is_final)
        logs = {table: (log.start, list(log.rows)) for table, log in state.manifest.rows.items() if log.rows}
    if not records and not logs:
        return 0
    parts: list[Part] = []
    if records:
        parts.append(write_part(blobs, key, "trials", records_table(records), seq))
    parts += [write_part(blobs, key, table, packed_rows_table(table, rows), seq) for table, (_, rows) in logs.items()]
    *_, outcome = journal.execute(
        Draft(
            "flush",
            {
                "seq": seq,
                "trials": [list(pair) for pair in ranges_of(record.number for record in records)],
                "rows": {table: [start, len(rows)] for table, (start, rows) in logs.items()},
                "parts": [part.to_json() for part in parts],
            },
        )
    )
    if outcome.reason is not None:
        blobs.delete([part.blob_key(key) for part in parts])
        return 0
    return int(outcome.value)
