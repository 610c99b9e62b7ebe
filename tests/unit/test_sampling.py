"""Parameters drawn at random are of the space, repeatable, and as often as their scale says."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import trialstore as ts
from trialstore.model.sampling import sample

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(1e-300, 1e300)


def integers(low: int, high: int, log: bool) -> ts.Integer:
    return ts.Integer(min(low, high), max(low, high), log=log)


dimensions = st.one_of(
    st.builds(integers, st.integers(), st.integers(), st.just(False)),
    st.builds(integers, st.integers(1, 2**70), st.integers(1, 2**70), st.just(True)),
    st.builds(
        lambda a, b, p: ts.Real(min(a, b), max(a, b), precision=p), finite, finite, st.none() | st.integers(1, 9)
    ),
    st.builds(lambda a, b: ts.Real(min(a, b), max(a, b), log=True), positive, positive),
    st.builds(ts.Categorical, st.just([1, 1.0, True, "1", None, math.nan])),
    st.builds(lambda a, b: ts.Fidelity(min(a, b), max(a, b)), st.integers(1, 9), st.integers(1, 9)),
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), dimensions, max_size=4), st.integers())
@settings(max_examples=200, deadline=None)
def test_what_is_drawn_is_of_the_space_and_drawn_again_alike(body: dict[str, ts.Dimension], seed: int) -> None:
    space = ts.Space(body)
    params, fidelity = sample(space, random.Random(seed))
    space.validate(params, fidelity)
    assert repr(sample(space, random.Random(seed))) == repr((params, fidelity))


def draws(dimension: ts.Dimension, count: int = 4000) -> list[Any]:
    chance = random.Random(0)
    return [sample(ts.Space({"x": dimension}), chance)[0]["x"] for _ in range(count)]


def test_every_value_comes_and_as_often_as_the_scale_says() -> None:
    even = Counter(draws(ts.Integer(1, 4)))
    assert set(even) == {1, 2, 3, 4}
    assert max(even.values()) < 1.2 * min(even.values())
    falling = Counter(draws(ts.Integer(1, 4, log=True)))
    assert falling[1] > 1.7 * falling[2] > 2 * falling[4] > 0
    assert len(Counter(map(repr, draws(ts.Categorical([1, True, "a"]))))) == 3
    below = sum(x < 0.01 for x in draws(ts.Real(1e-4, 1, log=True)))
    assert 0.45 < below / 4000 < 0.55
    assert 0.45 < sum(x < 0 for x in draws(ts.Real(-1.7e308, 1.7e308))) / 4000 < 0.55
    assert {len(f"{x:g}") for x in draws(ts.Real(1, 9, precision=1))} == {1}


def test_a_fidelity_is_its_default_or_the_highest() -> None:
    space = ts.Space({"a": ts.Fidelity(1, 9), "b": ts.Fidelity(1, 9, default=3)})
    assert sample(space, random.Random(0)) == ({}, {"a": 9, "b": 3})
