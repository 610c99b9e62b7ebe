"""Which sources of telemetry may hold the same sample twice."""

from __future__ import annotations

from dataclasses import dataclass

from trialstore.model.part import Ranges

__all__ = ["Extent", "overlapping"]


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the rows of one source can be.

    Attributes:
        trials: Its trial numbers.
        first_at, last_at: Its earliest and latest time, as stored.
    """

    trials: Ranges
    first_at: str
    last_at: str


def overlapping(extents: list[Extent]) -> set[int]:
    """The indexes of those that share a trial and a stretch of time with another one."""
    found: set[int] = set()
    running: list[int] = []
    for index in sorted(range(len(extents)), key=lambda i: extents[i].first_at):
        extent = extents[index]
        running = [other for other in running if extents[other].last_at >= extent.first_at]
        for other in running:
            if not (index in found and other in found) and _meet(extent.trials, extents[other].trials):
                found |= {index, other}
        running.append(index)
    return found


def _meet(one: Ranges, other: Ranges) -> bool:
    left, right = 0, 0
    while left < len(one) and right < len(other):
        if one[left][1] < other[right][0]:
            left += 1
        elif other[right][1] < one[left][0]:
            right += 1
        else:
            return True
    return False
