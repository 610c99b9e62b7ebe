"""Where rows can be: their trials, and a stretch of time."""

from __future__ import annotations

from dataclasses import dataclass

from trialstore.model.part import Ranges

__all__ = ["Extent"]


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the rows of one source of telemetry can be.

    Attributes:
        trials: Its trial numbers.
        first_at, last_at: Its earliest and latest time, as stored; None where there is no row.
    """

    trials: Ranges
    first_at: str | None
    last_at: str | None

    def meets(self, other: Extent) -> bool:
        """Whether both share a trial and a moment, so that both may hold the same sample."""
        if self.first_at is None or self.last_at is None or other.first_at is None or other.last_at is None:
            return False
        in_time = self.first_at <= other.last_at and other.first_at <= self.last_at
        return in_time and _overlap(self.trials, other.trials)


def _overlap(one: Ranges, other: Ranges) -> bool:
    left, right = 0, 0
    while left < len(one) and right < len(other):
        if one[left][1] < other[right][0]:
            left += 1
        elif other[right][1] < one[left][0]:
            right += 1
        else:
            return True
    return False
