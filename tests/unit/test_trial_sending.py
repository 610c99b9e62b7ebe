"""A trial is sent to another process and back, copied, and pickled, with all that is not stored yet."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support.evaluating import AwkwardError, evaluate, finish, look
from tests.support.trials import experiment_in, running


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.fixture
def experiment(tmp_path: Path) -> ts.Experiment:
    return experiment_in(tmp_path)


def claimed(experiment: ts.Experiment, lr: Any) -> ts.Trial:
    trial = experiment.register_trial({"lr": lr}, reserve=True)
    trial.summary["from"] = "parent"
    return trial


def test_a_trial_goes_to_a_process_and_comes_back_to_be_ended(
    experiment: ts.Experiment, pool: ProcessPoolExecutor
) -> None:
    trial = pool.submit(evaluate, claimed(experiment, 0.5)).result(timeout=120)
    assert trial.status is ts.Status.RUNNING
    assert trial.summary["from"] == "parent"
    assert trial.summary["process"] != os.getpid()
    assert trial.extras == {"seen": ("parent", 1)}
    assert trial.time.duration > 0
    assert trial.profiles["trial:fit"].time.duration == trial.summary["trial:fit:time:duration"]
    assert trial.exception is None
    report = trial.success(loss=1, acc=2)
    stored = experiment.report(0)
    assert stored == report
    assert stored.summary == trial.summary
    assert repr(dict(stored.profiles)) == repr(dict(trial.profiles))
    assert stored.retrieve("a.txt") == "from the worker"
    assert experiment.metrics(0).collect()["value"].to_list() == [0.25]


@pytest.mark.parametrize(
    ("lr", "kind", "text"), [("plain", ValueError, "ValueError: broke"), ("awkward", str, "AwkwardError: broke with 7")]
)
def test_an_exception_comes_back_with_its_traceback(
    experiment: ts.Experiment, pool: ProcessPoolExecutor, lr: str, kind: type, text: str
) -> None:
    trial = pool.submit(evaluate, claimed(experiment, lr)).result(timeout=120)
    assert type(trial.exception) is kind
    assert "evaluating.py" in (trial.traceback or "")
    report = trial.crashed()
    assert report.exception is not None
    assert report.exception.endswith(text)
    assert experiment.report(0) == report


def test_a_trial_ends_in_another_process(experiment: ts.Experiment, pool: ProcessPoolExecutor) -> None:
    trial = claimed(experiment, 0.5)
    report, process = pool.submit(finish, trial).result(timeout=120)
    assert report.status is ts.Status.SUCCEEDED
    assert report.summary["process"] == process
    assert report.observations["acc"] == ts.Observation(2.0, 0.5, 3)
    assert experiment.report(0) == report
    assert report.retrieve("a.txt") == "from the worker"
    assert trial.status is ts.Status.RUNNING
    assert trial.refresh().status is ts.Status.SUCCEEDED
    assert trial.summary == report.summary
    assert not trial._held.owned
    seen = pool.submit(look, report).result(timeout=120)
    assert seen == {**report.to_dict(), "text": "from the worker"}


def test_a_pickled_trial_has_what_is_not_stored(experiment: ts.Experiment) -> None:
    trial = running(experiment)
    trial.summary["a"] = 1
    trial.attach_extra("live", complex(1, 2), stored=False)
    trial.store({"a.txt": "x"}, where=lambda name, items: None)
    with trial.begin():
        raise AwkwardError("broke", 7)
    again = pickle.loads(pickle.dumps(trial))
    assert again == trial
    assert (again.summary, dict(again.extras), again.storage) == ({"a": 1}, {"live": complex(1, 2)}, {"a.txt"})
    assert repr(dict(again.profiles)) == repr(dict(trial.profiles))
    assert (again.exception, again.traceback) == (
        "tests.support.evaluating.AwkwardError: broke with 7",
        trial.traceback,
    )
    assert isinstance(trial.exception, AwkwardError)
    report = again.fail()
    assert report.extras == {}
    assert experiment.report(0) == report


def test_a_plain_pickle_is_small(experiment: ts.Experiment) -> None:
    """A trial that gathered nothing sends nothing of it."""
    trial = running(experiment)
    assert b"Unsaved" not in pickle.dumps(trial)
    assert b"Unsaved" in pickle.dumps(trial.copy() if trial.summary.update(a=1) else trial)


@pytest.mark.parametrize("way", [ts.Trial.copy, copy.copy, copy.deepcopy])
def test_a_copy_gathers_for_itself(experiment: ts.Experiment, way: Any) -> None:
    trial = running(experiment)
    trial.summary["list"] = [1]
    with trial.profile("a"):
        pass
    other = way(trial)
    assert other == trial
    assert other.summary == {"list": [1]}
    other.summary["list"].append(2)
    other.attach_extra("x", 1)
    with other.profile("b"):
        pass
    assert (trial.summary, dict(trial.extras), list(trial.profiles)) == ({"list": [1]}, {}, ["a"])
    report = other.success(loss=1, acc=1)
    assert report.summary == {"list": [1, 2]}
    with pytest.raises(ts.errors.TransitionError):
        trial.success(loss=1, acc=1)
    assert experiment.report(0) == report


def test_a_copy_does_not_keep_a_lease_alive(experiment: ts.Experiment) -> None:
    trial = running(experiment)
    session, key = experiment._ledger.session, experiment._ledger.key
    assert session._held[key] == 1
    trial.copy().success(loss=1, acc=1)
    assert session._held[key] == 1
    trial.refresh()
    assert session._held[key] == 0
