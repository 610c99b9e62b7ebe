"""Compaction: many small parts become few large ones, and rows that no longer count are dropped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from trialstore.blobs.protocol import Blobs
from trialstore.journal.arrival import extent_of, merged_over
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft, Journal
from trialstore.journal.retention import RETENTION_S
from trialstore.maintenance.flush import flush
from trialstore.maintenance.replaced import outlived
from trialstore.model.errors import BlobNotFoundError
from trialstore.model.part import TABLES, Part
from trialstore.model.times import format_time, now_text, parse_time
from trialstore.tables.live import packed_rows_table
from trialstore.tables.parts import merge_parts, none_if_full
from trialstore.tables.series import rows_extent

__all__ = ["READERS_GRACE", "SESSION_MEMORY", "Compaction", "compact", "delete_retired", "tidy"]

PART_ROWS = {"trials": 1 << 20, "metrics": 1 << 22, "telemetry": 1 << 22, "status": 1 << 22, "artifacts": 1 << 20}
SESSION_MEMORY = timedelta(days=7)
"""After so long a silence a session is forgotten."""

READERS_GRACE = timedelta(hours=1)
"""So long the file of a replaced part is kept in any case for those who are reading it."""

_TIER = 16


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did to one experiment.

    Attributes:
        flushed_trials: Finished trials that moved from the journal into a part.
        parts_before: Live parts after the flush.
        parts_after: Live parts now.
        deleted_files: Files of parts replaced earlier that were deleted.
    """

    flushed_trials: int
    parts_before: int
    parts_after: int
    deleted_files: int


def compact(
    blobs: Blobs,
    key: str,
    journal: Journal[ExperimentState],
    *,
    grace: timedelta,
    progress: Callable[[str], None] | None = None,
) -> Compaction:
    """Flush, merge the parts of every table, write a checkpoint, and delete files replaced longer ago than `grace`.

    Guarantees: safe beside writers, readers and other compactions. A snapshot that is younger than `grace`, or is taken
    of the past of that time, finds all its files.

    Args:
        blobs: The store's blobs.
        key: The experiment's folder.
        journal: The experiment's journal.
        grace: How long the file of a replaced part is kept, for those who still read it and for the past.
        progress: Told the name of each table before its parts are merged.
    """
    flushed = flush(blobs, key, journal)
    with journal.view() as state:
        before = len(state.manifest.parts)
    for table in TABLES:
        if progress is not None:
            progress(table)
        _merge(blobs, key, journal, table, _all_small)
    deleted = delete_retired(blobs, key, journal, grace)
    now = parse_time(now_text())
    journal.execute(Draft("retire_sessions", {"before": format_time(now - SESSION_MEMORY)}))
    journal.checkpoint()
    with journal.view(refresh=False) as state:
        return Compaction(flushed, before, len(state.manifest.parts), deleted)


def tidy(
    blobs: Blobs, key: str, journal: Journal[ExperimentState], grace: timedelta = timedelta(seconds=RETENTION_S)
) -> int:
    """Merge small parts where many of one size have gathered, as often as it helps; returns how many were merged.

    Files of parts that were replaced longer than `grace` ago, and more than an hour, are deleted.

    Bounded: a row is rewritten once for each factor of `_TIER` that its part grows by, and a step reads no more than
    the parts of one size. Safe beside writers, readers and other compactions.
    """
    merged = 0
    for table in TABLES:
        merged += _merge(blobs, key, journal, table, _crowded)
    if merged:
        delete_retired(blobs, key, journal, max(grace, READERS_GRACE))
    return merged


_Choose = Callable[[list[Part], Mapping[str, set[int]], bool], list[Part]]
"""Picks the parts of a table to merge, knowing what is superseded in them and whether artifacts were removed."""


def _merge(blobs: Blobs, key: str, journal: Journal[ExperimentState], table: str, choose: _Choose) -> int:
    with journal.view() as state:
        manifest = state.manifest
        superseded = {part: set(numbers) for part, numbers in manifest.superseded.items()}
        removed = set(manifest.removed_artifacts) if table == "artifacts" else set()
        there = [p for p in manifest.parts.values() if p.table == table]
        series = manifest.rows["telemetry"]
        start, rows = series.start, list(series.rows) if table == "telemetry" else []
    parts = choose(there, superseded, bool(removed))
    if table == "telemetry":
        parts = _with_those_between(parts, there)
        if _rows_between(parts, start, rows):
            # A merged part has one place in the order, so those rows must be parts and merged as well. The next
            # merge does it; this one takes what came before any of them.
            flush(blobs, key, journal)
            there = [part for part in there if part.after <= start]
            parts = _with_those_between(choose(there, superseded, False), there)
    chosen = {part.id for part in parts}
    parts = [part for part in there if part.id in chosen]
    if not parts:
        return 0
    try:
        new = merge_parts(blobs, key, table, parts, superseded, removed, PART_ROWS[table])
    except BlobNotFoundError:
        with journal.view() as state:
            if all(part.id in state.manifest.parts for part in parts):
                raise
        return 0  # this process stood still while another one merged them, and their grace is over
    fields = {
        "remove": [part.id for part in parts],
        "add": [part.to_json() for part in new],
        "dropped": {part.id: sorted(superseded[part.id]) for part in parts if part.id in superseded},
        "dropped_artifacts": sorted(removed) if choose is _all_small else [],
    }
    with none_if_full(blobs, key, new):
        *_, outcome = journal.execute(Draft("replace", fields))
    if outcome.reason is not None:
        blobs.delete([part.blob_key(key) for part in new])
        return 0
    return len(parts)


def _all_small(parts: list[Part], superseded: Mapping[str, set[int]], removed: bool) -> list[Part]:
    """The parts that are not yet as large as they should be, or that hold rows that no longer count."""
    chosen = [p for p in parts if removed or p.id in superseded or p.rows < PART_ROWS[p.table] // 2]
    if len(chosen) == 1 and not removed and chosen[0].id not in superseded:
        return []
    return sorted(chosen, key=lambda part: (part.trials[:1], part.id))


def _crowded(parts: list[Part], superseded: Mapping[str, set[int]], removed: bool) -> list[Part]:
    """The parts of the smallest size that too many parts have."""
    tiers: dict[int, list[Part]] = {}
    for part in parts:
        if part.rows < PART_ROWS[part.table] // 2:
            tiers.setdefault(int(math.log(max(part.rows, 1), _TIER)), []).append(part)
    crowded = [tier for tier, members in tiers.items() if len(members) >= _TIER]
    return sorted(tiers[min(crowded)], key=lambda part: (part.trials[:1], part.id)) if crowded else []


def _with_those_between(chosen: list[Part], parts: list[Part]) -> list[Part]:
    """The chosen parts, and those announced between two of them that may hold a sample of theirs.

    Of equal samples the first counts, and a merged part has one place in the order: nothing may stand in between.
    """
    result = {part.id: part for part in chosen}
    while more := merged_over(result.values(), [part for part in parts if part.id not in result]):
        result |= {part.id: part for part in more}
    return list(result.values())


def _rows_between(parts: list[Part], start: int, rows: list[list[Any]]) -> bool:
    """Whether rows of the log came between two of the parts and may be samples of theirs."""
    places = [part.after for part in parts]
    between = rows[max(min(places) - start, 0) : max(max(places) - start, 0)] if places else []
    if not between:
        return False
    extent = rows_extent(packed_rows_table("telemetry", between))
    return any(extent.meets(extent_of(part)) for part in parts)


def delete_retired(blobs: Blobs, key: str, journal: Journal[ExperimentState], grace: timedelta) -> int:
    """Delete the files of parts that were replaced longer ago than `grace`; returns how many."""
    old = outlived(blobs, key, journal, grace, parse_time(now_text()))
    if old:
        blobs.delete([f"{table}/experiment={key}/{part}.parquet" for part, table in old.items()])
        journal.execute(Draft("forget", {"parts": sorted(old)}))
    return len(old)
