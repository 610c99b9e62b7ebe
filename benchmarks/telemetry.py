"""Telemetry into the store: points a second and bytes a point, with pyarrow's own write as the limit."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import trialstore as ts
from benchmarks.bench import Bench
from benchmarks.figure import Figure, Target, interleave

__all__ = ["telemetry"]

_START = datetime(2026, 1, 1, tzinfo=UTC)
_SERIES = 8
_PEER = "pyarrow alone"


def telemetry(bench: Bench) -> list[Figure]:
    """Series in order, series as they come off a machine, tuples, and what a counter costs on disk."""
    rounds = bench.sizes.rounds
    ordered, mixed = _series(bench.sizes.points, mixed=False), _series(bench.sizes.points, mixed=True)
    tuples = _tuples(bench.sizes.tuples)
    arrow_target, tuple_target = Target("ours", "at least", 3e6), Target("ours", "at least", 3e5)
    rates = [
        ("telemetry from Arrow columns, series by series", ordered, arrow_target),
        ("telemetry from Arrow columns, series interleaved", mixed, None),
        ("telemetry from tuples", tuples, tuple_target),
    ]
    figures = []
    for name, samples, target in rates:
        ours, peer = interleave(rounds, partial(_our_rate, bench, samples), partial(_peer_rate, bench, samples))
        figures.append(Figure(name, "points/s", ours, peer, _PEER, target))
    counter = _counter(bench.sizes.points)
    figures.append(
        Figure(
            "a counter sampled each millisecond, on disk",
            "bytes/point",
            (_our_bytes(bench, counter),),
            (_peer_bytes(bench, counter),),
            _PEER,
            Target("ours", "at most", 2.0),
        )
    )
    return figures


def _times(count: int) -> Any:
    first = int(_START.timestamp()) * 1_000_000
    return first + np.arange(count, dtype=np.int64) * 1_000


def _table(times: Any, names: Any, values: Any) -> pa.Table:
    columns = [pa.array(times).cast(pa.timestamp("us", "UTC")), names, pa.array(values)]
    return pa.table(columns, names=["at", "name", "value"])


def _series(points: int, *, mixed: bool) -> pa.Table:
    """Eight series of a load in percent with two decimals, sampled each millisecond."""
    each = points // _SERIES
    walk = np.random.default_rng(3).normal(0, 0.5, (_SERIES, each)).cumsum(axis=1)
    values = np.round(50 + 50 * np.sin(walk / 50), 2)
    names = np.repeat(np.arange(_SERIES, dtype=np.int32), each).reshape(_SERIES, each)
    times = np.tile(_times(each), (_SERIES, 1))
    if mixed:
        values, names, times = values.T, names.T, times.T
    labels = pa.DictionaryArray.from_arrays(pa.array(names.ravel()), [f"load.core{i}" for i in range(_SERIES)])
    return _table(times.ravel(), labels.cast(pa.string()), values.ravel())


def _counter(points: int) -> pa.Table:
    """A counter of events, 0 to 9 a millisecond."""
    values = np.random.default_rng(4).integers(0, 10, points).cumsum()
    return _table(_times(points), pa.repeat("events", points), values)


def _tuples(points: int) -> list[tuple[datetime, str, float]]:
    values = np.round(np.random.default_rng(5).random(points), 4).tolist()
    step = timedelta(milliseconds=1)
    return [(_START + i * step, "load", value) for i, value in enumerate(values)]


def _our_rate(bench: Bench, samples: Any) -> float:
    with ts.open(bench.place("store")) as store:
        seconds, _ = _log(store, samples)
    return len(samples) / seconds


def _log(store: ts.Store, samples: Any) -> tuple[float, int]:
    """Log to a running trial and wait until all is durable; returns the seconds, and the bytes of telemetry parts."""
    experiment = store.create_experiment("telemetry")
    experiment.register_trial({})
    trial = experiment.reserve_trial()
    assert trial is not None
    few = samples[:300] if isinstance(samples, list) else samples.slice(0, 300)
    trial.update_telemetry(trial.status, _START, few)
    store.flush()
    started = time.perf_counter()
    trial.update_telemetry(trial.status, _START, samples)
    store.flush()
    seconds = time.perf_counter() - started
    with experiment._ledger.journal.view() as state:
        parts = [part for part in state.manifest.parts.values() if part.table == "telemetry"]
    assert sum(part.rows for part in parts if part.rows > 300) == len(samples)
    return seconds, sum(part.size_bytes for part in parts if part.rows > 300)


def _peer_rate(bench: Bench, samples: Any) -> float:
    started = time.perf_counter()
    if isinstance(samples, list):
        times, names, values = zip(*samples, strict=True)
        columns = [pa.array(times, pa.timestamp("us", "UTC")), pa.array(names), pa.array(values)]
        samples = pa.table(columns, names=["at", "name", "value"])
    _write(bench, samples)
    return len(samples) / (time.perf_counter() - started)


def _write(bench: Bench, table: pa.Table) -> int:
    """One Parquet file with the encodings that suit, on the disk when it returns; its size in bytes."""
    numbers = "DELTA_BINARY_PACKED" if pa.types.is_integer(table["value"].type) else "BYTE_STREAM_SPLIT"
    with open(bench.place("pyarrow.parquet"), "wb") as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            use_dictionary=["name"],
            column_encoding={"at": "DELTA_BINARY_PACKED", "value": numbers},
        )
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _our_bytes(bench: Bench, counter: pa.Table) -> float:
    with ts.open(bench.place("store")) as store:
        return _log(store, counter)[1] / len(counter)


def _peer_bytes(bench: Bench, counter: pa.Table) -> float:
    return _write(bench, counter) / len(counter)
