"""Imported trials bring along what trials gather: noise, profiles, summary, extras, info, runner, names of things."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support.trials import experiment_in, running
from trialstore.model.errors import InvalidParamsError
from trialstore.model.profile import MemoryInterval, MemoryUnit, TimeInterval, TimeKind

PROFILE = ts.Profile(
    TimeInterval(1.5, 4.0, TimeKind.CPU), MemoryInterval(1.0, 2.0, 3.0, 4.0, math.nan, math.nan, MemoryUnit.KILOBYTES)
)
COLUMNS = ("params", "metrics", "sem", "n", "summary", "profiles", "storage", "runner")


@pytest.fixture
def experiment(tmp_path: Path) -> ts.Experiment:
    return experiment_in(tmp_path)


def test_a_mapping_brings_everything(experiment: ts.Experiment) -> None:
    row = {
        "params": {"lr": 0.5},
        "metrics": {"loss": ts.Observation(1.5, 0.25, 40), "acc": 2},
        "sem": {"acc": 0.125},
        "summary": {"rate": math.nan},
        "extras": {"plugin": (1, None)},
        "info": [1, (2,)],
        "profiles": {"trial": PROFILE, "trial:fit": ts.Profile()},
        "storage": ["model.bin"],
        "runner": 7,
    }
    experiment.import_trials([row])
    for step in (lambda: None, lambda: experiment.trial(0).annotate(a=1), experiment.compact):
        step()
        report = experiment.report(0)
        assert report.observations == {"loss": ts.Observation(1.5, 0.25, 40), "acc": ts.Observation(2, 0.125)}
        assert repr(dict(report.summary)) == repr(row["summary"])
        assert (report.extras, report.info, report.runner) == ({"plugin": (1, None)}, [1, (2,)], 7)
        assert repr(report.profiles) == repr(row["profiles"])
        assert report.storage == {"model.bin"}
    assert experiment.verify().problems == []


def test_columns_of_one_experiment_go_into_another(experiment: ts.Experiment, tmp_path: Path) -> None:
    for number in range(3):
        trial = running(experiment)
        trial.summary["rate"] = number
        with trial.begin(memory_unit="MB"), trial.profile("fit"):
            pass
        trial.store({"a.txt": b""}, where=lambda name, items: None)
        trial.set_trial_runner(number)
        trial.success(loss=ts.Observation(1.5, 0.25, number + 1), acc=2.0)
    other = experiment_in(tmp_path / "other")
    other.import_trials(experiment.history().sort("trial").select(COLUMNS).collect())
    other.import_trials(experiment.history().sort("trial").select(COLUMNS).collect().to_arrow())
    for number in range(6):
        found, wanted = other.report(number), experiment.report(number % 3)
        assert (found.observations, found.summary, found.runner) == (wanted.observations, wanted.summary, wanted.runner)
        assert repr(found.profiles) == repr(wanted.profiles)
        assert found.storage == wanted.storage == {"a.txt"}


def test_reports_of_one_experiment_go_into_another(experiment: ts.Experiment, tmp_path: Path) -> None:
    trial = experiment.register_trial(
        {"lr": (1, None)}, name="mine", seed=2**70, fidelity={"s": 3}, info=[], attributes={"a": 1}, reserve=True
    )
    trial.summary.update(nan=math.nan)
    trial.attach_extra("plugin", {})
    with trial.begin():
        raise ValueError("x")
    trial.store({"a.txt": "a"})
    trial.fail(loss=ts.Observation(1.5, n=3))
    running(experiment).success(loss=2**70, acc=math.nan)
    experiment.register_trial({"lr": 3}).cancel()
    other = experiment_in(tmp_path / "other")
    assert other.import_trials(experiment.reports()) == range(3)
    changed = {"seq", "attempt", "name"}
    for found, wanted in zip(other.reports(), experiment.reports(), strict=True):
        assert found.given_name == wanted.given_name
        told, expected = found.to_dict(), wanted.to_dict()
        same = {name: repr(value) for name, value in expected.items() if name not in changed}
        assert {name: repr(value) for name, value in told.items() if name not in changed} == same


def test_none_is_absent(experiment: ts.Experiment) -> None:
    names = "status metrics sem n fidelity name seed info profiles storage exception parent summary extras ended_at"
    experiment.import_trials([{"params": {"lr": 1}, **dict.fromkeys(names.split())}])
    report = experiment.report(0)
    assert (report.status, report.values, report.seed, report.summary) == (ts.Status.SUCCEEDED, {}, None, {})


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"sem": {"loss": 1}, "metrics": {}}, "'loss' has an error or a count, and no value"),
        ({"sem": {"loss": -1}}, "standard error must be a number that is not negative"),
        ({"n": {"loss": 0}}, "count of an observation"),
        ({"profiles": {"fit": 3}}, "profile 'fit' is none"),
        ({"profiles": [{"name": "fit"}]}, "not a row of profiles"),
        ({"storage": [""]}, "stored thing is empty"),
        ({"summary": {"x": object()}}, "cannot be stored exactly"),
        ({"summary": 3}, "summary must be a mapping, not 3"),
        ({"metrics": [1]}, "metrics must be a mapping"),
        ({"sem": 3}, "sem must be a mapping"),
        ({"profiles": 3}, "profiles must be a list"),
        ({"storage": "abc"}, "storage must be a list, not 'abc'"),
        ({"seed": "x"}, "seed must be a whole number, not 'x'"),
        ({"parent": 1.5}, "parent must be a whole number of 64 bits, not 1.5"),
        ({"runner": 2**70}, "runner must be a whole number of 64 bits"),
        ({"exception": ValueError("x")}, "exception must be text, not ValueError('x')"),
        ({"worker": "\ud800"}, "not valid Unicode"),
        ({"name": 3}, "the name of a trial must be text"),
        ({"fidelity": 3}, "a fidelity must be a mapping of names to values"),
        ({"fidelity": {1: 2}}, "the name of a fidelity must be text"),
        ({"ended_at": "today"}, "ended_at must be a time, not 'today'"),
    ],
)
def test_what_does_not_fit_is_named_by_its_row(experiment: ts.Experiment, more: dict[str, Any], text: str) -> None:
    good: dict[str, Any] = {"params": {"lr": 0.5}, "metrics": {"loss": 1.0}}
    with pytest.raises(InvalidParamsError, match="row 1: ") as error:
        experiment.import_trials([good, {**good, **more}])
    assert text in str(error.value)
    assert len(experiment) == 0
