"""The large experiment: a million finished trials in a store, and the same rows in one Parquet file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import trialstore as ts
from benchmarks.bench import Bench

if TYPE_CHECKING:
    import polars as pl

__all__ = ["EXPERIMENT", "Large", "large"]

EXPERIMENT = "large"
_POLICIES = ["lru", "lfu", "random", "ttl"]
_STATUSES = ["SUCCEEDED", "PRUNED", "FAILED"]


@dataclass(frozen=True, slots=True)
class Large:
    """Where the large experiment is.

    Attributes:
        store: The store, compacted.
        file: What `Experiment.history` gives of it, as Polars writes it to one file.
    """

    store: Path
    file: Path


def large(bench: Bench) -> Large:
    """The large experiment of the run's folder; it is made once, and found again by a later run in the same folder."""
    rows = bench.sizes.history
    place = Large(bench.folder / f"large-{rows}", bench.folder / f"large-{rows}.parquet")
    if place.file.exists():
        return place
    if place.store.exists():
        shutil.rmtree(place.store)  # left behind by a run that was stopped
    frame = _frame(rows)
    with ts.open(place.store) as store:
        metrics = [ts.Metric("loss"), ts.Metric("accuracy", minimize=False), ts.Metric("seconds")]
        experiment = store.create_experiment(EXPERIMENT, metrics=metrics)
        experiment.import_trials(frame)
        experiment.compact()
        history = experiment.history().collect().sort("trial")
    for column in ("params", "metrics", "status"):
        assert history[column].equals(frame[column], check_names=False), f"{column} are not what was imported"
    history.write_parquet(place.file)
    return place


def _frame(rows: int) -> pl.DataFrame:
    """Finished trials with 10 parameters and 3 metrics."""
    import polars as pl

    source = np.random.default_rng(6)
    params = pl.DataFrame(
        {
            **{f"rate{i}": 10.0 ** source.uniform(-5, 0, rows) for i in range(4)},
            **{f"units{i}": source.integers(1, 4097, rows) for i in range(4)},
            "policy": np.array(_POLICIES)[source.integers(0, len(_POLICIES), rows)],
            "cached": source.random(rows) < 0.5,
        }
    )
    metrics = pl.DataFrame(
        {"loss": source.random(rows), "accuracy": source.random(rows), "seconds": source.exponential(30, rows)}
    )
    begin = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    submitted = begin + np.arange(rows, dtype=np.int64) * 100_000
    started = submitted + source.integers(1_000, 50_000, rows)
    ended = started + (metrics["seconds"].to_numpy() * 1e6).astype(np.int64)
    times = {"submitted_at": submitted, "started_at": started, "ended_at": ended}
    return pl.DataFrame(
        {
            "params": params.to_struct(),
            "metrics": metrics.to_struct(),
            "status": np.array(_STATUSES)[source.choice(3, rows, p=[0.9, 0.06, 0.04])],
            **{name: pl.Series(at).cast(pl.Datetime("us", "UTC")) for name, at in times.items()},
            "seed": np.arange(rows, dtype=np.int64),
        }
    )
