from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import trialstore as ts
from trialstore.maintenance import compact as compact_module

START = datetime(2026, 1, 1, tzinfo=UTC)


def log(trial: ts.Trial, value: float, rows: int) -> None:
    times = [START + timedelta(milliseconds=index) for index in range(rows)]
    table = pa.table({"at": pa.array(times, pa.timestamp("us", "UTC")), "name": ["x"] * rows, "value": [value] * rows})
    trial.update_telemetry(trial.status, START, table)
    trial._held.ledger.commit_buffered()


@pytest.mark.parametrize("large", [0, 1, 2])
def test_the_first_of_equal_samples_counts_whatever_is_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """Three parts with the same samples, one of them too large to be worth merging."""
    monkeypatch.setitem(compact_module.PART_ROWS, "telemetry", 1000)
    with ts.open(tmp_path / "store") as store:
        experiment = store.create_experiment("e")
        trial = experiment.register_trial({}, reserve=True)
        for index in range(3):
            log(trial, float(index), 600 if index == large else 300)
        expected = experiment.telemetry().sort("at").collect()
        assert expected.filter(pl.col("at") < START + timedelta(milliseconds=300))["value"].unique().to_list() == [0.0]
        experiment.compact()
        assert experiment.telemetry().sort("at").collect().equals(expected)


def test_each_version_of_an_experiment_is_told_of(tmp_path: Path) -> None:
    with ts.open(tmp_path) as store:
        for version, trials in ((1, 2), (2, 3)):
            experiment = store.create_experiment("tune", version=version)
            experiment.import_trials([{"params": {"x": x}} for x in range(trials)])
            experiment.register_trial({}, reserve=True).success()
        done = store.compact()
    assert list(done) == [("tune", 1), ("tune", 2)]
    assert all(compaction.flushed_trials == 1 for compaction in done.values())
