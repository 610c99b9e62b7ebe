"""A figure: what was measured of trialstore and of its peer, round by round, and what it must reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

__all__ = ["Figure", "Target", "interleave"]


@dataclass(frozen=True, slots=True)
class Target:
    """A limit on the median.

    Attributes:
        of: What is limited: ours, or ours divided by the peer's.
        sense: Which side of the limit is good.
        limit: The limit itself still meets the target.
    """

    of: Literal["ours", "ratio"]
    sense: Literal["at least", "at most"]
    limit: float

    def met_by(self, value: float) -> bool:
        """Whether a median is on the good side."""
        return value >= self.limit if self.sense == "at least" else value <= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result.

    Attributes:
        name: What was measured.
        unit: Of both sides.
        ours: One value a round.
        peer: One value a round, measured next to ours; empty when there is no peer.
        peer_name: What the peer is.
        target: What must be reached; None for a line that only informs.
    """

    name: str
    unit: str
    ours: tuple[float, ...]
    peer: tuple[float, ...]
    peer_name: str
    target: Target | None = None

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours divided by the peer's of the same round."""
        return tuple(ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)) if self.peer else ()

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None without one."""
        if self.target is None:
            return None
        return self.target.met_by(median(self.ours if self.target.of == "ours" else self.ratios))

    def to_json(self) -> dict[str, Any]:
        """All values, for a machine to read."""
        target = self.target
        return {
            "figure": self.name,
            "unit": self.unit,
            "ours": list(self.ours),
            "peer": list(self.peer),
            "peer_name": self.peer_name,
            "ratios": list(self.ratios),
            "target": None if target is None else {"of": target.of, "sense": target.sense, "limit": target.limit},
            "met": self.met,
        }


def interleave(
    rounds: int, ours: Callable[[], float], peer: Callable[[], float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure ours and the peer in turn, so that a disturbance of the machine falls on both."""
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
