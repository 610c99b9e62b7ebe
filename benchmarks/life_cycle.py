"""A trial's life in three durable calls, and 10,000 trials registered in one, beside Optuna's journal on a file."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import trialstore as ts
from benchmarks.bench import Bench
from benchmarks.figure import Figure, Target, interleave

__all__ = ["bulk", "life_cycle", "one_life", "random_params"]

_PEER = "Optuna JournalStorage, file"


def random_params(source: random.Random) -> dict[str, float]:
    """Five parameters."""
    return {f"x{i}": source.random() for i in range(5)}


def one_life(experiment: ts.Experiment, source: random.Random) -> int:
    """Register a trial, claim one and finish it, each durable; returns the number of the finished one."""
    experiment.register_trial(random_params(source))
    trial = experiment.reserve_trial()
    assert trial is not None
    x = trial.params["x0"]
    trial.success(loss=x, cost=1 - x)
    return trial.number


def life_cycle(bench: Bench) -> list[Figure]:
    """Register with 5 parameters, claim, finish with 2 metrics; the peer: create, 5 parameters, complete.

    Both stay open and take turns every few trials. Ours goes on until its first flush into Parquet is in it.
    """
    sizes = bench.sizes
    source = random.Random(1)
    store, experiment = _experiment(bench)
    with store:
        peer_life = _peer_life(bench)
        ours, peer = interleave(
            sizes.turns,
            lambda: _rate(sizes.cycles, lambda: one_life(experiment, source)),
            lambda: _rate(sizes.cycles, peer_life),
        )
        assert experiment.counts == {ts.Status.SUCCEEDED: sizes.turns * sizes.cycles}
    target = Target("ratio", "at least", 1.5)
    return [Figure("life cycle of a trial in three durable calls", "trials/s", ours, peer, _PEER, target)]


def bulk(bench: Bench) -> list[Figure]:
    """Register many trials in one call; the peer: its life cycle, and, to inform, a queue filled trial by trial."""
    sizes = bench.sizes
    source = random.Random(2)
    peer_life, (_, study) = _peer_life(bench), _peer_study(bench)
    ours, peer = interleave(sizes.rounds, lambda: _bulk_rate(bench), lambda: _rate(sizes.cycles, peer_life))
    again, queued = interleave(
        sizes.rounds,
        lambda: _bulk_rate(bench),
        lambda: _rate(sizes.cycles, lambda: study.enqueue_trial(random_params(source))),
    )
    name = f"{sizes.bulk:,} trials registered in one call"
    return [
        Figure(name, "trials/s", ours, peer, f"{_PEER}, life cycle", Target("ratio", "at least", 50)),
        Figure(name, "trials/s", again, queued, f"{_PEER}, enqueue_trial"),
    ]


def _experiment(bench: Bench) -> tuple[ts.Store, ts.Experiment]:
    store = ts.open(bench.place("store"))
    metrics = [ts.Metric("loss"), ts.Metric("cost")]
    space = {f"x{i}": ts.Real(0, 1) for i in range(5)}
    return store, store.create_experiment("lives", metrics=metrics, space=space)


def _bulk_rate(bench: Bench) -> float:
    store, experiment = _experiment(bench)
    source = random.Random(2)
    params = [random_params(source) for _ in range(bench.sizes.bulk)]
    with store:
        experiment.register_trial(random_params(source))
        started = time.perf_counter()
        trials = experiment.register_trials(params)
        seconds = time.perf_counter() - started
    assert len(trials) == bench.sizes.bulk
    return bench.sizes.bulk / seconds


def _peer_study(bench: Bench) -> tuple[Any, Any]:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(bench.place("journal"))))
    return storage, optuna.create_study(storage=storage, directions=["minimize", "minimize"])


def _peer_life(bench: Bench) -> Callable[[], None]:
    from optuna.distributions import FloatDistribution
    from optuna.trial import TrialState

    storage, study = _peer_study(bench)
    source = random.Random(1)
    between = FloatDistribution(0, 1)

    def life() -> None:
        trial = storage.create_new_trial(study._study_id)
        params = random_params(source)
        for name, value in params.items():
            storage.set_trial_param(trial, name, value, between)
        x = params["x0"]
        storage.set_trial_state_values(trial, TrialState.COMPLETE, [x, 1 - x])

    return life


def _rate(trials: int, life: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(trials):
        life()
    return trials / (time.perf_counter() - started)
