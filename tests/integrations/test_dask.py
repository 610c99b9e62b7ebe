"""Trials run on a Dask cluster, through its own executor."""

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

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A scheduler and two worker processes of one thread each, on ports of their own choosing."""
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def experiment(tmp_path: Path) -> Iterator[ts.Experiment]:
    with ts.open(tmp_path / "store", durability="process") as store:
        yield store.create_experiment("dask", metrics=[ts.Metric("loss")])


def test_its_workers_evaluate_trials_under_sessions_of_their_own(client: Any, experiment: ts.Experiment) -> None:
    experiment.register_trials([{"x": n} for n in range(12)])
    ran = experiment.run(functions.process, executor=client.get_executor(), workers=2)
    assert ran.counts == {ts.Status.SUCCEEDED: 12}
    processes = {int(trial.metrics["loss"]) for trial in experiment.trials()}
    assert processes <= set(client.run(os.getpid).values())
    assert {int(trial.worker.rpartition(":")[2]) for trial in experiment.trials() if trial.worker} == processes
    assert os.getpid() not in processes


def test_an_exception_is_kept_and_a_trial_tried_again(client: Any, experiment: ts.Experiment) -> None:
    experiment.register_trial({"x": 1})
    ran = experiment.run(functions.raises_at_first, executor=client.get_executor(), workers=2, retries=1)
    assert ran.trials == {0: ts.Status.CRASHED, 1: ts.Status.SUCCEEDED}
    assert "ValueError: at first" in str(experiment.trial(0).traceback)


def test_a_worker_that_dies_is_found_by_its_lease(client: Any, tmp_path: Path) -> None:
    """Dask gives its task to another worker, which leaves alone a trial that a living lease may hold."""
    with ts.open(tmp_path / "store", durability="process", lease_s=1) as store:
        experiment = store.create_experiment("dask", metrics=[ts.Metric("loss")])
        experiment.register_trials([{"x": n} for n in range(3)])
        ran = experiment.run(functions.dies, executor=client.get_executor(), workers=1)
        assert ran.trials == {0: ts.Status.SUCCEEDED, 2: ts.Status.SUCCEEDED}
        deadline = time.monotonic() + 60
        while not (lost := experiment.fix_lost_trials()):
            assert time.monotonic() < deadline
            threading.Event().wait(0.05)
        assert [(trial.number, trial.status) for trial in lost] == [(1, ts.Status.INTERRUPTED)]
        experiment.run(functions.process, executor=client.get_executor(), workers=1)
        assert (lost[0].refresh().status, lost[0].attempt) == (ts.Status.SUCCEEDED, 2)
