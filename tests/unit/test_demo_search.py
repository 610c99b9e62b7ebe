"""The search proposes only candidates that fit, and better ones as it learns."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialstore.demo.search import Scored, pareto_front, propose, sample
from trialstore.demo.settings import LEVELS, WriterSettings, space
from trialstore.model.space import Categorical, Integer

_LOWEST = 3.2
_COLUMNS = ["scheduled_at", "carrier", "dest", "tailnum"]


def _cost(params: Mapping[str, Any]) -> tuple[float, float]:
    """A made-up workload of two costs that pull against each other; `_LOWEST` is their least sum."""
    size = 10.0 - params["dictionary"] * 4 - params["level"] * 0.3 - (params["encoding"] == "both") * 2
    size += abs(math.log(params["row_group_rows"] / 65_536))
    time = 1.0 + params["level"] * 0.1 + abs(math.log(params["page_kib"] / 64)) + (params["sort_by"] != "none") * 0.5
    return size, time


def _search(seed: int, rounds: int, *, learn: bool) -> list[Scored]:
    rng = random.Random(seed)
    scored: list[Scored] = []
    for _ in range(rounds):
        params = propose(rng, scored) if learn else sample(rng)
        scored.append((params, _cost(params)))
    return scored


@pytest.mark.parametrize("learn", [False, True])
def test_every_candidate_fits(learn: bool) -> None:
    seen: dict[str, set[Any]] = {}
    for params, _ in _search(0, 300, learn=learn):
        WriterSettings.parse(params, None, _COLUMNS)
        for name, value in params.items():
            seen.setdefault(name, set()).add(value)
    for name, dimension in space().items():
        if isinstance(dimension, Categorical):
            assert seen[name] == set(dimension.choices)
        elif isinstance(dimension, Integer):
            assert len(seen[name]) > 5


def test_the_same_seed_and_history_give_the_same_candidates() -> None:
    assert _search(7, 40, learn=True) == _search(7, 40, learn=True)
    assert _search(7, 40, learn=True) != _search(8, 40, learn=True)


def test_no_candidate_is_measured_twice() -> None:
    scored = _search(1, 200, learn=True)
    assert len({tuple(params.items()) for params, _ in scored}) == 200


def test_learning_beats_chance() -> None:
    """Over twenty seeds of 80 trials, the best sum of costs is a third nearer to the optimum than by chance."""

    def distance(*, learn: bool) -> float:
        return sum(min(sum(costs) for _, costs in _search(seed, 80, learn=learn)) - _LOWEST for seed in range(20))

    assert 0 <= distance(learn=True) < 0.65 * distance(learn=False)


def test_exploring_draws_fresh_candidates() -> None:
    rng, twin = random.Random(3), random.Random(3)
    scored = [(sample(random.Random(0)), (0.0, 0.0))]
    fresh = propose(rng, scored, explore=1.0)
    sample(twin), twin.random()
    assert fresh == sample(twin)


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, math.inf, math.nan])] * 3), max_size=12))
def test_the_front_is_what_no_point_beats(costs: list[tuple[float, ...]]) -> None:
    front = pareto_front(costs)
    for index, point in enumerate(costs):
        beaten = any(
            all(a <= b for a, b in zip(other, point, strict=True)) and other != point
            for other in costs
            if not any(map(math.isnan, other))
        )
        assert (index in front) == (not beaten and not any(map(math.isnan, point)))


def test_levels_are_those_of_the_codecs() -> None:
    import pyarrow as pa

    for codec, levels in LEVELS.items():
        if len(levels) > 1:
            assert pa.Codec.minimum_compression_level(codec) <= levels[0]
            assert levels[-1] <= pa.Codec.maximum_compression_level(codec)
        else:
            assert levels[0] == 0
