"""Trials in Oríon's words: typed parameters and results, hashes, names, times, and their way into dicts and back."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from trialstore.model.errors import (
    DuplicateTrialError,
    InvalidMetricsError,
    InvalidStatusError,
    TransitionError,
    UsageError,
)
from trialstore.model.status import validate_status
from trialstore.model.typed_trial import TypedTrial, compute_trial_hash

PARAMS: list[dict[str, Any]] = [
    {"name": "/lr", "type": "real", "value": 0.1},
    {"name": "epochs", "type": "fidelity", "value": 3},
    {"name": "c", "type": "categorical", "value": "a"},
]
LIE: dict[str, Any] = {"name": "l", "type": "lie", "value": 3}
RESULTS: list[dict[str, Any]] = [
    {"name": "valid", "type": "objective", "value": 0.25},
    {"name": "acc", "type": "statistic", "value": 0.9},
    {"name": "size", "type": "statistic", "value": 12},
    {"name": "g", "type": "gradient", "value": [1.0, -2.0]},
    {"name": "fits", "type": "constraint", "value": 0.5},
]


@pytest.fixture
def experiment(tmp_path: Path) -> ts.Experiment:
    return ts.open(tmp_path / "store").create_experiment(
        "tune",
        metrics=[ts.Metric("loss"), ts.Metric("acc", minimize=False)],
        space={
            "lr": ts.Real(0, 1),
            "depth": ts.Integer(1, 9, default=3),
            "act": ts.Categorical(["relu", "tanh"], default="relu"),
            "epochs": ts.Fidelity(1, 100, default=10),
        },
        repeats=False,
        working_dir=tmp_path / "work",
    )


@pytest.fixture
def trial(experiment: ts.Experiment) -> ts.Trial:
    return experiment.register_trial({"lr": 0.5}, reserve=True)


# Values


def test_hashes_are_those_of_orion() -> None:
    # What orion 0.2.7 prints of the same trial.
    trial = TypedTrial(params=PARAMS, results=[LIE], experiment=3, parent="abc")
    assert trial.hash_name == trial.id == "db7011d06d1767796b0aaead2657e128"
    assert trial.hash_params == "d6a79f6b212c2a33dbf2d2aa0ff485f2"


def test_what_a_hash_ignores() -> None:
    trial = TypedTrial(params=PARAMS, results=[LIE], experiment=3, parent="abc")
    other = TypedTrial(params=[PARAMS[0], {**PARAMS[1], "value": 9}, PARAMS[2]], experiment=4)
    assert trial.hash_name != other.hash_name
    assert trial.hash_params == other.hash_params
    assert compute_trial_hash(trial, ignore_experiment=False) != trial.hash_name
    ignored = [{"ignore_fidelity": True}, {"ignore_lie": True}, {"ignore_parent": True}]
    assert len({trial.hash_name, *(compute_trial_hash(trial, **one) for one in ignored)}) == 4
    with pytest.raises(UsageError):
        _ = TypedTrial().hash_name


def test_equality_is_that_of_the_hash() -> None:
    one, other = TypedTrial(params=PARAMS, status="new"), TypedTrial(params=PARAMS, status="broken", worker="w")
    assert one == other
    assert len({one, other}) == 1
    assert one != TypedTrial(params=PARAMS[:1])
    assert one != "trial"


def test_build_takes_what_to_dict_wrote() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    trial = TypedTrial(
        params=PARAMS, results=RESULTS, status="completed", experiment=3, submit_time=at, start_time=at, end_time=at
    )
    (again,) = ts.Trial.build([trial.to_dict()])
    assert again == trial
    assert again.to_dict() == trial.to_dict()
    assert trial.to_dict()["status"] == "completed"
    assert again.params == {"/lr": 0.1, "epochs": 3, "c": "a"}
    assert (again.objective, again.lie) == (ts.Trial.Result(**RESULTS[0]), None)
    with pytest.raises(UsageError, match="members"):
        ts.Trial.build([{"moo": 1}])


def test_names_are_text_of_all_parameters() -> None:
    trial = TypedTrial(params=PARAMS, experiment=3)
    assert trial.full_name == ".lr:0.1-epochs:3-c:a"
    assert trial.params_repr() == "/lr:0.1, epochs:3, c:a"
    assert trial.params_repr(sep="\n", ignore_fidelity=True) == "/lr:0.1\nc:a"
    assert ts.Trial.format_params(trial.typed_params, sep=",") == "/lr:0.1,epochs:3,c:a"
    assert ts.Trial.format_values(trial.typed_params[:1]) == "/lr:0.1"
    with pytest.raises(UsageError):
        _ = TypedTrial(params=PARAMS).full_name


def test_values_know_their_types() -> None:
    value = ts.Trial.Param(name="x", type="real", value=math.nan)
    assert value == ts.Trial.Param(name="x", type="real", value=math.nan)
    assert value.to_dict()["type"] == "real"
    assert str(ts.Trial.Result(name="o", type="objective", value=1)) == "Result(name='o', type='objective', value=1)"
    assert ts.Trial.Param(name="x", type="real", value=1) != ts.Trial.Param(name="x", type="real", value=1.0)
    for kind, wrong in ((ts.Trial.Param, "objective"), (ts.Trial.Result, "real"), (ts.Trial.Value, "real")):
        with pytest.raises(UsageError, match="no such type"):
            kind(name="x", type=wrong, value=1)
    with pytest.raises(UsageError, match="not a Param"):
        TypedTrial(params=[{"nom": "x"}])


def test_statuses_have_orions_names_too() -> None:
    for word, status in {
        "new": "PENDING",
        "reserved": "RUNNING",
        "completed": "SUCCEEDED",
        "broken": "CRASHED",
    }.items():
        assert validate_status(word) is ts.Status[status]
        assert ts.Status[status].orion == word
    assert ts.Status.SUSPENDED.orion == "suspended"
    with pytest.raises(InvalidStatusError):
        validate_status("moo")


def test_a_branch_is_a_new_trial_of_other_values() -> None:
    trial = TypedTrial(params=PARAMS, results=RESULTS, status="completed", experiment=3)
    branched = trial.branch(params={"epochs": 9})
    assert branched.params["epochs"] == 9
    assert (branched.status, branched.parent, branched.results) == (ts.Status.PENDING, trial.id, [])
    with pytest.raises(UsageError):
        trial.branch(params={"depth": 1})


def test_a_duration_ends_with_the_trial_or_the_last_heartbeat() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    running = TypedTrial(start_time=start, heartbeat=start + timedelta(seconds=5))
    assert running.duration == timedelta(seconds=5)
    running.end_time = start + timedelta(seconds=3)
    assert running.execution_interval == (start, running.end_time)
    assert TypedTrial().duration == timedelta(0)


# Trials of an experiment


def test_a_trial_tells_the_types_of_its_parameters(trial: ts.Trial) -> None:
    kinds = {param.name: (param.type, param.value) for param in trial.typed.typed_params}
    assert kinds == {
        "lr": ("real", 0.5),
        "depth": ("integer", 3),
        "act": ("categorical", "relu"),
        "epochs": ("fidelity", 10),
    }
    assert trial.params_repr(ignore_fidelity=True) == "lr:0.5, depth:3, act:relu"
    assert trial.full_name == "lr:0.5-depth:3-act:relu-epochs:10"
    assert trial.hash_name == trial.typed.id
    assert trial.hash_params == trial.compute_trial_hash(ignore_fidelity=True)
    assert trial.id_override == 0


def test_without_a_space_the_value_says_the_type(tmp_path: Path) -> None:
    trial = ts.open(tmp_path / "s").create_experiment("e").register_trial({"a": 1, "b": 1.0, "c": True, "d": None})
    assert [param.type for param in trial.typed.typed_params] == ["integer", "real", "categorical", "categorical"]


def test_typed_results_are_stored_with_their_types(experiment: ts.Experiment, trial: ts.Trial) -> None:
    trial.results = RESULTS  # type: ignore[assignment]
    experiment.update_completed_trial(trial)
    for one in (trial, experiment.trial(0)):
        assert [result.to_dict() for result in one.results] == RESULTS
        assert one.objective == ts.Trial.Result(**RESULTS[0])
        assert one.gradient is not None
        assert one.gradient.value == [1.0, -2.0]
        assert [result.name for result in one.constraints] == ["fits"]
        assert [result.name for result in one.statistics] == ["acc", "size"]
        assert one.lie is None
        assert dict(one.metrics) == {"loss": 0.25, "acc": 0.9}
        assert one.summary == {"size": 12, "g": [1.0, -2.0], "fits": 0.5}
    experiment.flush()
    assert [result.to_dict() for result in experiment.trial(0).results] == RESULTS
    assert experiment.sql("SELECT metrics.loss, summary.size FROM trials").fetchall() == [(0.25, 12)]


def test_results_without_types_are_the_metrics(trial: ts.Trial) -> None:
    trial.success(loss=1.0, acc=0.5)
    assert [(r.name, r.type) for r in trial.results] == [("loss", "objective"), ("acc", "statistic")]


def test_results_need_an_objective_that_is_a_number(experiment: ts.Experiment, trial: ts.Trial) -> None:
    for wrong in ([RESULTS[1]], [{**RESULTS[0], "value": "low"}], [{**RESULTS[0], "value": None}]):
        with pytest.raises(InvalidMetricsError):
            trial.results = wrong  # type: ignore[assignment]
    with pytest.raises(UsageError, match="no results"):
        experiment.update_completed_trial(trial)
    trial.results = [RESULTS[0]]  # type: ignore[list-item]
    with pytest.raises(InvalidMetricsError, match="'acc' is missing"):
        experiment.update_completed_trial(trial)
    assert trial.refresh().status is ts.Status.RUNNING


def test_results_come_from_a_file(experiment: ts.Experiment, trial: ts.Trial, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with pytest.raises(UsageError, match="cannot be read"):
        experiment.update_completed_trial(trial, path)
    path.write_text(json.dumps({"loss": 1}))
    with pytest.raises(UsageError, match="no list"):
        experiment.update_completed_trial(trial, path)
    path.write_text(json.dumps(RESULTS))
    assert experiment.update_completed_trial(trial, path).status is ts.Status.SUCCEEDED


def test_only_a_running_trial_is_completed(experiment: ts.Experiment) -> None:
    trial = experiment.register_trial({"lr": 0.1})
    trial.results = RESULTS  # type: ignore[assignment]
    with pytest.raises(TransitionError, match="not running"):
        experiment.update_completed_trial(trial)


def test_folders_are_named_by_the_hash(experiment: ts.Experiment, trial: ts.Trial, tmp_path: Path) -> None:
    assert experiment.working_dir == str(tmp_path / "work")
    assert trial.working_dir == str(tmp_path / "work" / trial.hash_name)
    other = experiment.register_trial({"lr": 0.5}, fidelity={"epochs": 90})
    assert other.working_dir != trial.working_dir
    assert other.get_working_dir(ignore_fidelity=True) == trial.get_working_dir(ignore_fidelity=True)


def test_repeats_have_folders_of_their_own(tmp_path: Path) -> None:
    store = ts.open(tmp_path / "s")
    repeated = store.create_experiment("r", working_dir="w")
    assert len({repeated.register_trial({"x": 1}).working_dir for _ in range(2)}) == 2
    with pytest.raises(UsageError, match="no folder"):
        _ = store.create_experiment("none").register_trial({"x": 1}).working_dir


def test_times_and_heartbeat(experiment: ts.Experiment) -> None:
    pending = experiment.register_trial({"lr": 0.1})
    assert (pending.start_time, pending.end_time, pending.heartbeat) == (None, None, None)
    assert pending.duration == timedelta(0)
    running = experiment.reserve_trial()
    assert running is not None
    assert running.heartbeat is not None
    assert experiment.trial(0).heartbeat == running.heartbeat
    running.fail()
    assert running.heartbeat is None
    assert running.end_time is not None
    assert running.start_time is not None
    assert running.duration == running.end_time - running.start_time
    assert running.submit_time == running.submitted_at


# Registering


def test_a_typed_trial_is_registered_with_its_results(experiment: ts.Experiment) -> None:
    typed = ts.Trial.build(
        [
            {
                "params": [
                    {"name": "lr", "type": "real", "value": 0.25},
                    {"name": "epochs", "type": "fidelity", "value": 7},
                ],
                "results": RESULTS,
                "start_time": datetime(2026, 1, 1),  # as Oríon's are: UTC without a zone
                "end_time": datetime(2026, 1, 1, 0, 1),
            }
        ]
    )[0]
    trial = experiment.register_trial(typed, "completed")
    assert trial.status is ts.Status.SUCCEEDED
    assert trial.fidelity == {"epochs": 7}
    assert trial.duration == timedelta(minutes=1)
    assert [result.to_dict() for result in experiment.trial(0).results] == RESULTS
    assert experiment.stats.best_evaluation == 0.25
    with pytest.raises(DuplicateTrialError):
        experiment.register_trial(typed)


def test_a_trial_of_another_experiment_is_registered_as_it_is(experiment: ts.Experiment, tmp_path: Path) -> None:
    trial = experiment.register_trial({"lr": 0.5}, reserve=True)
    trial.success(loss=1.0, acc=0.5)
    other = ts.open(tmp_path / "other").create_experiment("copy", metrics=experiment.declared_metrics)
    copied = other.register_trial(trial, "completed")
    assert dict(copied.metrics) == {"loss": 1.0, "acc": 0.5}
    assert copied.hash_name == trial.hash_name
    assert other.register_trial(trial).status is ts.Status.PENDING


@pytest.mark.parametrize("status", ["new", "suspended", "interrupted", "reserved", "broken"])
def test_a_trial_starts_with_any_status(experiment: ts.Experiment, status: str) -> None:
    trial = experiment.register_trial({"lr": 0.1}, status)
    assert trial.status.orion == status
    assert experiment.counts == {trial.status: 1}


def test_completed_without_results_is_refused(experiment: ts.Experiment) -> None:
    with pytest.raises(InvalidMetricsError, match="'loss' is missing"):
        experiment.register_trial({"lr": 0.1}, "completed")
    assert len(experiment) == 0
