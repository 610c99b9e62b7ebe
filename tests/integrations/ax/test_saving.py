"""An Ax experiment goes into a store as rows, and comes back equal; a save writes what changed and no more."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ax.core.arm import Arm
from ax.core.auxiliary import AuxiliaryExperiment, AuxiliaryExperimentPurpose
from ax.core.data import Data, DataRow
from ax.core.experiment_status import ExperimentStatus
from ax.core.generator_run import GeneratorRun
from ax.core.metric import Metric
from ax.core.trial_status import TrialStatus
from ax.utils.testing import core_stubs

import trialstore as ts
from tests.integrations.ax.experiments import experiment, measured, row_of, seq, with_trials
from trialstore.integrations.ax import load_experiment, save_experiment, save_trials
from trialstore.model.errors import DuplicateExperimentError, ExperimentNotFoundError, UsageError
from trialstore.model.status import Status

STUBS = [
    "get_branin_experiment",
    "get_branin_experiment_with_multi_objective",
    "get_branin_experiment_with_status_quo_trials",
    "get_branin_experiment_with_timestamp_map_metric",
    "get_experiment_with_batch_and_single_trial",
    "get_experiment_with_batch_trial",
    "get_experiment_with_data",
    "get_experiment_with_map_data",
    "get_experiment_with_multi_objective",
    "get_experiment_with_scalarized_objective_and_outcome_constraint",
    "get_experiment_with_trial_with_ttl",
    "get_factorial_experiment",
    "get_hierarchical_search_space_experiment",
    "get_multi_type_experiment",
]


@pytest.mark.parametrize("stub", STUBS)
def test_what_ax_itself_tests_with_comes_back_equal_and_is_not_written_twice(store: ts.Store, stub: str) -> None:
    made = getattr(core_stubs, stub)()
    made.name = "stub"
    save_experiment(store, made)
    loaded = load_experiment(store, "stub")
    assert loaded == made
    before = seq(store, "stub")
    save_experiment(store, made)
    save_experiment(store, loaded)
    assert seq(store, "stub") == before
    assert load_experiment(store, "stub") == made


def test_rows_have_typed_parameters_and_values(store: ts.Store) -> None:
    made = with_trials(3)
    made.trials[0].mark_running(no_runner_required=True).mark_completed()
    measured(made, 0, 0.5, 0.1, n=40)
    measured(made, 1, math.inf)
    save_experiment(store, made)
    found = store.sql("""
        SELECT trial, name, status, params.x, params.k, params.how, metrics.loss, sem.loss, n.loss
        FROM trials ORDER BY trial
    """).fetchall()
    assert found[0] == (0, "0_0", "SUCCEEDED", 0.25, 1, "fast", 0.5, 0.1, 40)
    assert found[1][:7] == (1, "1_0", "PENDING", 0.5, 2, "fast", math.inf)
    assert math.isnan(found[1][7])
    assert found[2][6] is None
    kept = store.experiment("tune")
    assert [metric.name for metric in kept.declared_metrics] == ["loss", "ops"]
    assert kept.best().number == 0
    assert kept.space["k"] == ts.Integer(1, 64, log=True)


STATUSES = {
    TrialStatus.CANDIDATE: "PENDING",
    TrialStatus.STAGED: "READY",
    TrialStatus.RUNNING: "RUNNING",
    TrialStatus.COMPLETED: "SUCCEEDED",
    TrialStatus.EARLY_STOPPED: "PRUNED",
    TrialStatus.FAILED: "FAILED",
    TrialStatus.ABANDONED: "CANCELED",
    TrialStatus.STALE: "CANCELED",
}


@pytest.mark.parametrize("start", STATUSES)
def test_any_status_follows_any_other(store: ts.Store, start: TrialStatus) -> None:
    made = with_trials(len(STATUSES))
    for trial in made.trials.values():
        trial.mark_as(start, unsafe=True, no_runner_required=True)
    save_experiment(store, made)
    assert {status for (status,) in store.sql("SELECT status FROM trials").fetchall()} == {STATUSES[start]}
    for trial, status in zip(made.trials.values(), STATUSES, strict=True):
        if status is TrialStatus.CANDIDATE:
            trial._status = status
        else:
            trial.mark_as(status, unsafe=True, no_runner_required=True)
    save_experiment(store, made)
    found = store.sql("SELECT status FROM trials ORDER BY trial").fetchall()
    assert [status for (status,) in found] == list(STATUSES.values())
    assert load_experiment(store, "tune") == made
    counts = store.experiment("tune").counts
    assert sum(counts.values()) == len(STATUSES)
    assert counts[Status.CANCELED] == 2


def test_the_history_of_statuses_is_kept(store: ts.Store) -> None:
    made = with_trials(1)
    save_experiment(store, made)
    made.trials[0].mark_running(no_runner_required=True)
    save_experiment(store, made)
    made.trials[0].mark_completed()
    measured(made, 0, 1.0)
    save_experiment(store, made)
    history = store.experiment("tune").status_history(0).collect()["status"].to_list()
    assert history == ["PENDING", "RUNNING", "SUCCEEDED"]


def test_a_save_writes_what_changed(store: ts.Store, tmp_path: Path) -> None:
    made = with_trials(50)
    save_experiment(store, made)
    whole = max(path.stat().st_size for path in (tmp_path / "store" / "journal").rglob("*.jsonl"))
    made.trials[7].mark_running(no_runner_required=True)
    before = seq(store)
    save_experiment(store, made)
    assert seq(store) == before + 1
    last = max((tmp_path / "store" / "journal").rglob("*.jsonl"), key=lambda path: path.name)
    text = last.read_text()
    assert text.count('"kind":"amend"') == 1
    assert "ax_runs" not in text
    assert len(text) < whole / 20


def test_a_trial_whose_row_is_in_a_part_is_changed(store: ts.Store) -> None:
    made = with_trials(2)
    for trial in made.trials.values():
        trial.mark_running(no_runner_required=True).mark_completed()
    save_experiment(store, made)
    store.experiment("tune").flush()
    measured(made, 1, 2.0, 0.5)
    made.trials[0].mark_failed(unsafe=True, reason="wrong")
    save_experiment(store, made)
    assert row_of(store)["status"] == "FAILED"
    assert row_of(store, 1)["metrics"]["loss"] == 2.0
    assert load_experiment(store, "tune") == made
    store.experiment("tune").flush()
    assert store.experiment("tune").counts == {Status.SUCCEEDED: 1, Status.FAILED: 1}


def test_another_process_goes_on(tmp_path: Path) -> None:
    made = with_trials(2)
    with ts.open(tmp_path / "s") as store:
        save_experiment(store, made)
        store.compact()
    with ts.open(tmp_path / "s") as store:
        loaded = load_experiment(store, "tune")
        assert loaded == made
        before = seq(store)
        save_experiment(store, loaded)
        assert seq(store) == before
        loaded.new_trial(GeneratorRun([Arm({"x": 1.0, "k": 9, "how": "safe"})]))
        save_experiment(store, loaded)
        assert len(store.experiment("tune")) == 3
        assert load_experiment(store, "tune") == loaded


def test_arms_of_a_batch_are_rows(store: ts.Store) -> None:
    made = experiment()
    arms = [Arm({"x": float(i), "k": 1, "how": "safe"}) for i in range(3)]
    batch = made.new_batch_trial(GeneratorRun(arms, weights=[1.0, 2.0, 1.0]))
    save_experiment(store, made)
    assert store.sql("SELECT name, params.x FROM trials ORDER BY trial").fetchall() == [
        ("0_0", 0.0),
        ("0_1", 1.0),
        ("0_2", 2.0),
    ]
    batch.mark_running(no_runner_required=True)
    batch.mark_arm_abandoned("0_1", reason="too slow")
    measured(made, 0, 3.0, 0.5, arm="0_2")
    save_experiment(store, made)
    assert row_of(store, 2)["metrics"]["loss"] == 3.0
    assert row_of(store, 1)["metrics"]["loss"] is None
    loaded = load_experiment(store, "tune")
    assert loaded == made
    assert [arm.name for arm in loaded.trials[0].abandoned_arms] == ["0_1"]


def test_a_trial_gets_its_arm_later(store: ts.Store) -> None:
    made = experiment()
    made.new_trial()
    save_experiment(store, made)
    assert load_experiment(store, "tune") == made
    assert row_of(store)["name"] is None
    made.trials[0].add_arm(Arm({"x": 2.0, "k": 3, "how": "fast"}))
    save_experiment(store, made)
    assert len(store.experiment("tune")) == 1
    assert row_of(store)["params"]["x"] == 2.0
    assert row_of(store)["id"] == store.experiment("tune").register_trial({"x": 2.0, "k": 3, "how": "fast"}).id
    made.new_trial(GeneratorRun([Arm({"x": 2.5, "k": 3, "how": "fast"})]))


def test_trial_indices_may_have_gaps(store: ts.Store) -> None:
    made = experiment()
    for index in (2, 7):
        made.attach_trial([{"x": float(index) / 2, "k": index, "how": "fast"}])
        trial = made._trials.pop(max(made._trials))
        made._trial_indices_by_status[trial._status].remove(trial._index)
        trial._index = index
        made._trials[index] = trial
        made._trial_indices_by_status[trial._status].add(index)
    save_experiment(store, made)
    loaded = load_experiment(store, "tune")
    assert list(loaded.trials) == [2, 7]
    assert loaded == made


def test_values_with_steps_are_rows_and_each_is_written_once(store: ts.Store, tmp_path: Path) -> None:
    made = with_trials(1)
    made.trials[0].mark_running(no_runner_required=True)
    save_experiment(store, made)
    for step in range(40):
        measured(made, 0, 1 / (step + 1), 0.01, step=float(step))
        save_experiment(store, made)
    reported = store.experiment("tune").metrics(0).collect()
    assert reported["step"].to_list() == list(range(40))
    assert reported["value"].to_list() == [1 / (step + 1) for step in range(40)]
    assert row_of(store)["metrics"]["loss"] == 1 / 40
    assert load_experiment(store, "tune") == made
    measured(made, 0, 5.0, 0.01, step=3.0)  # a value that was wrong
    save_experiment(store, made)
    assert load_experiment(store, "tune") == made
    assert store.experiment("tune").metrics(0).collect().height == 41


@pytest.mark.parametrize(
    "row",
    [
        DataRow(0, "0_0", "loss", "loss", 0.1 + 0.2, 1e-300),
        DataRow(0, "0_0", "loss", "loss", math.nan, math.nan, step=math.nan),
        DataRow(0, "0_0", "loss", "loss", -math.inf, 0.0, step=0.5, n=3),
        DataRow(0, "0_0", "loss ⚡ metrics", "x", 5e-324, math.inf, start_time="2026-01-01", n=7.5),
        DataRow(0, "of no arm", "loss", "loss", 1.0, 1.0),
    ],
)
def test_data_is_exact(store: ts.Store, row: DataRow) -> None:
    made = with_trials(1)
    made.attach_data(Data([row]))
    save_experiment(store, made)
    (loaded,) = load_experiment(store, "tune").data._data_rows
    assert repr(vars(loaded)) == repr(vars(row))


def test_metrics_that_come_later_are_declared(store: ts.Store) -> None:
    made = with_trials(1)
    save_experiment(store, made)
    made.add_tracking_metric(Metric("heat", lower_is_better=True))
    made.attach_data(Data([DataRow(0, "0_0", "heat", "heat", 4.0, 1.0), DataRow(0, "0_0", "loose", "l", 5.0, 1.0)]))
    save_experiment(store, made)
    assert [metric.name for metric in store.experiment("tune").declared_metrics] == ["loss", "ops", "heat", "loose"]
    assert row_of(store)["metrics"] == {"loss": None, "ops": None, "heat": 4.0, "loose": 5.0} or (
        row_of(store)["metrics"]["heat"],
        row_of(store)["metrics"]["loose"],
    ) == (4.0, 5.0)


def test_the_experiment_itself_comes_back(store: ts.Store) -> None:
    made = experiment()
    made.status = ExperimentStatus.OPTIMIZATION
    made.description = "naïve ☃"
    other = experiment("help")
    save_experiment(store, other)
    purpose = AuxiliaryExperimentPurpose.TRANSFERABLE_EXPERIMENT
    made.add_auxiliary_experiment(purpose, AuxiliaryExperiment(other))
    save_experiment(store, made)
    loaded = load_experiment(store, "tune")
    assert (loaded.status, loaded.description) == (ExperimentStatus.OPTIMIZATION, "naïve ☃")
    assert loaded._properties["when"] == (1, 2)
    assert [a.experiment.name for a in loaded.auxiliary_experiments_by_purpose[purpose]] == ["help"]
    assert abs(loaded.time_created - made.time_created) < timedelta(microseconds=1)


def test_times_are_of_the_place(store: ts.Store) -> None:
    made = with_trials(1)
    made.trials[0].mark_running(no_runner_required=True)
    save_experiment(store, made)
    started = store.experiment("tune").trial(0).started_at
    assert started is not None
    assert abs(datetime.now(UTC) - started) < timedelta(minutes=5)


def test_what_workers_of_the_store_did_counts(store: ts.Store) -> None:
    made = with_trials(3)
    save_experiment(store, made)
    kept = store.experiment("tune")
    first, second = kept.reserve_trial(), kept.reserve_trial()
    assert first is not None
    assert second is not None
    first.success(loss=ts.Observation(0.25, sem=0.05, n=10), ops=100)
    with second.begin():
        raise RuntimeError("no disk")
    second.crashed()
    kept.register_trial({"x": -1.0, "k": 5, "how": "safe"})
    loaded = load_experiment(store, "tune")
    assert [trial.status.name for trial in loaded.trials.values()] == ["COMPLETED", "FAILED", "CANDIDATE", "CANDIDATE"]
    assert loaded.trials[1].status_reason == "RuntimeError: no disk"
    assert loaded.trials[3].arm.parameters == {"x": -1.0, "k": 5, "how": "safe"}
    data = {row.metric_name: (row.mean, row.se, row.n) for row in loaded.data._data_rows}
    assert data["loss"] == (0.25, 0.05, 10)
    assert data["ops"][0] == 100.0
    save_experiment(store, loaded)
    assert load_experiment(store, "tune") == loaded


def test_a_save_leaves_alone_what_workers_did(store: ts.Store) -> None:
    made = with_trials(2)
    save_experiment(store, made)
    trial = store.experiment("tune").reserve_trial()
    assert trial is not None
    trial.success(loss=1.0, ops=2.0)
    made.trials[1].mark_abandoned(reason="enough")
    save_experiment(store, made)
    assert row_of(store)["status"] == "SUCCEEDED"
    assert row_of(store, 1)["status"] == "CANCELED"


def test_trials_of_another_copy_can_be_saved(store: ts.Store) -> None:
    made = with_trials(2)
    save_experiment(store, made)
    copy = load_experiment(store, "tune")
    copy.trials[1].mark_running(no_runner_required=True)
    save_trials(store, copy, [copy.trials[1]])
    assert row_of(store, 1)["status"] == "RUNNING"
    assert row_of(store, 0)["status"] == "PENDING"


def test_ids_are_set(store: ts.Store) -> None:
    made = with_trials(2)
    save_experiment(store, made)
    loaded = load_experiment(store, "tune")
    for one in (made, loaded):
        ids: list[Any] = [one.db_id]
        for trial in one.trials.values():
            ids += [trial.db_id, trial.generator_run.db_id, trial.arm.db_id]
        assert all(type(number) is int and number > 0 for number in ids)
    assert [t.generator_run.db_id for t in made.trials.values()] == [
        t.generator_run.db_id for t in loaded.trials.values()
    ]


def test_what_is_refused(store: ts.Store) -> None:
    made = with_trials(1)
    with pytest.raises(ExperimentNotFoundError):
        save_trials(store, made, made.trials.values())
    save_experiment(store, made)
    with pytest.raises(DuplicateExperimentError, match="of this name"):
        save_experiment(store, experiment())
    made.name = "renamed"
    with pytest.raises(UsageError, match="another name"):
        save_experiment(store, made)
    nameless = experiment()
    nameless._name = None
    with pytest.raises(UsageError, match="name"):
        save_experiment(store, nameless)
    store.create_experiment("plain")
    with pytest.raises(ExperimentNotFoundError, match="not saved by Ax"):
        load_experiment(store, "plain")
    with pytest.raises(ExperimentNotFoundError):
        load_experiment(store, "absent")
    unknown = core_stubs.get_experiment_with_custom_runner_and_metric()
    with pytest.raises(UsageError, match="CustomTest"):
        save_experiment(store, unknown)
    assert unknown.name not in store
