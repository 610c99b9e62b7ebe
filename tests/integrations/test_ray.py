"""Trials run on a Ray cluster."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support import functions
from trialstore.integrations.ray import RayExecutor
from trialstore.runner.runner import Runner

ray = pytest.importorskip("ray")
ROOT = str(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    environment = {"env_vars": {"PYTHONPATH": ROOT}}
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False, runtime_env=environment)
    yield ray
    ray.shutdown()


@pytest.fixture
def experiment(cluster: Any, tmp_path: Path) -> Iterator[ts.Experiment]:
    with ts.open(tmp_path / "store", durability="process") as store:
        yield store.create_experiment("ray", metrics=[ts.Metric("loss")])


def test_its_workers_evaluate_trials_and_those_that_die_crash(experiment: ts.Experiment) -> None:
    experiment.register_trials([{"x": n} for n in range(4)])
    ran = experiment.run(functions.dies, executor=RayExecutor(), workers=2)
    assert dict(sorted(ran.trials.items())) == {
        0: ts.Status.SUCCEEDED,
        1: ts.Status.CRASHED,
        2: ts.Status.SUCCEEDED,
        3: ts.Status.CRASHED,
    }
    assert "WorkerCrashedError" in str(experiment.trial(1).exception)
    assert str(os.getpid()) not in {str(trial.worker).rpartition(":")[2] for trial in experiment.trials()}


def test_a_trial_is_stopped_with_its_worker(experiment: ts.Experiment, tmp_path: Path) -> None:
    experiment.register_trial({"note": str(tmp_path / "note")})
    with RayExecutor() as executor, Runner(functions.hangs, executor=executor, workers=1) as runner:
        trial = experiment.trial(0)
        runner.run(trial)
        deadline = time.monotonic() + 60
        while not (tmp_path / "note").exists():
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
        runner.stop(trial, "enough")
        assert runner.poll_trial_status([trial]) == {ts.Status.CANCELED: {0}}
        process = int((tmp_path / "note").read_text())
        while Path(f"/proc/{process}").exists():
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(functions.where)
