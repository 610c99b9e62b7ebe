"""Flush: finished trials and logged rows leave the journal's state for parts."""

from __future__ import annotations

from trialstore.blobs.protocol import Blobs
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft, Journal
from trialstore.model.ranges import ranges_of
from trialstore.tables.live import copy_records, packed_rows_table, records_table
from trialstore.tables.parts import none_if_full, whole_or_none, write_part
from trialstore.tables.series import segments

__all__ = ["flush"]

_ATTEMPTS = 8


def flush(blobs: Blobs, key: str, journal: Journal[ExperimentState]) -> int:
    """Move what is finished into parts; returns how many trials moved.

    Guarantees: every row is in exactly one live place before, during and after, however many processes flush at once
    and wherever one of them dies. A trial that changes meanwhile stays in the state, and its newer row counts.

    Cost: one write for each table that has rows, and one commit; one write more for each telemetry part that came
    between rows of which it may hold samples.
    """
    for _ in range(_ATTEMPTS):
        moved = _flush(blobs, key, journal)
        if moved is not None:
            return moved
    return 0  # merges keep crossing it; the rows are safe where they are


def _flush(blobs: Blobs, key: str, journal: Journal[ExperimentState]) -> int | None:
    """The same; None when a compaction put a part between the rows meanwhile, so that they must be cut anew."""
    with journal.view() as state:
        seq = state.seq
        records = copy_records(record for record in state.trials.values() if record.status.is_final)
        logs = {table: (log.start, list(log.rows)) for table, log in state.manifest.rows.items() if log.rows}
        series = [part for part in state.manifest.parts.values() if part.table == "telemetry"]
    if not records and not logs:
        return 0
    with whole_or_none(blobs, key) as parts:
        if records:
            parts.append(write_part(blobs, key, "trials", records_table(records), seq))
        for table, (start, rows) in logs.items():
            packed = packed_rows_table(table, rows)
            for after, piece in segments(packed, start, series) if table == "telemetry" else [(0, packed)]:
                parts.append(write_part(blobs, key, table, piece, seq, after))
    fields = {
        "seq": seq,
        "trials": [list(pair) for pair in ranges_of(record.number for record in records)],
        "rows": {table: [start, len(rows)] for table, (start, rows) in logs.items()},
        "parts": [part.to_json() for part in parts],
    }
    with none_if_full(blobs, key, parts):
        *_, outcome = journal.execute(Draft("flush", fields))
    if outcome.reason is not None:
        blobs.delete([part.blob_key(key) for part in parts])
        return None if outcome.reason == "part between" else 0
    return int(outcome.value)
