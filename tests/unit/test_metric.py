from __future__ import annotations

import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialstore.model.codec import decode, encode
from trialstore.model.errors import InvalidNameError, UsageError
from trialstore.model.metric import Metric

NASTY = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1, 2**70, -1.5]


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.booleans(),
    st.none()
    | st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)).filter(lambda pair: pair[0] < pair[1]),
)
def test_the_stored_form_gives_the_same_metric(name: str, minimize: bool, bounds: Any) -> None:
    metric = Metric(name, minimize=minimize, bounds=bounds)
    assert Metric.from_json(decode(encode(metric.to_json()))) == metric
    assert Metric.from_json(metric.to_json()) == metric


@pytest.mark.parametrize("minimize", [True, False])
def test_better_is_a_strict_order_in_which_nan_is_last(minimize: bool) -> None:
    metric = Metric("m", minimize=minimize)
    for left, right in itertools.product(NASTY, repeat=2):
        assert not (metric.is_better(left, right) and metric.is_better(right, left))
        if math.isnan(left):
            assert not metric.is_better(left, right)
        elif math.isnan(right):
            assert metric.is_better(left, right)
        else:
            assert metric.is_better(left, right) == (left < right if minimize else left > right)


@pytest.mark.parametrize(
    ("value", "kept"),
    [(1, 1), (1.5, 1.5), (np.float32(0.5), 0.5), (np.int64(3), 3), (2**80, 2**80), (math.inf, math.inf)],
)
def test_numbers_are_kept_as_builtin_numbers(value: Any, kept: Any) -> None:
    number, problem = Metric("m").check(value)
    assert (type(number), number, problem) == (type(kept), kept, None)


def test_nan_is_a_number() -> None:
    number, problem = Metric("m").check(math.nan)
    assert number is not None
    assert math.isnan(number)
    assert problem is None


@pytest.mark.parametrize("value", [None, "1", True, np.bool_(False), [1], 1j, np.array([1.0])])
def test_what_is_not_a_number_is_told(value: Any) -> None:
    number, problem = Metric("latency").check(value)
    assert number is None
    assert problem is not None
    assert problem.startswith("'latency' is not a number but ")


@pytest.mark.parametrize("bounds", [(1, 1), (2, 1), (math.nan, 1), (0, math.nan), (0,), ("a", "b")])
def test_bounds_must_be_ordered_numbers(bounds: Any) -> None:
    with pytest.raises(UsageError, match="not a metric: bounds"):
        Metric("m", bounds=bounds)


@pytest.mark.parametrize("name", ["", "x" * 1025, 3, None, "\ud800"])
def test_the_name_is_checked(name: Any) -> None:
    with pytest.raises(InvalidNameError, match="the name of a metric"):
        Metric(name)


def test_a_metric_is_a_frozen_value() -> None:
    metric = Metric("m", minimize=False, bounds=(0, math.inf))
    assert pickle.loads(pickle.dumps(metric)) == metric
    assert hash(metric) == hash(Metric("m", minimize=False, bounds=(0, math.inf)))
    with pytest.raises(ValueError, match="frozen"):
        metric.name = "n"  # type: ignore[misc]
