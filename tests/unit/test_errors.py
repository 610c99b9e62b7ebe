from __future__ import annotations

import inspect
import pickle
import re

import pytest

from trialstore.model import errors
from trialstore.model.errors import LostTrialError, TrialStoreError, UsageError, nearest

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TrialStoreError)]


def test_an_error_shows_message_facts_and_hint() -> None:
    error = LostTrialError(
        "trial is no longer owned by this session", hint="look at trial.attempts", experiment="tune-redis", trial=17
    )
    assert str(error) == (
        "trial is no longer owned by this session\n  experiment='tune-redis' trial=17\n  hint: look at trial.attempts"
    )
    assert error.facts == {"experiment": "tune-redis", "trial": 17}


def test_facts_and_hint_may_be_left_out() -> None:
    assert str(UsageError("no")) == "no"
    assert str(UsageError("no", hint="yes")) == "no\n  hint: yes"
    assert str(UsageError("no", a=1)) == "no\n  a=1"


def test_a_long_fact_is_cut() -> None:
    text = str(UsageError("no", value="x" * 10_000))
    assert len(text) < 300
    assert "(10002 characters)" in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_pickling(kind: type[TrialStoreError]) -> None:
    error = kind("what happened", hint="what to do", number=1, path="a")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert (copy.message, copy.hint, copy.facts) == (error.message, error.hint, error.facts)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^\W*(\w+(?:Error|Timeout))\b", (errors.__doc__ or "").split("::", 1)[1], re.MULTILINE)
    assert sorted(drawn) == sorted(kind.__name__ for kind in KINDS)
    assert set(errors.__all__) - {"nearest"} == {kind.__name__ for kind in KINDS}


def test_branches_are_also_what_python_calls_them() -> None:
    assert issubclass(UsageError, ValueError)
    assert issubclass(errors.NotFoundError, LookupError)
    assert not issubclass(errors.ConflictError, ValueError)


def test_every_kind_has_a_docstring_of_its_own() -> None:
    assert all(kind.__doc__ for kind in KINDS)
    assert len({kind.__doc__ for kind in KINDS}) == len(KINDS)


def test_near_names_are_best_first_and_short() -> None:
    assert nearest("tune-rediss", ["tune", "other", "tune-redis"])[0] == "tune-redis"
    assert nearest("zzz", ["a", "b"]) == []
    assert nearest("x" * 10_000, ["x" * 10_000, "y"]) == ["x" * 200]
