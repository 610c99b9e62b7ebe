"""A million finished trials read: into Polars, the five best in SQL, and counted by status in a fresh process."""

from __future__ import annotations

import time
from collections.abc import Callable

import trialstore as ts
from benchmarks.bench import Bench, run_fresh
from benchmarks.figure import Figure, Target, interleave
from benchmarks.large import EXPERIMENT, large

__all__ = ["cold", "five_best", "history"]

_BEST = "SELECT trial, params.rate0, metrics.loss FROM {} WHERE status = 'SUCCEEDED' ORDER BY metrics.loss LIMIT 5"

_OUR_COLD = f"""
import sys, time
started = time.perf_counter()
import json
from trialstore import open
imported = time.perf_counter()
with open(sys.argv[1], mode="r") as store:
    counts = store.experiment({EXPERIMENT!r}).counts
ended = time.perf_counter()
counts = {{status.value: count for status, count in counts.items()}}
print(json.dumps({{"work": ended - imported, "all": ended - started, "counts": counts}}))
"""

_PEER_COLD = """
import sys, time
started = time.perf_counter()
import json
import polars as pl
imported = time.perf_counter()
counts = pl.read_parquet(sys.argv[1]).group_by("status").len()
ended = time.perf_counter()
print(json.dumps({"work": ended - imported, "all": ended - started, "counts": dict(counts.iter_rows())}))
"""


def history(bench: Bench) -> list[Figure]:
    """All columns of all trials into Polars, on an open store; the peer reads the same rows from one file."""
    import polars as pl

    place = large(bench)
    with ts.open(place.store, mode="r") as store:
        experiment = store.experiment(EXPERIMENT)
        ours, peer = interleave(
            bench.sizes.rounds,
            lambda: _seconds(lambda: experiment.history().collect()),
            lambda: _seconds(lambda: pl.read_parquet(place.file)),
        )
        assert experiment.history().collect().height == bench.sizes.history
    name = f"history of {bench.sizes.history:,} trials into Polars"
    return [Figure(name, "s", ours, peer, "polars.read_parquet, one file", Target("ratio", "at most", 1.3))]


def five_best(bench: Bench) -> list[Figure]:
    """The five best by a metric in SQL, on an open store; the peer: DuckDB, connected already, on one file."""
    import duckdb

    place = large(bench)
    peer_query = _BEST.format(f"read_parquet('{place.file}')")
    with ts.open(place.store, mode="r") as store, duckdb.connect() as connection:
        our_answer, peer_answer = store.sql(_BEST.format("trials")).fetchall(), connection.sql(peer_query).fetchall()
        assert our_answer == peer_answer, "the two disagree on the five best"
        ours, peer = interleave(
            bench.sizes.rounds * 3,
            lambda: _seconds(lambda: store.sql(_BEST.format("trials")).pl()),
            lambda: _seconds(lambda: connection.sql(peer_query).pl()),
        )
    name = f"five best of {bench.sizes.history:,} trials in SQL"
    return [Figure(name, "s", ours, peer, "DuckDB, one file", Target("ratio", "at most", 1.5))]


def cold(bench: Bench) -> list[Figure]:
    """Open and count by status in a fresh process, without and with the imports; the peer reads it all."""
    place = large(bench)
    ours, peer = [], []
    for _ in range(bench.sizes.starts):
        ours.append(run_fresh(_OUR_COLD, place.store))
        peer.append(run_fresh(_PEER_COLD, place.file))
        assert ours[-1]["counts"] == peer[-1]["counts"], "the two count otherwise"
    name = f"cold open of {bench.sizes.history:,} trials, counted by status"
    peer_name = "polars.read_parquet of it all"
    return [
        Figure(
            f"{name}, {what}",
            "s",
            tuple(answer[part] for answer in ours),
            tuple(answer[part] for answer in peer),
            peer_name,
            Target("ratio", "at most", 1.0) if part == "work" else None,
        )
        for part, what in (("work", "after the imports"), ("all", "with the imports"))
    ]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - started
    del result
    return seconds
