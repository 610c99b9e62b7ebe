"""Eight processes on one experiment, beside one."""

from __future__ import annotations

import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import trialstore as ts
from benchmarks.bench import Bench
from benchmarks.figure import Figure, Target
from benchmarks.life_cycle import one_life

__all__ = ["crowd"]

_PROCESSES = 8
_START_S = 120

_gate: Barrier


@dataclass(frozen=True, slots=True)
class _Told:
    """What a process did in one turn: when, by the machine's clock, and which trials it finished."""

    started_s: float
    ended_s: float
    numbers: list[int]
    alone_s: float | None


def crowd(bench: Bench) -> list[Figure]:
    """The total rate of lives: as many trials by eight processes together as by one, none claimed twice, none lost.

    All stay open and take turns: the eight on one experiment, then one of them on another while the rest wait.
    """
    sizes = bench.sizes
    place, share = bench.place("store"), sizes.crowd // _PROCESSES
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(_PROCESSES, timeout=_START_S)
    with ts.open(place) as store:
        metrics = [ts.Metric("loss"), ts.Metric("cost")]
        experiments = [store.create_experiment(name, metrics=metrics) for name in ("crowd", "alone")]
        with ProcessPoolExecutor(_PROCESSES, context, _enter, (gate,)) as pool:
            tasks = [pool.submit(_work, place, seed, sizes.crowd_turns, share) for seed in range(_PROCESSES)]
            turns = list(zip(*(task.result() for task in tasks), strict=True))
        total = sizes.crowd_turns * _PROCESSES * share
        finished = [number for turn in turns for told in turn for number in told.numbers]
        assert len(finished) == len(set(finished)), "a trial was claimed twice"
        assert sorted(finished) == list(range(total)), "a trial was lost"
        for experiment in experiments:
            assert experiment.counts == {ts.Status.SUCCEEDED: total}, "the store counts otherwise"
    spans = [max(told.ended_s for told in turn) - min(told.started_s for told in turn) for turn in turns]
    alone = [sum(told.alone_s or 0 for told in turn) for turn in turns]
    ours, peer = ([_PROCESSES * share / seconds for seconds in side] for side in (spans, alone))
    name, target = "eight processes on one experiment", Target("ratio", "at least", 0.8)
    return [Figure(name, "trials/s", tuple(ours), tuple(peer), "one process of ours", target)]


def _enter(gate: Barrier) -> None:
    """Keep the gate: a barrier reaches a process only while it starts."""
    global _gate
    _gate = gate


def _work(place: Path, seed: int, turns: int, share: int) -> list[_Told]:
    """Take all turns, each once every process is there; the first one also takes those alone."""
    source = random.Random(seed)
    told = []
    with ts.open(place) as store:
        together, alone = store.experiment("crowd"), store.experiment("alone")
        for _ in range(turns):
            _gate.wait()
            started = time.monotonic()
            numbers = [one_life(together, source) for _ in range(share)]
            ended = time.monotonic()
            _gate.wait()
            alone_s = None
            if seed == 0:
                begun = time.monotonic()
                for _ in range(_PROCESSES * share):
                    one_life(alone, source)
                alone_s = time.monotonic() - begun
            told.append(_Told(started, ended, numbers, alone_s))
    return told
