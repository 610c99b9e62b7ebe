from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialstore.model.codec import decode, encode
from trialstore.model.errors import InvalidNameError, InvalidParamsError, UsageError
from trialstore.model.space import Categorical, Dimension, Fidelity, Integer, Real, Space

CHOICES = [1, "auto", None, True, 1.0, (1, 2), "1", math.inf]
SPACE = Space(
    {
        "maxmemory_mb": Integer(64, 4096, log=True),
        "policy": Categorical(["lru", "lfu"]),
        "hz": Real(1, 500),
        "seconds": Fidelity(1, 60),
    }
)


@pytest.mark.parametrize(
    "dimension",
    [
        Integer(-5, 2**70, default=3),
        Integer(1, 9, log=True),
        Real(-1.5, 2, precision=3, default=0),
        Categorical(CHOICES, default=True),
        Categorical([math.nan, b"x", [1, {"a": 2}]]),
        Fidelity(1, 81, base=3, default=9),
    ],
)
def test_the_stored_form_gives_the_same_dimension(dimension: Dimension) -> None:
    stored: Any = decode(encode(Space({"p": dimension}).to_json()))
    for body in (Space({"p": dimension}).to_json(), stored):
        copy = Space.from_json(body)["p"]
        assert type(copy) is type(dimension)
        assert encode(copy.to_json()) == encode(dimension.to_json())
    assert encode(pickle.loads(pickle.dumps(dimension)).to_json()) == encode(dimension.to_json())


@settings(max_examples=200)
@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(-300, 300))
def test_an_integer_is_one_between_both_ends_included(low: int, high: int, value: int) -> None:
    if low > high:
        with pytest.raises(UsageError, match="low must not be above high"):
            Integer(low, high)
        return
    number, problem = Integer(low, high).check(value)
    assert (problem is None) == (low <= value <= high)
    assert number == (value if problem is None else None)


@pytest.mark.parametrize("value", [1.0, "1", True, None, np.float64(1), math.nan])
def test_what_is_no_integer_is_told(value: Any) -> None:
    assert "must be an integer" in str(Integer(0, 9).check(value)[1])


def test_a_numpy_integer_is_stored_as_a_builtin() -> None:
    number, problem = Integer(0, 9).check(np.int8(4))
    assert type(number) is int
    assert problem is None


@settings(max_examples=200)
@given(st.floats() | st.integers())
def test_a_real_is_a_finite_float_in_the_range(value: float) -> None:
    number, problem = Real(-10, 10).check(value)
    inside = not math.isnan(value) and -10 <= value <= 10
    assert (problem is None) == inside
    if inside:
        assert type(number) is float
        assert number == value


def test_an_integer_that_no_float_equals_is_told() -> None:
    assert "has no exact float" in str(Real(0, 1e300).check(2**53 + 1)[1])
    assert "has no exact float" in str(Real(0, 1e300).check(10**400)[1])


@pytest.mark.parametrize("choice", CHOICES)
def test_a_categorical_tells_equal_values_of_different_types_apart(choice: Any) -> None:
    value, problem = Categorical(CHOICES).check(choice)
    assert problem is None
    assert type(value) is type(choice)
    assert value == choice
    others = [c for c in CHOICES if not (type(c) is type(choice) and c == choice)]
    assert "must be one of" in str(Categorical(others).check(choice)[1])


def test_a_categorical_may_hold_nan() -> None:
    value, problem = Categorical([math.nan, 1]).check(float("nan"))
    assert problem is None
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Integer(0, 9, log=True), "low must be positive on a logarithmic scale"),
        (lambda: Integer(5, 1), "low must not be above high"),
        (lambda: Integer(1.5, 3), "low"),  # type: ignore[arg-type]
        (lambda: Integer(0, 9, default=10), "the default must be 0 to 9, not 10"),
        (lambda: Real(0, math.inf), "low and high must be finite"),
        (lambda: Real(math.nan, 1), "low and high must be finite"),
        (lambda: Real(0, 1, precision=0), "precision counts significant digits"),
        (lambda: Real(-1, 1, log=True), "low must be positive"),
        (lambda: Categorical([]), "at least one choice"),
        (lambda: Categorical(["a", "a"]), "a choice is given twice"),
        (lambda: Categorical([object()]), "cannot be stored exactly"),
        (lambda: Fidelity(1, 9, base=0.5), "base must be at least 1"),
        (lambda: Fidelity(9, 1), "low must not be above high"),
        (lambda: Fidelity(1, 9, default=10), "the default must be 1"),
    ],
)
def test_a_dimension_that_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_all_problems_stand_in_one_error() -> None:
    with pytest.raises(InvalidParamsError) as caught:
        SPACE.validate({"maxmemory_mb": 1, "polcy": "lru", "hz": "fast"}, {"seconds": 99})
    text = str(caught.value)
    for problem in (
        "'maxmemory_mb' must be 64 to 4096, not 1",
        "'polcy' is not in the space; did you mean 'policy'?",
        "'hz' must be a number, not 'fast'",
        "'policy' is missing",
        "fidelity 'seconds' must be 1.0 to 60.0, not 99",
        "hint: the space is experiment.space",
    ):
        assert problem in text


def test_a_parameter_that_does_not_fit_is_not_also_missing() -> None:
    with pytest.raises(InvalidParamsError) as caught:
        SPACE.validate({"maxmemory_mb": 1, "policy": "lru", "hz": 1})
    assert "missing" not in str(caught.value)


def test_values_are_kept_and_defaults_filled_in() -> None:
    space = Space({"a": Integer(0, 9, default=4), "b": Real(0, 1), "epochs": Fidelity(1, 9, default=3)})
    assert space.validate({"b": 1}) == ({"b": 1.0, "a": 4}, {"epochs": 3})
    assert space.validate({"b": 0.5, "a": 1, "epochs": 2}) == ({"b": 0.5, "a": 1}, {"epochs": 2})
    assert space.validate({"b": 0.5}, {"epochs": 2, "rung": 1}) == ({"b": 0.5, "a": 4}, {"epochs": 2, "rung": 1})


def test_a_space_is_a_mapping_in_order() -> None:
    assert list(SPACE) == ["maxmemory_mb", "policy", "hz", "seconds"]
    assert len(SPACE) == 4
    assert SPACE["hz"] == Real(1, 500)
    assert "Real" in repr(SPACE)


def test_only_dimensions_with_sound_names_make_a_space() -> None:
    with pytest.raises(UsageError, match="must be Integer, Real, Categorical or Fidelity"):
        Space({"lr": (0, 1)})  # type: ignore[dict-item]
    with pytest.raises(InvalidNameError):
        Space({"": Real(0, 1)})


def test_a_kind_of_a_newer_version_says_so() -> None:
    with pytest.raises(UsageError, match="hint: upgrade trialstore"):
        Space.from_json({"a": {"kind": "permutation"}})
