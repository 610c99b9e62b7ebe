"""The demo's search: random candidates, and better ones bred from the Pareto front of what was measured."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from trialstore.demo.settings import LEVELS, space
from trialstore.model.space import Categorical, Integer

__all__ = ["Scored", "pareto_front", "propose", "sample"]

Scored: TypeAlias = tuple[Mapping[str, Any], Sequence[float]]
"""Parameters, and what they cost: numbers of which less is better, as many in each."""

_EXPLORE = 0.15
_ATTEMPTS = 20


def sample(rng: random.Random) -> dict[str, Any]:
    """A random candidate: inside the space, with a level that fits its codec."""
    return _fit_level(rng, {name: _draw(rng, dimension) for name, dimension in _tuned().items()})


def propose(rng: random.Random, scored: Sequence[Scored], *, explore: float = _EXPLORE) -> dict[str, Any]:
    """The next candidate to measure, given all that was measured.

    Two parents from the Pareto front are crossed and one or two parameters changed. Candidates that were measured are
    avoided, and a part of the candidates is random, so that the search cannot get stuck for good.

    Args:
        rng: The source of chance; the same state and history give the same candidate.
        scored: What was measured so far, in any order; empty gives a random candidate.
        explore: The part of the candidates that is random, 0 to 1.

    Source: the (μ+λ) evolution strategy, with the non-dominated set as μ, as in NSGA-II.
    """
    front = [scored[index][0] for index in pareto_front([costs for _, costs in scored])]
    tuned = _tuned()
    known = {_identity(params) for params, _ in scored}
    candidate = sample(rng)
    for _ in range(_ATTEMPTS):
        if not front or rng.random() < explore:
            candidate = sample(rng)
        else:
            mother, father = rng.choice(front), rng.choice(front)
            candidate = {name: (mother if rng.random() < 0.5 else father)[name] for name in tuned}
            for name in rng.sample(list(tuned), rng.randint(1, 2)):
                candidate[name] = _change(rng, tuned[name], candidate[name])
            candidate = _fit_level(rng, candidate)
        if _identity(candidate) not in known:
            break
    return candidate


def pareto_front(costs: Sequence[Sequence[float]]) -> list[int]:
    """Positions of the points that no other point beats: none is as low everywhere and lower somewhere.

    A point with a NaN is never on the front.

    Example:
        >>> pareto_front([(1, 5), (2, 2), (3, 3), (5, float("nan"))])
        [0, 1]
    """
    real = [index for index, point in enumerate(costs) if not any(map(math.isnan, point))]
    return [index for index in real if not any(_beats(costs[other], costs[index]) for other in real)]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))


def _tuned() -> dict[str, Integer | Categorical]:
    return {name: dimension for name, dimension in space().items() if isinstance(dimension, Integer | Categorical)}


def _draw(rng: random.Random, dimension: Integer | Categorical) -> Any:
    if isinstance(dimension, Categorical):
        return rng.choice(dimension.choices)
    if dimension.log:
        return _clip(dimension, math.exp(rng.uniform(math.log(dimension.low), math.log(dimension.high))))
    return rng.randint(dimension.low, dimension.high)


def _change(rng: random.Random, dimension: Integer | Categorical, value: Any) -> Any:
    if isinstance(dimension, Categorical):
        return rng.choice([choice for choice in dimension.choices if choice != value])
    if dimension.log:
        spread = math.log(dimension.high / dimension.low) / 5
        return _clip(dimension, value * math.exp(rng.gauss(0, spread)))
    return _clip(dimension, value + rng.choice((-2, -1, 1, 2)))


def _clip(dimension: Integer, value: float) -> int:
    return min(max(round(value), dimension.low), dimension.high)


def _fit_level(rng: random.Random, candidate: dict[str, Any]) -> dict[str, Any]:
    levels = LEVELS[candidate["codec"]]
    if candidate["level"] not in levels:
        candidate["level"] = rng.choice(levels)
    return candidate


def _identity(params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(params.items()))
