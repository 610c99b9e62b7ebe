"""AMLTK's tasks write their trials down as they go: running, ended, crashed, cancelled, lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from amltk import Component, History, Limiter, Metric, Scheduler, SequentialExecutor, Trial
from amltk.optimization.optimizers.random_search import RandomSearch

import trialstore as ts
from trialstore.integrations.amltk import TrialStoreBucket, TrialStorePlugin, load_history

LOSS = Metric("loss", minimize=True)


@pytest.fixture
def bucket(tmp_path: Path) -> TrialStoreBucket:
    return TrialStoreBucket(tmp_path, "tune", metrics=LOSS)


def run(
    bucket: TrialStoreBucket, function: Callable[..., Any], *trials: Trial[Any], **plugins: Any
) -> TrialStorePlugin:
    """Submit trials to a task of the function; whatever it raises does not stop the scheduler."""
    plugin = TrialStorePlugin(bucket.experiment)
    scheduler = Scheduler(SequentialExecutor())
    task = scheduler.task(function, plugins=[plugin, *plugins.values()])

    @scheduler.on_start
    def submit() -> None:
        for trial in trials:
            task.submit(trial)

    scheduler.run(on_exception="continue")
    return plugin


def trial_in(bucket: TrialStoreBucket, name: str = "first", x: float = 3.0) -> Trial[Any]:
    return Trial.create(name=name, config={"x": x}, metrics=[LOSS], bucket=bucket / name, seed=0)


def square(trial: Trial[Any]) -> Trial.Report[Any]:
    with trial.profile("fit"):
        trial.store({"x.json": [trial.config["x"]]})
    return trial.success(loss=trial.config["x"] ** 2)


def test_a_trial_ends_as_its_report_says(bucket: TrialStoreBucket) -> None:
    trial = trial_in(bucket)
    plugin = run(bucket, square, trial)
    assert plugin.numbers == {"first": 0}
    stored = bucket.experiment.trial(0)
    assert (stored.status.name, stored.seed, stored.attempt, stored.metrics) == ("SUCCEEDED", 0, 1, {"loss": 9.0})
    assert stored.retrieve("x.json") == [3.0]
    assert list(stored.profiles) == ["fit"]
    (report,) = load_history(bucket.experiment)
    assert report.trial.created_at == trial.created_at
    assert report.profiles == trial.profiles
    assert trial.bucket.trial == 0  # type: ignore[attr-defined]
    steps = bucket.experiment.sql('SELECT status FROM status ORDER BY "at"').fetchall()
    assert steps == [("PENDING",), ("RUNNING",), ("SUCCEEDED",)]


def test_what_is_under_way_is_seen(bucket: TrialStoreBucket, tmp_path: Path) -> None:
    seen = []
    plugin = TrialStorePlugin(bucket.experiment)
    scheduler = Scheduler(SequentialExecutor())
    task = scheduler.task(square, plugins=plugin)

    @task.on_submitted
    def look(*_: Any) -> None:
        seen.append(ts.open(tmp_path).sql("SELECT name, status, params.x FROM trials").fetchall())

    scheduler.on_start(lambda: task.submit(trial_in(bucket)))
    scheduler.run()
    assert seen == [[("first", "RUNNING", 3.0)]]


def test_a_function_that_raises_has_crashed(bucket: TrialStoreBucket) -> None:
    def broken(trial: Trial[Any]) -> None:
        trial.store({"before.txt": "kept"})
        raise ValueError("no such value", trial.config["x"])

    run(bucket, broken, trial_in(bucket))
    stored = bucket.experiment.trial(0)
    assert stored.status.name == "CRASHED"
    assert "no such value" in str(stored.exception)
    assert "broken" in str(stored.traceback)
    assert stored.retrieve("before.txt") == "kept"
    (report,) = load_history(bucket.experiment)
    assert report.status is Trial.Status.CRASHED
    assert isinstance(report.exception, ValueError)
    assert report.exception.args == ("no such value", 3.0)


def test_a_function_without_a_report_has_crashed(bucket: TrialStoreBucket) -> None:
    def forgetful(trial: Trial[Any]) -> int:
        return 7

    run(bucket, forgetful, trial_in(bucket))
    assert bucket.experiment.trial(0).exception == "TypeError: the function returned int, not a report"


def test_a_cancelled_trial_is_canceled(bucket: TrialStoreBucket) -> None:
    plugin = TrialStorePlugin(bucket.experiment)
    scheduler = Scheduler(SequentialExecutor())
    task = scheduler.task(square, plugins=plugin)
    trial = trial_in(bucket)

    class Cancelled:
        """A future that its executor dropped, as a process pool drops those that wait when it is shut down."""

    future = Cancelled()
    task.on_submitted.emit(future, trial)
    task.on_cancelled.emit(future)
    assert bucket.experiment.trial(0).status.name == "CANCELED"
    (report,) = load_history(bucket.experiment)
    assert report.status is Trial.Status.UNKNOWN


def test_what_another_plugin_holds_back_is_not_written(bucket: TrialStoreBucket) -> None:
    run(bucket, square, trial_in(bucket, "a"), trial_in(bucket, "b"), limit=Limiter(max_calls=1))
    assert bucket.experiment.sql("SELECT name FROM trials").fetchall() == [("a",)]


def test_calls_without_a_trial_are_nothing_to_it(bucket: TrialStoreBucket) -> None:
    plugin = TrialStorePlugin(bucket.experiment)
    scheduler = Scheduler(SequentialExecutor())
    task = scheduler.task(abs, plugins=plugin)
    scheduler.on_start(lambda: task.submit(-1))
    scheduler.run()
    assert len(bucket.experiment) == 0


def test_a_report_of_a_lost_trial_is_kept(bucket: TrialStoreBucket, caplog: pytest.LogCaptureFixture) -> None:
    plugin = TrialStorePlugin(bucket.experiment)
    scheduler = Scheduler(SequentialExecutor())
    task = scheduler.task(square, plugins=plugin)

    @task.on_submitted
    def take_away(*_: Any) -> None:
        bucket.experiment.trial(0).interrupt("somebody else shall run it")

    scheduler.on_start(lambda: task.submit(trial_in(bucket)))
    with caplog.at_level(logging.WARNING):
        scheduler.run()
    assert "written as another trial" in caplog.text
    rows = bucket.experiment.sql("SELECT trial, name, status, metrics.loss FROM trials ORDER BY trial").fetchall()
    assert [row[:3] for row in rows] == [(0, "first", "INTERRUPTED"), (1, "first", "SUCCEEDED")]
    assert rows[1][3] == 9.0
    assert plugin.numbers == {"first": 1}
    assert bucket.experiment.trial(1).retrieve("x.json") == [3.0]


def test_amltks_own_loop(bucket: TrialStoreBucket) -> None:
    def evaluate(trial: Trial[Any], node: Any) -> Trial.Report[Any]:
        x = trial.config["point:x"]
        return trial.fail(ValueError(x)) if x > 0.5 else trial.success(loss=x)

    kept = History()
    history = Component(object, name="point", space={"x": (0.0, 1.0)}).optimize(
        target=evaluate,
        metric=LOSS,
        optimizer=RandomSearch,
        seed=1,
        max_trials=8,
        n_workers=2,
        working_dir=bucket,
        scheduler=Scheduler(SequentialExecutor()),
        plugins=TrialStorePlugin(bucket.experiment),
        history=kept,
        on_trial_exception="continue",
        display=False,
    )
    assert len(history) == 8
    again = load_history(bucket.experiment)
    assert sorted(report.name for report in again) == sorted(report.name for report in history)
    for report in history:
        stored = again.find(report.name)
        assert (stored.status, stored.values, stored.config) == (report.status, report.values, report.config)
        assert (stored.reported_at, stored.trial.created_at) == (report.reported_at, report.trial.created_at)
    assert again.best("loss").name == bucket.experiment.best("loss").name  # type: ignore[union-attr]
