"""What an experiment lists of its trials, what a handle may do, and what it is configured with."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import trialstore as ts
from trialstore.model.errors import LostTrialError, ReadOnlyError, TransitionError, UsageError
from trialstore.naming import Names


@pytest.fixture
def store(tmp_path: Path) -> ts.Store:
    return ts.open(tmp_path / "store")


@pytest.fixture
def experiment(store: ts.Store) -> ts.Experiment:
    """One trial of each of Oríon's statuses, in this order, of which those that have ended lie in a part."""
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")], max_trials=5, max_broken=2)
    for number, word in enumerate(("completed", "new", "reserved", "suspended", "interrupted", "broken")):
        trial = experiment.register_trial({"x": number}, "reserved" if word in ("completed", "broken") else word)
        if word == "completed":
            trial.success(loss=0.5)
        elif word == "broken":
            trial.crashed("out of memory")
    experiment.flush()
    return experiment


def numbers(trials: list[ts.Trial]) -> list[int]:
    return [trial.number for trial in trials]


def test_trials_are_fetched_by_status(experiment: ts.Experiment) -> None:
    assert numbers(experiment.fetch_trials()) == [0, 1, 2, 3, 4, 5]
    for number, word in enumerate(("completed", "new", "reserved", "suspended", "interrupted", "broken")):
        assert numbers(experiment.fetch_trials_by_status(word)) == [number]
        assert numbers(experiment.fetch_trials_by_status(experiment.trial(number).status)) == [number]
    assert numbers(experiment.fetch_pending_trials()) == [1, 3, 4]
    assert numbers(experiment.fetch_noncompleted_trials()) == [1, 2, 3, 4, 5]
    assert experiment.fetch_lost_trials() == []


def test_lists_are_in_the_order_of_submission(store: ts.Store) -> None:
    one = store.create_experiment("ordered")
    for number in range(20):
        one.register_trial({"x": number}).set_status("running")
    for number in (7, 3, 11):
        one.trial(number).fail()
    one.flush()
    times = [trial.submit_time for trial in one.fetch_trials()]
    assert times == sorted(times)


def test_lost_trials_are_found_and_fixed(experiment: ts.Experiment, store: ts.Store) -> None:
    other = ts.open(store.url).experiment("tune")
    held = experiment.trial(2)
    assert other.fetch_lost_trials() == []
    old = time.time() - 86400
    for lease in Path(store.url.removeprefix("file://"), "leases").rglob("*.json"):
        os.utime(lease, (old, old))
    assert numbers(other.fetch_lost_trials()) == [2]
    assert numbers(other.fix_lost_trials()) == [2]
    assert other.trial(2).status is ts.Status.INTERRUPTED
    with pytest.raises((LostTrialError, TransitionError)):
        held.success(loss=1.0)


@pytest.mark.parametrize("by_store", [True, False])
def test_a_reader_sees_lost_trials_and_takes_none(experiment: ts.Experiment, store: ts.Store, by_store: bool) -> None:
    reader = ts.open(store.url, mode="r").experiment("tune") if by_store else store.experiment("tune", mode="r")
    assert reader.fetch_lost_trials() == []
    folder = Path(store.url.removeprefix("file://"), "leases")
    before = sorted(folder.rglob("*"))
    old = time.time() - 86400
    for lease in folder.rglob("*.json"):
        os.utime(lease, (old, old))
    assert numbers(reader.fetch_lost_trials()) == [2]
    assert numbers(reader.fetch_lost_trials(with_evc_tree=True)) == [2]
    assert sorted(folder.rglob("*")) == before
    with pytest.raises(ReadOnlyError):
        reader.fix_lost_trials()
    assert experiment.trial(2).status is ts.Status.RUNNING


def test_one_trial_is_found_by_whatever_names_it(experiment: ts.Experiment) -> None:
    trial = experiment.trial(3)
    for uid in (3, trial.id, trial.hash_name):
        assert experiment.get_trial(uid=uid) == trial
    assert experiment.get_trial(trial) == experiment.get_trial(trial.typed) == trial
    assert experiment.get_trial(trial, uid=3) == trial
    assert experiment.get_trial(uid=99) is None
    assert experiment.get_trial(uid="moo") is None
    with pytest.raises(UsageError, match="not of one trial"):
        experiment.get_trial(trial, uid=4)
    with pytest.raises(UsageError, match="which trial"):
        experiment.get_trial()


def test_a_trial_of_a_name_is_found_however_it_changed_since(store: ts.Store) -> None:
    one = store.create_experiment("named")
    other = ts.open(store.url).experiment("named")
    lie = [{"name": "o", "type": "objective", "value": 1.0}, {"name": "guess", "type": "lie", "value": 2}]
    trials = [
        one.register_trial({"x": 1.5, "who": "a", "k": (1, None)}, fidelity={"epochs": 3}),
        one.register_trial({"x": 1.5, "who": "a", "k": (1, None)}, parent=0),
        one.register_trial({}),
        one.register_trial({"x": 1.5, "who": "a", "k": (1, None)}, fidelity={"epochs": 3}),
    ]
    names = [trial.hash_name for trial in trials]
    for handle in (one, other):
        assert [handle.get_trial(uid=name).number for name in names] == [0, 1, 2, 0]  # type: ignore[union-attr]
    trials[1].set_status("running")
    trials[1].results = lie
    one.update_completed_trial(trials[1])
    lied = one.trial(1).hash_name
    assert lied != names[1]
    trials[3].set_status("running")
    trials[3].success()
    for move in (lambda: None, lambda: one.flush(), lambda: one.compact()):
        move()
        for handle in (one, other):
            assert handle.get_trial(uid=names[1]) is None
            assert handle.get_trial(uid=lied) == trials[1]
    one.delete_trials(0)
    imported = one.import_trials([{"params": {"x": 7}, "metrics": {}}])
    for handle in (one, other, ts.open(store.url).experiment("named")):
        assert handle.get_trial(uid=names[0]) == trials[3]
        assert handle.get_trial(uid=lied) == trials[1]
        (seventh,) = imported
        assert handle.get_trial(uid=one.trial(seventh).hash_name) == one.trial(seventh)


@pytest.mark.parametrize(
    ("params", "fidelity", "parent"),
    [
        ({}, None, None),
        ({"b": 1, "a": 0.5}, None, None),
        ({"b": 1, "a": 0.5}, None, 0),
        ({"b": 1, "d": None}, {"c": 2, "a": 3}, None),
        ({"b": 1, "a": (1, "x")}, {"a": 3}, 0),
        ({"b": float("nan"), "a": 2**70, "y": b"z"}, {"rung": {"n": [True]}}, None),
    ],
)
def test_the_name_that_a_trial_says_is_the_one_that_it_is_found_by(
    store: ts.Store, params: Any, fidelity: Any, parent: int | None
) -> None:
    experiment = store.create_experiment("named")
    experiment.register_trial({"other": 1})
    trial = experiment.register_trial(params, fidelity=fidelity, parent=parent)
    assert experiment.get_trial(uid=trial.hash_name) == trial
    assert experiment.get_trial(trial.typed) == trial


def test_a_second_question_for_a_name_reads_no_part_again(store: ts.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    one = store.create_experiment("named")
    one.import_trials([{"params": {"x": number}, "metrics": {}} for number in range(100)])
    name = one.trial(70).hash_name
    assert one.get_trial(uid=name) == one.trial(70)
    last = one.register_trial({"x": 1000})
    monkeypatch.setattr("trialstore.naming.Names._enter", entered := Counted(Names._enter))
    assert one.get_trial(uid=last.hash_name) == last
    assert one.get_trial(uid=name) == one.trial(70)
    assert entered.times == 1


class Counted:
    """A method that counts its calls."""

    def __init__(self, method: Any) -> None:
        self.method = method
        self.times = 0

    def __get__(self, instance: Any, owner: Any) -> Any:
        self.times += 1
        return self.method.__get__(instance, owner)


def test_a_result_is_retrieved(experiment: ts.Experiment, store: ts.Store) -> None:
    seen = ts.open(store.url).experiment("tune").trial(1)
    trial = experiment.trial(1)
    trial.set_status("running")
    trial.success(loss=4.0)
    assert seen.status is ts.Status.PENDING
    assert experiment.retrieve_result(seen).objective == ts.Trial.Result(name="loss", type="objective", value=4.0)


def test_the_best_scored_trial_is_reserved(experiment: ts.Experiment) -> None:
    taken = []
    while (trial := experiment.reserve_trial(score_handle=lambda trial: trial.params["x"])) is not None:
        taken.append(trial.number)
    assert taken == [4, 3, 1]


def test_limits_can_be_changed_for_everybody(experiment: ts.Experiment, store: ts.Store) -> None:
    assert not experiment.is_done
    assert not experiment.is_broken
    experiment.max_trials = 1
    experiment.max_broken = 1
    assert experiment.is_done
    assert experiment.is_broken
    again = ts.open(store.url).experiment("tune")
    assert (again.max_trials, again.max_broken) == (1, 1)
    experiment.max_trials = None
    assert not experiment.is_done
    with pytest.raises(UsageError, match="max_trials must be"):
        experiment.max_trials = 0


class Exhausted:
    configuration = {"grid": {}}  # noqa: RUF012
    is_done = True


def test_an_experiment_is_done_when_its_algorithm_is_and_nothing_is_pending(store: ts.Store) -> None:
    one = store.create_experiment("grid")
    one.algorithms = Exhausted()
    one.register_trial({"x": 1})
    assert not one.is_done
    trial = one.reserve_trial()
    assert trial is not None
    assert not one.is_done
    trial.fail()
    assert one.is_done


def test_stats_tell_how_far_it_is(store: ts.Store) -> None:
    for name, minimize, best in (("down", True, 0), ("up", False, 2)):
        one = store.create_experiment(name, metrics=[ts.Metric("m", minimize=minimize)], max_trials=6)
        for number in range(3):
            one.register_trial({"x": number}, reserve=True).success(m=float(number))
        stats = one.stats
        assert (stats.trials_completed, stats.best_trials_id, stats.best_evaluation) == (3, best, float(best))
        assert stats.progress == 0.5
        assert stats.eta is not None
        assert stats.finish_time is not None
        assert stats.start_time is not None
        assert stats.duration == stats.finish_time - stats.start_time
        assert abs((stats.eta - stats.duration).total_seconds()) < 1e-3
        assert stats.sum_of_trials_time <= stats.duration


def test_frames_have_every_result(store: ts.Store) -> None:
    one = store.create_experiment("frames", metrics=[ts.Metric("loss")])
    trial = one.register_trial({"lr": 0.1, "act": "relu", "mixed": 1}, fidelity={"epochs": 3}, reserve=True)
    results: list[Any] = [
        {"name": "o", "type": "objective", "value": 1},
        {"name": "o", "type": "constraint", "value": 0.5},
        {"name": "g", "type": "gradient", "value": [1.0, 2.0]},
    ]
    trial.results = results
    one.update_completed_trial(trial)
    one.register_trial({"lr": 1, "act": "tanh", "mixed": "x"})
    for frame in (one.to_polars(), pl.from_pandas(one.to_pandas())):
        assert frame["id"].to_list() == [0, 1]
        assert frame["status"].to_list() == ["SUCCEEDED", "PENDING"]
        assert frame["objective"].to_list() == [1, None]
        assert frame["results.constraint.o"].to_list() == [0.5, None]
        assert frame["results.g"].to_list() == ["[1.0,2.0]", None]
        assert frame["params.lr"].to_list() == [0.1, 1.0]
        assert frame["params.mixed"].to_list() == ["1", '"x"']
        assert frame["params.epochs"].to_list() == [3, None]
    assert store.create_experiment("none").to_polars().height == 0


# What a handle may do


def test_a_reader_only_reads(experiment: ts.Experiment, store: ts.Store) -> None:
    reader = store.experiment("tune", mode="r")
    assert (reader.mode, experiment.mode) == ("r", "x")
    assert len(reader.fetch_trials()) == 6
    trial = reader.trial(1)
    for write in (
        reader.reserve_trial,
        reader.fix_lost_trials,
        reader.flush,
        reader.compact,
        lambda: reader.register_trial({"x": 9}),
        lambda: reader.set_trial_status(1, "suspended"),
        lambda: reader.delete_trials(1),
        lambda: reader.set_document("d", 1),
        lambda: setattr(reader, "max_trials", 9),
        lambda: trial.set_status("running"),
        lambda: trial.annotate(tag=1),
        lambda: trial.store({"a.txt": "a"}),
    ):
        with pytest.raises(ReadOnlyError):
            write()
    assert experiment.counts == reader.counts
    assert ts.open(store.url, mode="r").experiment("tune").mode == "r"
    with pytest.raises(ReadOnlyError):
        ts.open(store.url, mode="r").experiment("tune", mode="w")


def test_a_writer_executes_nothing(experiment: ts.Experiment, store: ts.Store) -> None:
    writer = store.experiment("tune", mode="w")
    assert writer.mode == "w"
    trial = writer.register_trial({"x": 9})
    trial.annotate(tag=1)
    assert writer.set_trial_status(trial, "suspended").status is ts.Status.SUSPENDED
    running = writer.trial(2)
    for execute in (
        writer.reserve_trial,
        lambda: writer.register_trial({"x": 10}, reserve=True),
        lambda: trial.set_status("running"),
        lambda: writer.set_trial_status(1, "running"),
        lambda: running.success(loss=1.0),
    ):
        with pytest.raises(ReadOnlyError, match="not for executing"):
            execute()
    assert len(experiment) == 7
    assert store.experiment("tune", mode="x").mode == "x"
    with pytest.raises(UsageError, match="no such mode"):
        store.experiment("tune", mode="rw")


@pytest.mark.parametrize("mode", ["r", "w", "x"])
def test_a_mode_travels(experiment: ts.Experiment, store: ts.Store, mode: str) -> None:
    assert pickle.loads(pickle.dumps(store.experiment("tune", mode=mode))).mode == mode


# What it is configured with


def test_the_configuration_is_told_as_values(store: ts.Store, tmp_path: Path) -> None:
    one = store.create_experiment(
        "configured",
        space={"act": ts.Categorical(["relu", "tanh"])},
        metadata={"user": "me"},
        algorithms={"tpe": {"seed": 1}},
        working_dir=tmp_path / "work",
        max_trials=3,
    )
    for found in (one, ts.open(store.url).experiment("configured")):
        assert found.configuration == {
            "_id": one.id,
            "name": "configured",
            "version": 1,
            "refers": {"parent_id": None, "root_id": one.id, "adapter": []},
            "metadata": {"user": "me"},
            "max_trials": 3,
            "max_broken": None,
            "space": {"act": {"kind": "categorical", "choices": ("relu", "tanh")}},
            "metrics": [],
            "algorithms": {"tpe": {"seed": 1}},
            "working_dir": str(tmp_path / "work"),
        }
    assert one.node is None
    assert one.storage.url == store.url
    assert one.storage.experiment("configured") == one
