"""Many workers on one experiment of a simulated bucket: trial life cycles a second, waits, requests and their price."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import trialstore as ts
from benchmarks.bench import Bench
from benchmarks.bucket import Requests, SimulatedBucket
from benchmarks.figure import Figure, Target
from trialstore.blobs.resolve import BlobsSpec
from trialstore.model.identity import new_ulid
from trialstore.session import Options, Session
from trialstore.store import Store

_PARAMS = {"a": 1, "b": 0.5, "c": "x", "d": 0.1, "e": 0.2}


@dataclass(frozen=True)
class Run:
    cycles: int
    cycles_a_second: float
    longest_wait_s: float
    requests: dict[str, int]
    requests_a_cycle: float
    dollars_a_million: float


def run(workers: int, cycles: int, warm_up: int = 2) -> Run:
    """Let each worker register and claim a trial in one call and finish it in another, `cycles` times."""
    name, requests = f"contention-{new_ulid()}", Requests()
    _store(name, requests).create_experiment("tune", metrics=[ts.Metric("loss"), ts.Metric("ops")])
    waits: list[float] = []
    numbers: list[int] = []
    start = threading.Barrier(workers + 1)
    reset = threading.Barrier(workers + 1)

    def work() -> None:
        experiment = _store(name, requests).experiment("tune")
        for index in range(warm_up + cycles):
            if index == warm_up:
                reset.wait()
                start.wait()
            began = time.perf_counter()
            trial = experiment.register_trial(_PARAMS, reserve=True)
            middle = time.perf_counter()
            trial.success(loss=0.1, ops=1.0)
            if index >= warm_up:
                waits.extend((middle - began, time.perf_counter() - middle))
                numbers.append(trial.number)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    reset.wait()
    requests.counts.clear()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    total = workers * cycles
    assert len(set(numbers)) == total, "a trial was claimed twice, or lost"
    return Run(
        total,
        total / took,
        max(waits),
        dict(requests.counts),
        sum(requests.counts.values()) / total,
        requests.price() / total * 1e6,
    )


def _store(name: str, requests: Requests) -> Store:
    place = BlobsSpec(f"memory://{name}")
    about = {"store": name, "created_at": "2026-01-01T00:00:00.000000Z"}
    return Store(Session(place, SimulatedBucket(name, requests), Options(maintenance=False)), about)


def contention(bench: Bench) -> list[Figure]:
    """Many workers on one experiment of a bucket with S3's latencies, and one worker alone."""
    many = run(bench.sizes.workers, bench.sizes.worker_cycles)
    alone = run(1, bench.sizes.worker_cycles)
    where = f"{bench.sizes.workers} workers, simulated S3"
    return [
        Figure(f"life cycles, {where}", "trials/s", (many.cycles_a_second,), (), "", Target("ours", "at least", 150)),
        Figure(f"longest wait, {where}", "s", (many.longest_wait_s,), (), "", Target("ours", "at most", 5)),
        Figure(
            "requests a life, one worker", "requests", (alone.requests_a_cycle,), (), "", Target("ours", "at most", 4)
        ),
        Figure("a million lives, one worker, at S3's prices", "USD", (alone.dollars_a_million,), (), ""),
        Figure(f"a million lives, {where}, at S3's prices", "USD", (many.dollars_a_million,), (), ""),
        *[
            Figure(f"{kind} requests a life, {where}", "requests", (count / many.cycles,), (), "")
            for kind, count in sorted(many.requests.items())
        ],
    ]
