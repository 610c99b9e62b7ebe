"""The files and live rows that make up one table of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from trialstore.model.part import Part
from trialstore.model.ranges import in_ranges, ranges_of
from trialstore.query.overlap import Extent, overlapping
from trialstore.query.snapshot import ExperimentSnapshot
from trialstore.tables.rows import order_rows
from trialstore.tables.schema import STRUCTS, Fields, fields_of
from trialstore.tables.times import time_text

__all__ = ["Source", "sources_of"]


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of one experiment: a part, or those that are in none.

    Attributes:
        experiment: Whose rows.
        part: The part, None for live rows.
        live: The live rows, None for a part.
        structs: The fields of each struct column of a trials source.
        superseded: Trials whose row here does not count.
        exact: Whether a row of a trials source has something in its `exact` column.
        repeated: Whether another source may hold some of the same telemetry samples. Of such samples that of the
            source that comes first counts.
    """

    experiment: ExperimentSnapshot
    part: Part | None
    live: pa.Table | None
    structs: Mapping[str, Fields]
    superseded: frozenset[int] = frozenset()
    exact: bool = False
    repeated: bool = False


def sources_of(experiments: Sequence[ExperimentSnapshot], table: str, trial: int | None = None) -> list[Source]:
    """All sources of a table: parts in the order they were announced, then live rows, experiment by experiment.

    Args:
        experiments: Whose rows.
        table: The table.
        trial: Leave out sources that have no row of the trial of this number.
    """
    found: list[Source] = []
    for experiment in experiments:
        parts = [p for p in experiment.table_parts(table) if trial is None or in_ranges(trial, p.trials)]
        live = _live(experiment, table)
        if live is not None and trial is not None:
            live = live.filter(pc.equal(live["trial"], trial))
        if live is not None and not live.num_rows:
            live = None
        repeated = _repeated(parts, live) if table == "telemetry" else set()
        for index, part in enumerate(parts):
            superseded = experiment.superseded.get(part.id, frozenset())
            structs = part.schema or {}
            found.append(Source(experiment, part, None, structs, superseded, part.exact, index in repeated))
        if live is not None:
            structs = {n: fields_of(live.schema.field(n).type) for n in STRUCTS} if table == "trials" else {}
            exact = table == "trials" and live["exact"].null_count < live.num_rows
            found.append(Source(experiment, None, live, structs, exact=exact, repeated=len(parts) in repeated))
    return found


def _live(experiment: ExperimentSnapshot, table: str) -> pa.Table | None:
    live = experiment.live.get(table)
    return None if live is None else order_rows(table, live)


def _repeated(parts: Sequence[Part], live: pa.Table | None) -> set[int]:
    extents = [Extent(part.trials, part.first_at or "", part.last_at or "") for part in parts]
    if live is not None:
        limits = pc.min_max(live["at"])
        trials = ranges_of(pc.unique(live["trial"]).to_pylist())
        extents.append(Extent(trials, time_text(limits["min"]), time_text(limits["max"])))
    return overlapping(extents)
