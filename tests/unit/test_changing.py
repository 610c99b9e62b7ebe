"""`Experiment.set_trial_status` and `delete_trials`: trials that are changed from outside of their run."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import trialstore as ts
from trialstore.model.errors import DuplicateTrialError, LostTrialError, TransitionError, TrialNotFoundError


@pytest.fixture
def store(tmp_path: Path) -> ts.Store:
    return ts.open(tmp_path / "store")


@pytest.fixture
def experiment(store: ts.Store) -> ts.Experiment:
    return store.create_experiment("tune", metrics=[ts.Metric("loss")], repeats=False)


def finished(experiment: ts.Experiment, count: int) -> list[ts.Trial]:
    trials = []
    for number in range(count):
        trial = experiment.register_trial({"x": number}, reserve=True)
        trial.report({"step": float(number)}, step=0)
        trial.store({"a.txt": f"{number}"})
        trial.success(loss=float(number))
        trials.append(trial)
    return trials


def test_a_status_is_set_by_who_knows_the_present_one(experiment: ts.Experiment) -> None:
    trial = experiment.register_trial({"x": 1})
    other = experiment.trial(0)
    assert experiment.set_trial_status(trial, "suspended") is trial
    assert trial.status is ts.Status.SUSPENDED
    with pytest.raises(TransitionError):
        experiment.set_trial_status(other, "interrupted")
    assert experiment.set_trial_status(other, "interrupted", was="suspended").status is ts.Status.INTERRUPTED
    with pytest.raises(TransitionError, match="status='INTERRUPTED' was='SUSPENDED' asked='PENDING'"):
        experiment.set_trial_status(0, "pending", was="suspended")
    assert experiment.set_trial_status(0, "pending").status is ts.Status.PENDING


def test_a_trial_that_has_ended_is_taken_back_also_from_a_part(experiment: ts.Experiment) -> None:
    (trial,) = finished(experiment, 1)
    experiment.flush()
    experiment.set_trial_status(trial, "interrupted", was="succeeded")
    assert experiment.counts == {ts.Status.INTERRUPTED: 1}
    again = experiment.reserve_trial()
    assert again is not None
    assert (again.number, again.attempt) == (0, 2)
    again.success(loss=5.0)
    assert experiment.history().collect()["metrics"].struct["loss"].to_list() == [5.0]


def test_a_running_trial_is_taken_from_its_worker(experiment: ts.Experiment) -> None:
    mine = experiment.register_trial({"x": 1}, reserve=True)
    experiment.set_trial_status(0, "crashed", was="running")
    assert experiment.trial(0).ended_at is not None
    with pytest.raises((LostTrialError, TransitionError)):
        mine.success(loss=1.0)
    assert experiment.counts == {ts.Status.CRASHED: 1}


def test_reserving_by_status_is_a_claim(experiment: ts.Experiment, store: ts.Store) -> None:
    experiment.register_trial({"x": 1})
    mine = experiment.set_trial_status(0, "running", was="pending")
    with pytest.raises(TransitionError):
        ts.open(store.url).experiment("tune").set_trial_status(0, "running", was="pending")
    mine.success(loss=1.0)
    assert experiment.counts == {ts.Status.SUCCEEDED: 1}


@pytest.mark.parametrize("flushed", [False, True])
def test_deleted_trials_are_gone_from_every_table(experiment: ts.Experiment, store: ts.Store, flushed: bool) -> None:
    trials = finished(experiment, 4)
    if flushed:
        experiment.flush()
    assert experiment.delete_trials([trials[1], 3]) == 2
    assert len(experiment) == 2
    for table in ("trials", "metrics", "status", "artifacts"):
        numbers = store.sql(f"SELECT DISTINCT trial FROM {table} ORDER BY trial").fetchall()
        assert numbers == [(0,), (2,)], table
        assert set(store.frame(table).collect()["trial"]) == {0, 2}, table
    assert [trial.number for trial in experiment.trials()] == [0, 2]
    with pytest.raises(TrialNotFoundError):
        experiment.trial(1)
    reopened = ts.open(store.url, mode="r").experiment("tune")
    assert reopened.counts == {ts.Status.SUCCEEDED: 2}
    experiment.compact()
    assert set(experiment.metrics().collect()["trial"]) == {0, 2}
    assert store.verify().ok


def test_many_are_deleted_from_parts_in_a_few_commits(experiment: ts.Experiment) -> None:
    finished(experiment, 40)
    experiment.flush()
    seq = experiment.snapshot().experiments[0].seq
    assert experiment.delete_trials(range(30)) == 30
    assert experiment.snapshot().experiments[0].seq - seq <= 4
    assert set(experiment.artifacts().collect()["trial"]) == set(range(30, 40))
    assert experiment.counts == {ts.Status.SUCCEEDED: 10}


def test_a_checkpoint_remembers_what_was_deleted(experiment: ts.Experiment, store: ts.Store) -> None:
    finished(experiment, 2)
    experiment.delete_trials(0)
    experiment.checkpoint()
    reopened = ts.open(store.url).experiment("tune")
    assert set(reopened.metrics().collect()["trial"]) == {1}
    assert reopened.register_trial({"x": 9}).number == 2


def test_all_are_deleted_or_none(experiment: ts.Experiment) -> None:
    finished(experiment, 2)
    with pytest.raises(TrialNotFoundError):
        experiment.delete_trials([0, 7])
    assert len(experiment) == 2


def test_deleted_parameters_may_be_registered_again(experiment: ts.Experiment) -> None:
    trial = experiment.register_trial({"x": 1})
    with pytest.raises(DuplicateTrialError):
        experiment.register_trial({"x": 1})
    experiment.delete_trials(trial)
    assert experiment.register_trial({"x": 1}).number == 1
    assert experiment.reserve_trial().number == 1  # type: ignore[union-attr]


def test_a_worker_finds_that_its_trial_is_gone(experiment: ts.Experiment) -> None:
    mine = experiment.register_trial({"x": 1}, reserve=True)
    mine.report(loss=3.0)
    experiment.delete_trials(mine.number)
    with pytest.raises(TrialNotFoundError):
        mine.success(loss=1.0)
    assert experiment.metrics().select(pl.len()).collect().item() == 0
    assert experiment.counts == {}
