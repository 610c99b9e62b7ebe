"""The files and live rows that make up one table of a snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from trialstore.journal.arrival import extent_of
from trialstore.model.part import Part
from trialstore.model.ranges import in_ranges
from trialstore.query.overlap import overlapping
from trialstore.query.snapshot import ExperimentSnapshot
from trialstore.tables.rows import order_rows
from trialstore.tables.schema import STRUCTS, Fields, fields_of
from trialstore.tables.series import rows_extent, segments

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
            source that came first counts.
    """

    experiment: ExperimentSnapshot
    part: Part | None
    live: pa.Table | None
    structs: Mapping[str, Fields]
    superseded: frozenset[int] = frozenset()
    exact: bool = False
    repeated: bool = False


def sources_of(experiments: Sequence[ExperimentSnapshot], table: str, trial: int | None = None) -> list[Source]:
    """All sources of a table: parts and live rows in the order in which they came, experiment by experiment.

    Args:
        experiments: Whose rows.
        table: The table.
        trial: Leave out sources that have no row of the trial of this number.
    """
    return [source for experiment in experiments for source in _sources_of(experiment, table, trial)]


def _sources_of(experiment: ExperimentSnapshot, table: str, trial: int | None) -> list[Source]:
    parts = [p for p in experiment.table_parts(table) if trial is None or in_ranges(trial, p.trials)]
    came: list[tuple[tuple[int, int], Part | pa.Table]] = [((part.after, 0), part) for part in parts]
    # The rows of a part that came when so many rows had come are before the next row.
    came += [((after, 1), rows) for after, rows in _live(experiment, table, parts, trial)]
    if table == "telemetry":
        came.sort(key=lambda item: item[0])
    there = [item for _, item in came]
    repeated = _repeated(there) if table == "telemetry" else set()
    found = []
    for index, item in enumerate(there):
        if isinstance(item, Part):
            removed = {number for number in experiment.removed_trials if in_ranges(number, item.trials)}
            superseded = experiment.superseded.get(item.id, frozenset()) | removed
            found.append(Source(experiment, item, None, item.schema or {}, superseded, item.exact, index in repeated))
        else:
            structs = {n: fields_of(item.schema.field(n).type) for n in STRUCTS} if table == "trials" else {}
            exact = table == "trials" and item["exact"].null_count < item.num_rows
            found.append(Source(experiment, None, item, structs, exact=exact, repeated=index in repeated))
    return found


def _live(
    experiment: ExperimentSnapshot, table: str, parts: Sequence[Part], trial: int | None
) -> Iterator[tuple[int, pa.Table]]:
    """The live rows in the order of the table, and where they stand among the parts."""
    live = experiment.live.get(table)
    if live is None:
        return
    if experiment.removed_trials and table != "trials":
        gone = pa.array(sorted(experiment.removed_trials), pa.int64())
        live = live.filter(pc.invert(pc.is_in(live["trial"], value_set=gone)))
    pieces = segments(live, experiment.live_after, parts) if table == "telemetry" else [(0, live)]
    for after, rows in pieces:
        chosen = rows if trial is None else rows.filter(pc.equal(rows["trial"], trial))
        if chosen.num_rows:
            yield after, order_rows(table, chosen)


def _repeated(there: Sequence[Part | pa.Table]) -> set[int]:
    return overlapping([extent_of(item) if isinstance(item, Part) else rows_extent(item) for item in there])
