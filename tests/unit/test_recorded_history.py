"""The recorded history in data/ is a store that can be looked at, and its files can be read without trialstore."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest

import trialstore as ts

HISTORY = Path(__file__).resolve().parents[2] / "data" / "history"


@pytest.fixture
def experiment() -> ts.Experiment:
    return ts.open(HISTORY, mode="r").experiment("parquet-writer-settings")


def test_it_is_whole(experiment: ts.Experiment) -> None:
    assert experiment.verify().ok
    assert experiment.counts[ts.Status.SUCCEEDED] == 48


def test_one_trial_was_taken_over_from_a_killed_worker(experiment: ts.Experiment) -> None:
    (recovered,) = [trial for trial in experiment.trials() if trial.attempt > 1]
    assert recovered.status is ts.Status.SUCCEEDED
    assert [ended["reason"] for ended in recovered.attempts] == ["lease expired"]


def test_the_raw_files_give_the_best_trial_and_every_row_once(experiment: ts.Experiment) -> None:
    best = experiment.best("bytes")
    assert best is not None
    files = f"read_parquet('{HISTORY}/trials/*/*.parquet', hive_partitioning = true)"
    query = f"SELECT trial, metrics.bytes FROM {files} WHERE status = 'SUCCEEDED' ORDER BY metrics.bytes LIMIT 1"
    assert duckdb.sql(query).fetchall()[0] == (best.number, best.metrics["bytes"])
    assert duckdb.sql(f"SELECT count(*), count(DISTINCT trial) FROM {files}").fetchall() == [(48, 48)]


def test_telemetry_of_every_trial_is_there(experiment: ts.Experiment) -> None:
    names = experiment.telemetry().group_by("trial").agg(pl.col("name").unique().sort()).collect()
    assert names.height == 48
    assert set(map(tuple, names["name"].to_list())) == {("cpu_percent", "rss_bytes")}
