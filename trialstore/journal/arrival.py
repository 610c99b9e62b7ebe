"""The order in which telemetry came, by which the first of equal samples is told.

A row that rides the journal has a place: how many rows came before it. A part has one as well, in `Part.after`: that
of the next row that came. A part that a flush wrote holds a stretch of rows and has the place of the first of them; one
that a compaction wrote has the place of the last part that went into it. So nothing that may hold a sample of theirs
may have come in between, and the functions here say whether something did.
"""

from __future__ import annotations

from collections.abc import Iterable

from trialstore.model.extent import Extent
from trialstore.model.part import Part

__all__ = ["arrival", "cut_between", "extent_of", "merged_over"]


def arrival(part: Part) -> tuple[int, int]:
    """What parts are sorted by, stably, to stand in the order in which their rows came."""
    return part.after, part.seq


def extent_of(part: Part) -> Extent:
    """Where a part's rows are."""
    return Extent(part.trials, part.first_at, part.last_at)


def cut_between(extent: Extent, first: int, end: int, parts: Iterable[Part]) -> int | None:
    """The first place at which a part came between rows that may hold samples of it, None where none did.

    Args:
        extent: Where the rows are.
        first: The place of the first of them.
        end: The place after the last one.
        parts: Telemetry parts.
    """
    places = (part.after for part in parts if first < part.after < end and extent.meets(extent_of(part)))
    return min(places, default=None)


def merged_over(merged: Iterable[Part], others: Iterable[Part]) -> list[Part]:
    """Those of the other parts that came between two of the merged ones and may hold a sample of theirs."""
    merged = list(merged)
    places = [arrival(part) for part in merged]
    between = [part for part in others if min(places) <= arrival(part) <= max(places)] if places else []
    return [part for part in between if any(extent_of(part).meets(extent_of(one)) for one in merged)]
