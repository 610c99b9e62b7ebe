"""Small snapshots over real parts, without a journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from trialstore.blobs.protocol import Blobs
from trialstore.model.identity import escape
from trialstore.model.part import Part
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.query.snapshot import ExperimentSnapshot
from trialstore.tables.parts import write_part
from trialstore.tables.rows import rows_table
from trialstore.tables.trials import trials_table

AT = "2026-11-21T01:02:03.123456Z"


def record(number: int, params: dict[str, Any] | None = None, **more: Any) -> TrialRecord:
    fields = {"status": Status.SUCCEEDED, "submitted_at": AT, "seq": number, **more}
    return TrialRecord(number=number, id=f"{number:032x}", params=params or {}, **fields)


def sample(trial: int, second: int, name: str, value: object) -> tuple[Any, ...]:
    return (trial, 1, f"2026-11-21T01:02:{second:02}.000000Z", name, value)


def experiment(
    blobs: Blobs,
    name: str = "exp",
    *,
    version: int = 1,
    trials: Sequence[Sequence[TrialRecord]] = (),
    rows: Mapping[str, Sequence[Sequence[tuple[Any, ...]]]] | None = None,
    live_trials: Sequence[TrialRecord] = (),
    live_rows: Mapping[str, Sequence[tuple[Any, ...]]] | None = None,
    superseded: Mapping[int, set[int]] | None = None,
    removed_artifacts: Sequence[str] = (),
) -> ExperimentSnapshot:
    """An experiment with one part for each list of trials or rows; `superseded` counts the trials parts from 0."""
    key = escape(f"{name}@{version}")
    trial_parts = [write_part(blobs, key, "trials", trials_table(list(r)), seq) for seq, r in enumerate(trials)]
    row_parts: list[Part] = [
        write_part(blobs, key, table, rows_table(table, part), seq)
        for table, parts in (rows or {}).items()
        for seq, part in enumerate(parts)
    ]
    live: dict[str, pa.Table] = {table: rows_table(table, part) for table, part in (live_rows or {}).items()}
    live["trials"] = trials_table(list(live_trials))
    return ExperimentSnapshot(
        id=1,
        name=name,
        version=version,
        key=key,
        metadata={"created_at": AT, "counts": {"SUCCEEDED": sum(map(len, trials))}, "max_trials": 9},
        seq=99,
        parts=(*trial_parts, *row_parts),
        superseded={trial_parts[index].id: frozenset(numbers) for index, numbers in (superseded or {}).items()},
        removed_artifacts=frozenset(removed_artifacts),
        live=live,
    )
