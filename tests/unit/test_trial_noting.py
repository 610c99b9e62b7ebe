"""What is noted of a trial beside its result: summary, extras, info, seed, its runner."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support.trials import experiment_in, running
from trialstore.model.errors import TransitionError, UsageError

ODD: dict[str, Any] = {
    "nan": math.nan,
    "big": 2**70,
    "none": None,
    "true": True,
    "one": 1,
    "float": 1.0,
    "text": "näme 🚀\n\0",
    "bytes": b"\x00\xff",
    "list": [1, "a", None, (2.5, {"x": []})],
    "$dollar": {"$x": 1, 3: 4},
}


@pytest.fixture
def experiment(tmp_path: Path) -> ts.Experiment:
    return experiment_in(tmp_path)


@pytest.fixture
def trial(experiment: ts.Experiment) -> ts.Trial:
    return running(experiment)


def everywhere(experiment: ts.Experiment, look: Callable[[], None]) -> None:
    """Look while the row is in the journal, in a part, back in the journal, and in a compacted part."""
    for step in (lambda: None, experiment.flush, lambda: experiment.trial(0).annotate(seen=1), experiment.compact):
        step()
        look()


def test_seed_zero_is_a_seed(experiment: ts.Experiment) -> None:
    report = experiment.register_trial({"lr": 1}, seed=0, reserve=True).success(loss=1, acc=1)
    running(experiment).success(loss=1, acc=1)
    assert [r.seed for r in experiment.reports()] == [0, None]
    assert experiment.sql("SELECT seed FROM trials ORDER BY trial").fetchall() == [(0,), (None,)]
    for again in (ts.Report.from_df(report.df()), ts.Report.from_df(report.df(prefixes=True))):
        assert again.seed == 0


def test_amltks_names_are_there(experiment: ts.Experiment) -> None:
    trial = experiment.register_trial({"lr": 1}, name="mine", fidelity={"epochs": 3}, info={"a": (1,)}, reserve=True)
    report = trial.success(loss=1, acc=1)
    for found in (trial, report, experiment.trial(0), experiment.report(0)):
        assert found.config == found.params == {"lr": 1}
        assert found.fidelities == found.fidelity == {"epochs": 3}
        assert found.name == "mine"
        assert found.info == {"a": (1,)}
        assert list(found.metric_defs) == ["loss", "acc"]
        assert found.metric_defs["loss"].bounds == (0, 1000)


@pytest.mark.parametrize("info", [0, "", [], ODD, (1, 2), math.inf, {"$int": "3"}])
def test_info_of_any_value_comes_back(experiment: ts.Experiment, info: Any) -> None:
    trial = experiment.register_trial({"lr": 1}, info=info, reserve=True)
    assert repr(trial.info) == repr(info)
    trial.success(loss=1, acc=1)
    everywhere(experiment, lambda: assert_same(experiment.trial(0).info, info))


def assert_same(found: Any, wanted: Any) -> None:
    assert repr(found) == repr(wanted)  # tells 1, 1.0 and True apart, and NaN is itself


def test_a_summary_is_stored_with_the_end(experiment: ts.Experiment, trial: ts.Trial) -> None:
    trial.summary.update(ODD)
    trial.summary["rate"] = 1
    report = trial.finish("SUCCEEDED", {"loss": 1, "acc": 1}, summary={"rate": 2.5})
    wanted = {**ODD, "rate": 2.5}
    assert_same(dict(report.summary), wanted)
    everywhere(experiment, lambda: assert_same(experiment.trial(0).summary, wanted))
    assert experiment.sql("SELECT summary.rate FROM trials").fetchall() == [(2.5,)]
    trial.summary["late"] = 1
    assert "late" not in experiment.trial(0).summary


def test_what_cannot_be_stored_is_refused_and_the_trial_goes_on(experiment: ts.Experiment, trial: ts.Trial) -> None:
    trial.summary["model"] = object()
    with pytest.raises(UsageError, match=r"where='summary\.model'"):
        trial.success(loss=1, acc=1)
    assert experiment.trial(0).status is ts.Status.RUNNING
    del trial.summary["model"]
    trial.success(loss=1, acc=1)


def test_extras_are_stored_with_the_end(experiment: ts.Experiment, trial: ts.Trial) -> None:
    trial.attach_extra("plugin", ODD)
    trial.attach_extra("other", 1)
    trial.attach_extra("other", 2)
    assert experiment.trial(0).extras == {}
    trial.success(loss=1, acc=1)
    everywhere(experiment, lambda: assert_same(dict(experiment.trial(0).extras), {"plugin": ODD, "other": 2}))


def test_extras_of_a_trial_that_has_ended_are_stored_at_once(experiment: ts.Experiment, trial: ts.Trial) -> None:
    trial.attach_extra("before", 1)
    trial.success(loss=1, acc=1)
    experiment.flush()
    experiment.trial(0).attach_extra("after", ODD)
    everywhere(experiment, lambda: assert_same(dict(experiment.trial(0).extras), {"before": 1, "after": ODD}))
    rows = experiment.sql("SELECT extras ->> '$.before' FROM trials").fetchall()
    assert rows == [("1",)]


def test_an_extra_may_be_for_this_process_alone(experiment: ts.Experiment, trial: ts.Trial) -> None:
    thing = object()
    with pytest.raises(UsageError, match=r"stored=False\) keeps it in this process"):
        trial.attach_extra("thing", thing)
    trial.attach_extra("thing", thing, stored=False)
    assert trial.extras["thing"] is thing
    report = trial.success(loss=1, acc=1)
    assert report.extras == experiment.trial(0).extras == {}


# Runners


def test_the_first_runner_has_the_trial(experiment: ts.Experiment) -> None:
    trial = experiment.register_trial({"lr": 1})
    other = experiment.trial(0)
    assert trial.runner is None
    assert trial.set_trial_runner(3) == 3
    assert trial.set_trial_runner(3) == 3
    assert other.set_trial_runner(4) == 3
    assert (trial.runner, other.runner, experiment.trial(0).runner) == (3, 3, 3)
    assert other.set_trial_runner(4, was=3) == 4
    assert trial.set_trial_runner(5, was=3) == 4
    assert trial.set_trial_runner(None, was=4) is None
    assert trial.set_trial_runner(0) == 0
    assert trial.set_trial_runner(1) == 0
    assert experiment.sql("SELECT runner FROM trials").fetchall() == [(0,)]


def test_a_runner_is_no_claim_and_stays_with_the_trial(experiment: ts.Experiment) -> None:
    experiment.register_trial({"lr": 1}).set_trial_runner(2**62)
    trial = experiment.reserve_trial()
    assert trial is not None
    assert trial.runner == 2**62
    assert trial.set_trial_runner(1, was=2**62) == 1
    report = trial.success(loss=1, acc=1)
    assert report.runner == 1
    everywhere(experiment, lambda: assert_same(experiment.trial(0).runner, 1))
    for handle in (trial, experiment.trial(0)):
        with pytest.raises(TransitionError, match="already finished"):
            handle.set_trial_runner(2, was=1)


@pytest.mark.parametrize("runner", ["a", 1.5, True, 2**63])
def test_a_runner_is_a_whole_number(experiment: ts.Experiment, runner: Any) -> None:
    trial = experiment.register_trial({"lr": 1})
    with pytest.raises(UsageError, match="a runner must be a whole number"):
        trial.set_trial_runner(runner)
    with pytest.raises(UsageError, match="a runner must be a whole number"):
        trial.set_trial_runner(1, was=runner)


def test_of_many_runners_at_once_one_wins_and_all_are_told(tmp_path: Path) -> None:
    url = tmp_path / "store"
    with ts.open(url, durability="process") as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        experiment.register_trials([{"lr": k} for k in range(10)])
    told: list[list[int | None]] = [[] for _ in range(10)]
    start = threading.Barrier(4)

    def assign(runner: int) -> None:
        with ts.open(url, durability="process") as store:
            trials = list(store.experiment("tune").trials())
            start.wait(timeout=60)
            for trial in trials:
                told[trial.number].append(trial.set_trial_runner(runner))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=assign, args=(runner,)) for runner in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    with ts.open(url, mode="r") as store:
        winners = [trial.runner for trial in store.experiment("tune").trials()]
    assert all(winner in range(4) for winner in winners)
    assert told == [[winner] * 4 for winner in winners]
