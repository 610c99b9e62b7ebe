"""How trials end: `success`, `fail`, `crashed`, `update`, observations, and what the report says."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support.trials import experiment_in, running
from trialstore.model.errors import InvalidMetricsError, InvalidTimeError, TransitionError, UsageError

NAN, INF = math.nan, math.inf


@pytest.fixture
def experiment(tmp_path: Path) -> ts.Experiment:
    return experiment_in(tmp_path)


@pytest.fixture
def trial(experiment: ts.Experiment) -> ts.Trial:
    return running(experiment)


def test_success_wants_every_metric_and_no_other(experiment: ts.Experiment, trial: ts.Trial) -> None:
    with pytest.raises(InvalidMetricsError, match="'acc' is missing"):
        trial.success(loss=1)
    with pytest.raises(InvalidMetricsError, match="'cost' was not declared"):
        trial.success(loss=1, acc=2, cost=3)
    with pytest.raises(InvalidMetricsError, match="'los' was not declared; did you mean 'loss'"):
        trial.success(acc=2, los=1)
    assert trial.status is ts.Status.RUNNING
    report = trial.success(loss=1, acc=2)
    assert (report.status, report.metrics) == (ts.Status.SUCCEEDED, {"loss": 1, "acc": 2})
    assert experiment.report(0) == report


def test_a_metric_of_any_name_can_be_reported(tmp_path: Path) -> None:
    names = ["self", "two words", "held", "status", "metrics", "trial", "reason"]
    experiment = experiment_in(tmp_path, *map(ts.Metric, names))
    values = {name: float(number) for number, name in enumerate(names)}
    assert running(experiment).success(**values).metrics == values
    assert running(experiment).fail(**values).values == values
    assert running(experiment).prune(**values).values == values
    assert running(experiment).timed_out(**values).values == values


@pytest.mark.parametrize("given", [{}, {"loss": 5.5}, {"acc": NAN}, {"loss": 1, "acc": 2}])
def test_fail_fills_what_is_missing_with_the_worst(
    experiment: ts.Experiment, trial: ts.Trial, given: dict[str, Any]
) -> None:
    report = trial.fail(**given)
    filled = {"loss": 1000.0, "acc": -INF, **given}
    for found in (report, experiment.report(0)):
        assert repr(dict(found.values)) == repr(given)
        assert repr({name: found.metrics[name] for name in filled}) == repr(filled)
        assert [(value.name, repr(value.value)) for value in found.metric_values] == [
            (name, repr(value)) for name, value in filled.items()
        ]
    assert repr(dict(experiment.trial(0).metrics)) == repr(given)


def test_the_store_keeps_what_was_reported_and_best_never_picks_a_fill(experiment: ts.Experiment) -> None:
    running(experiment).fail()
    running(experiment).crashed(ValueError("a"))
    assert experiment.best() is None
    assert experiment.sql("SELECT metrics FROM trials").fetchall() == [(None,), (None,)]
    running(experiment).success(loss=3, acc=1)
    averages = experiment.sql("SELECT avg(metrics.loss), min(metrics.acc) FROM trials").fetchall()
    assert averages == [(3.0, 1)]


def test_crashed_has_the_worst_values_and_the_exception(experiment: ts.Experiment, trial: ts.Trial) -> None:
    with trial.begin():
        raise ValueError("x must be positive")
    report = trial.crashed()
    assert (report.status, report.values) == (ts.Status.CRASHED, {})
    assert report.metrics == {"loss": 1000.0, "acc": -INF}
    assert report.exception == "ValueError: x must be positive"
    assert "test_trial_ending.py" in (report.traceback or "")
    assert experiment.report(0) == report


def test_crashed_takes_an_exception_and_a_traceback(experiment: ts.Experiment) -> None:
    report = running(experiment).crashed(OSError("disk"), "line 1\nline 2")
    assert (report.exception, report.traceback) == ("OSError: disk", "line 1\nline 2")
    report = running(experiment).crashed("killed by the kernel")
    assert (report.exception, report.traceback) == ("killed by the kernel", None)
    trial = running(experiment)
    with trial.begin():
        raise ValueError("a")
    report = trial.crashed(traceback="only this")
    assert (report.exception, report.traceback) == ("ValueError: a", "only this")
    assert running(experiment).crashed().exception is None
    with pytest.raises(TransitionError):
        trial.crashed(ValueError("again"))
    assert repr(trial.exception) == "ValueError('a')"


@pytest.mark.parametrize("way", ["prune", "timed_out", "cancel"])
def test_other_ends_are_not_filled(trial: ts.Trial, way: str) -> None:
    report = getattr(trial, way)()
    assert report.metrics == report.values == {}
    assert report.metric_values == ()


def test_a_report_says_when_the_trial_was_made_began_and_ended(experiment: ts.Experiment, trial: ts.Trial) -> None:
    report = trial.success(loss=1, acc=1)
    stored = experiment.trial(0)
    assert report.created_at == trial.created_at == stored.created_at == stored.submitted_at
    assert report.started_at == trial.started_at == stored.started_at
    assert report.reported_at == trial.ended_at == stored.ended_at
    assert report.created_at <= report.started_at <= report.reported_at


def test_a_report_is_of_a_trial_that_has_ended(experiment: ts.Experiment, trial: ts.Trial) -> None:
    with pytest.raises(TransitionError, match="has not ended yet"):
        experiment.report(0)
    assert list(experiment.reports()) == []
    first = trial.success(loss=1, acc=1)
    running(experiment)
    second = running(experiment).fail()
    third = experiment.register_trial({"lr": 9}).cancel("nobody wants it")
    assert list(experiment.reports()) == [first, second, third]
    assert list(experiment.reports("FAILED")) == [second]
    assert experiment.report(first.id) == first
    experiment.flush()
    assert list(experiment.reports()) == [first, second, third]


# Observations


def test_an_observation_carries_its_noise(experiment: ts.Experiment, trial: ts.Trial) -> None:
    report = trial.success(loss=ts.Observation(1.5, sem=0.25, n=40), acc=7)
    wanted = {"loss": ts.Observation(1.5, 0.25, 40), "acc": ts.Observation(7)}
    for step in (lambda: None, experiment.flush, lambda: experiment.trial(0).annotate(a=1), experiment.compact):
        step()
        for found in (report, experiment.report(0), trial, experiment.trial(0)):
            assert found.metrics == {"loss": 1.5, "acc": 7}
            assert found.observations == wanted
        query = "SELECT metrics.loss, sem.loss, n.loss FROM trials"
        assert experiment.sql(query).fetchall() == [(1.5, 0.25, 40)]
        frame = experiment.history().collect()
        assert (frame["sem"].to_list(), frame["n"].to_list()) == ([{"loss": 0.25}], [{"loss": 40}])


def test_noise_comes_back_exactly(experiment: ts.Experiment) -> None:
    given = [(1.0, 0, 1), (2.0, NAN, None), (3, INF, 2**62), (NAN, None, 3), (4.0, 0.0, None)]
    for mean, sem, n in given:
        running(experiment).success(loss=ts.Observation(mean, sem, n), acc=0)
    for step in (lambda: None, experiment.flush, experiment.compact):
        step()
        found = [report.observations["loss"] for report in experiment.reports()]
        assert repr(found) == repr([ts.Observation(*values) for values in given])


@pytest.mark.parametrize(
    "values", [("a",), (None,), (1.0, -0.1), (1.0, "a"), (1.0, 0.1, 0), (1.0, 0.1, 1.5), (1.0, 0.1, 2**63), (True,)]
)
def test_an_observation_that_is_none_is_refused(values: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidMetricsError):
        ts.Observation(*values)


def test_an_observation_of_measurements() -> None:
    assert ts.Observation.of([3.0, 5.0]) == ts.Observation(4.0, 1.0, 2)
    assert ts.Observation.of((2.5,)) == ts.Observation(2.5, None, 1)
    assert repr(ts.Observation.of([1.0, INF])) == repr(ts.Observation(INF, NAN, 2))
    assert repr(ts.Observation.of([INF, -INF])) == repr(ts.Observation(NAN, NAN, 2))
    assert repr(ts.Observation.of([1.0, NAN])) == repr(ts.Observation(NAN, NAN, 2))
    assert ts.Observation.of([1e308, 1e308]).mean == 1e308
    with pytest.raises(InvalidMetricsError):
        ts.Observation.of([])


# update


def test_update_takes_a_trial_through_its_life(experiment: ts.Experiment) -> None:
    trial = experiment.register_trial({"lr": 1})
    began = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    ended = began + timedelta(hours=1)
    assert trial.update("RUNNING", began) is None
    assert trial.update("RUNNING", ended) is None
    assert trial.started_at == began
    given = {"loss": 0.5, "acc": 1, "p99": 3.5, "note": "cold"}
    assert trial.update("SUCCEEDED", ended, given) == given
    stored = experiment.trial(0)
    assert (stored.status, stored.ended_at) == (ts.Status.SUCCEEDED, ended)
    assert (stored.metrics, stored.summary) == ({"loss": 0.5, "acc": 1}, {"p99": 3.5, "note": "cold"})
    steps = experiment.status_history(0).sort("at").select("status", "at").collect().rows()
    assert [(status, at) for status, at in steps if status != "PENDING"] == [("RUNNING", began), ("SUCCEEDED", ended)]
    assert experiment.report(0).reported_at == ended


def test_update_refuses_what_does_not_fit(experiment: ts.Experiment, trial: ts.Trial) -> None:
    now = datetime.now(UTC)
    with pytest.raises(UsageError, match="metrics come with a final status"):
        trial.update("RUNNING", now, {"loss": 1})
    with pytest.raises(InvalidMetricsError, match="'acc' is missing"):
        trial.update("SUCCEEDED", now, {"loss": 1, "other": 2})
    with pytest.raises(InvalidTimeError):
        trial.update("SUCCEEDED", datetime(2026, 1, 1), {"loss": 1, "acc": 2})
    assert experiment.trial(0).status is ts.Status.RUNNING
    assert trial.update("FAILED", now) is None
    with pytest.raises(TransitionError):
        trial.update("SUCCEEDED", now, {"loss": 1, "acc": 2})
    with pytest.raises(TransitionError):
        experiment.trial(0).update("RUNNING", now)


def test_update_ends_a_trial_that_nobody_ran(experiment: ts.Experiment) -> None:
    at = datetime(2026, 5, 6, tzinfo=UTC)
    experiment.register_trial({"lr": 1}).update("CANCELED", at)
    stored = experiment.trial(0)
    assert (stored.status, stored.attempt, stored.ended_at) == (ts.Status.CANCELED, 0, at)


def test_telemetry_handed_in_again_counts_once(experiment: ts.Experiment, trial: ts.Trial) -> None:
    now = datetime(2026, 5, 6, tzinfo=UTC)
    samples = [(now, "cpu", 0.5), (now, "phase", "warm"), (now + timedelta(seconds=1), "cpu", NAN)]
    for _ in range(2):
        trial.update_telemetry("RUNNING", now, samples)
    trial.update_telemetry("RUNNING", now, [(now, "cpu", 99.0)])
    trial.success(loss=1, acc=1)
    rows = experiment.telemetry(0).sort("name", "at").select("name", "value", "text").collect().rows()
    assert repr(rows) == repr([("cpu", 0.5, None), ("cpu", NAN, None), ("phase", None, "warm")])
