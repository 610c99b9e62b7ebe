"""What makes it safe to delete the old commits of a journal while anybody may read and write it.

Deleting a commit frees its sequence number, and a create of that number succeeds again. So two rules hold, for the
retention time R that the store fixes when it is made:

1. A commit is deleted only when two readable checkpoints after it have each been in the store for R.
2. Whoever last looked at the end of the journal longer than R/2 ago believes neither that the next number is free nor
   that the journal ends there, before it has looked for newer checkpoints. A writer looks at its clock again after its
   put: when that ended more than R/2 after the last look, the commit counts only if it stands in the history.

Together: a process that finds number n absent at a time L knows that no checkpoint at n or after it was there at L, so
that n is not deleted before L + R. Until L + R/2 by its own clock, n is absent because nobody has written it.

Source: SlateDB, RFC 0026 (garbage collection behind a boundary that writers check).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["RETENTION_S", "Aged", "Watch", "outgrown", "truncation_points"]

RETENTION_S = 7 * 86400.0
"""How long history is kept in a store that says nothing else."""

KEPT = 3
"""So many of the newest checkpoints stay whatever their age."""

_STEPS = 8


def clock() -> tuple[float, float]:
    """Seconds since the machine started, its sleep included where the system counts it, and the time of day.

    One that stands still or is set back does no harm, since the longer of the two differences counts.
    """
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.monotonic() if boot is None else time.clock_gettime(boot)), time.time()


class Watch:
    """How long ago a process last looked at the end of a journal.

    Args:
        retention_s: The store's retention time.
    """

    def __init__(self, retention_s: float) -> None:
        self._longest_s = retention_s / 2
        self._looked: tuple[float, float] | None = None

    def start(self) -> tuple[float, float]:
        """The time at which a look begins; give it to `is_over` and `finish`."""
        return clock()

    def is_over(self, started: tuple[float, float]) -> bool:
        """Whether a look that began then has lasted too long to be believed."""
        return self._is_long(started, clock())

    def _is_long(self, start: tuple[float, float], end: tuple[float, float]) -> bool:
        return end[0] - start[0] > self._longest_s or end[1] - start[1] > self._longest_s

    def finish(self, started: tuple[float, float]) -> None:
        """A look that began then saw the end, or the newest checkpoint of all."""
        self._looked = started

    @property
    def is_old(self) -> bool:
        """Whether the last look is too long ago to be believed. False before the first."""
        return self._looked is not None and self.is_over(self._looked)

    def is_old_at(self, now: tuple[float, float]) -> bool:
        """`is_old` at a time that `start` has told."""
        return self._looked is not None and self._is_long(self._looked, now)


@dataclass(frozen=True, slots=True)
class Aged:
    """A checkpoint, and for how long it has been in the store by the backend's clock."""

    key: str
    seq: int
    age_s: float


def outgrown(checkpoints: Sequence[Aged], retention_s: float) -> list[str]:
    """The checkpoints that nobody needs: neither new, nor old enough to delete commits by, nor on the way to that.

    Args:
        checkpoints: All there are, oldest first.
        retention_s: The store's retention time.
    """
    young = [c for c in checkpoints if c.age_s < retention_s]
    mature = [c for c in checkpoints if c.age_s >= retention_s]
    kept = {c.key for c in [*checkpoints[-KEPT:], *mature[-2:]]}
    last_age = float("inf")
    for checkpoint in young:
        if last_age - checkpoint.age_s >= retention_s / _STEPS:
            kept.add(checkpoint.key)
            last_age = checkpoint.age_s
    return [c.key for c in checkpoints if c.key not in kept]


def truncation_points(checkpoints: Sequence[Aged], retention_s: float) -> list[Aged]:
    """The checkpoints that have been there for the retention, newest first.

    Commits before the second of them that can be read may be deleted. The commit that it names itself stays, so that
    the chain can be followed from it.
    """
    return [c for c in reversed(checkpoints) if c.age_s >= retention_s]
