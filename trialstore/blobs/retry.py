"""When to try again, and for how long."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from trialstore.model.errors import UsageError

__all__ = ["Retry"]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a request is sent that a bucket did not answer or turned away.

    Attributes:
        attempts: Times in all; 1 means never again.
        first_s: Longest pause before the second attempt; each later pause may be twice as long.
        longest_s: Longest pause of all.
    """

    attempts: int = 9
    first_s: float = 0.05
    longest_s: float = 4.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_s < 0 or self.longest_s < 0:
            raise UsageError("not a way to try again", hint="use at least 1 attempt and no negative pause", retry=self)

    def pauses(self, chance: random.Random) -> Iterator[float]:
        """Seconds before each further attempt: half of each is chance, so that writers do not march in step."""
        for exponent in range(self.attempts - 1):
            whole = min(self.longest_s, self.first_s * 2**exponent)
            yield whole * chance.uniform(0.5, 1.0)
