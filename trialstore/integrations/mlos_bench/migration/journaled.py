"""What an import from a database of mlos_bench writes: commands of the journal, and tables of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from trialstore.integrations.mlos_bench.migration.rows import Sample, TrialRow
from trialstore.integrations.mlos_bench.migration.stored import IMPORTED
from trialstore.integrations.mlos_bench.migration.texts import split, typed
from trialstore.journal.journal import Draft
from trialstore.model.codec import pack, pack_dict
from trialstore.model.identity import check_name
from trialstore.model.status import Status
from trialstore.model.times import format_time
from trialstore.tables.schema import ROW_SCHEMAS, TIME
from trialstore.tables.values import split_values

__all__ = ["PROGRESS", "noted", "reopened", "samples_table", "updated"]

PROGRESS = "mlos_bench.import"
"""The document of an experiment that says where it comes from and how far it is."""


def noted(state: Mapping[str, Any]) -> Draft:
    """Say how far an import is."""
    return Draft("document", {"name": PROGRESS, "value": pack(dict(state)), "revision": None})


def reopened(row: TrialRow) -> Draft:
    """Make a trial that came in as one that has ended what it is: one that has not."""
    status = Status.parse(row.status)
    began = {"started_at": format_time(row.starts_at), "attempt": 1} if status.is_active else {}
    return Draft("amend", {"trial": row.id - 1, "status": status, "reason": IMPORTED, **began})


def updated(row: TrialRow, before: TrialRow, was: Status) -> list[Draft]:
    """Make a trial that has not ended in the store what it has become in the database.

    The fold refuses it when the trial is no longer what it was.
    """
    status = Status.parse(row.status)
    numbers, texts = split(row.results)
    begins = format_time(row.starts_at)
    fields: dict[str, Any] = {
        "trial": row.id - 1,
        "was": was,
        "status": status,
        "reason": IMPORTED,
        "ready_at": begins,
        "started_at": begins if status.is_active or status.is_final else None,
        "attempt": int(status.is_active or status.is_final),
        "ended_at": None if row.ended_at is None else format_time(row.ended_at),
        "metrics": pack_dict(numbers, "metrics"),
        "summary": pack_dict(texts, "summary") or None,
        "attributes": pack_dict({name: typed(value) for name, value in row.params.items()}, "config") or None,
        "runner": row.runner,
    }
    known = set(before.steps)
    steps = [
        [row.id - 1, 1, status, format_time(at), None, None] for at, status in row.steps if (at, status) not in known
    ]
    return [Draft("amend", fields), *([Draft("rows", {"table": "status", "rows": steps})] if steps else [])]


def samples_table(samples: Sequence[Sample]) -> pa.Table:
    """Samples as the store logs them."""
    trials, times, names, texts = zip(*samples, strict=True)
    for name in dict.fromkeys(names):
        check_name(name, "telemetry series")
    count = len(samples)
    columns = [
        pa.array([trial - 1 for trial in trials], pa.int64()),
        pa.repeat(pa.scalar(1, pa.int32()), count),
        pa.array(times, TIME),
        pa.array(names, pa.string()),
        *split_values([typed(text) for text in texts]),
    ]
    return pa.table(columns, schema=ROW_SCHEMAS["telemetry"])
