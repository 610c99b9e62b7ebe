"""Reports beside AMLTK's: the frame of many, and what measuring a block of a trial costs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import trialstore as ts
from benchmarks.bench import Bench
from benchmarks.figure import Figure, Target, interleave

__all__ = ["measuring", "reports"]

_PEER = "AMLTK"
_METRICS = ("loss", "cost")


def reports(bench: Bench) -> list[Figure]:
    """The frame of many reports, with 5 parameters, 2 metrics and 2 profiles each, in AMLTK's columns.

    From reports in memory, which is what AMLTK has, and, to inform, from a store. The peer makes a frame of each report
    and joins them, so its time a report does not fall with their number; it gets fewer.
    """
    sizes = bench.sizes
    experiment = _experiment(bench, sizes.reports)
    made = list(ts.History.of(experiment))
    theirs = _their_history(bench, sizes.peer_reports)
    shape = ts.History(made).df(prefixes=True).shape
    assert shape[0] == sizes.reports
    assert theirs.df().shape[0] == sizes.peer_reports
    figures = []
    for name, frame, target in (
        ("in memory", lambda: ts.History(made).df(prefixes=True), Target("ratio", "at least", 100)),
        ("in a store", lambda: ts.History.of(experiment).df(prefixes=True), None),
    ):
        ours, peer = interleave(
            sizes.rounds,
            lambda frame=frame: _rate(sizes.reports, frame),  # type: ignore[misc]
            lambda: _rate(sizes.peer_reports, theirs.df),
        )
        title = f"frame of {sizes.reports:,} reports {name}"
        figures.append(Figure(title, "reports/s", ours, peer, f"{_PEER}, History.df", target))
    return figures


def measuring(bench: Bench) -> list[Figure]:
    """A block that does nothing, measured: time by the clock and memory of the process.

    AMLTK 1.12 has no `begin`; its programs measure a whole trial by ``trial.profile("trial")``, so that is the
    peer of both.
    """
    experiment = _experiment(bench, 0)
    theirs = _their_trials(bench, "measured")
    blocks = bench.sizes.blocks
    figures = []
    for name in ("begin", "profile"):
        ours, peer = interleave(
            bench.sizes.rounds * 3,
            lambda name=name: _our_block(experiment, name, blocks),  # type: ignore[misc]
            lambda name=name: _their_block(theirs, name, blocks),  # type: ignore[misc]
        )
        title = f"a block measured by {name}"
        figures.append(Figure(title, "µs", ours, peer, f"{_PEER}, Trial.profile", Target("ratio", "at most", 1.0)))
    return figures


def _experiment(bench: Bench, count: int) -> ts.Experiment:
    store = ts.open(bench.place("reports"), durability="process")
    experiment = store.create_experiment("reports", metrics=[ts.Metric(name) for name in _METRICS])
    source = random.Random(3)
    for _ in range(count):
        x = source.random()
        trial = experiment.register_trial({f"x{i}": source.random() for i in range(5)}, seed=1, reserve=True)
        with trial.begin(), trial.profile("fit"):
            pass
        trial.success(loss=x, cost=1 - x)
    experiment.flush()
    return experiment


def _their_trials(bench: Bench, name: str) -> Callable[[int], Any]:
    from amltk.optimization import Metric, Trial
    from amltk.store import PathBucket

    bucket = PathBucket(bench.place(name))
    metrics = [Metric(metric) for metric in _METRICS]
    source = random.Random(3)

    def trial(number: int) -> Any:
        config = {f"x{i}": source.random() for i in range(5)}
        return Trial.create(name=f"t{number}", config=config, metrics=metrics, seed=1, bucket=bucket)

    return trial


def _their_history(bench: Bench, count: int) -> Any:
    from amltk.optimization import History

    make = _their_trials(bench, "bucket")
    history = History()
    for number in range(count):
        trial = make(number)
        with trial.profile("trial"), trial.profile("fit"):
            pass
        history.add(trial.success(loss=1.0, cost=0.5))
    return history


def _our_block(experiment: ts.Experiment, name: str, blocks: int) -> float:
    """Microseconds a block."""
    trial = experiment.register_trial({}, reserve=True)
    block = trial.begin if name == "begin" else lambda: trial.profile("fit")
    return _block(block, blocks)


def _their_block(make: Callable[[int], Any], name: str, blocks: int) -> float:
    trial = make(0)
    return _block(lambda: trial.profile("trial" if name == "begin" else "fit"), blocks)


def _block(block: Callable[[], Any], blocks: int) -> float:
    started = time.process_time()
    for _ in range(blocks):
        with block():
            pass
    return (time.process_time() - started) / blocks * 1e6


def _rate(count: int, frame: Callable[[], Any]) -> float:
    started = time.perf_counter()
    made = frame()
    seconds = time.perf_counter() - started
    assert len(made) == count
    return count / seconds
