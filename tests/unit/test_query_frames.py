from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.counting import CountingBlobs
from tests.support.snapshots import AT, experiment, record, sample
from tests.unit.test_tables_trials import DICTS, PLAIN_DICTS
from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.memory import MemoryBlobs
from trialstore.blobs.protocol import Blobs
from trialstore.model.errors import ExperimentNotFoundError, UsageError
from trialstore.model.identity import new_ulid
from trialstore.query.snapshot import Snapshot

TABLES = ("trials", "params", "profiles", "repeats", "metrics", "telemetry", "status", "artifacts", "experiments")


NAN = math.nan
FIT = ["fit", "cpu", 0.5, 2.5, "kilobytes", *map(float, range(6))]
REST = ["rest", None, NAN, NAN, None, *[NAN] * 6]
GONE = ["gone", "wall", 1.0, 2.0, "bytes", *map(float, range(6))]


@pytest.fixture(params=["local", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return LocalBlobs(str(tmp_path / "odd [1]* folder")) if request.param == "local" else MemoryBlobs(new_ulid())


def full(blobs: Blobs, name: str = "exp") -> Any:
    return experiment(
        blobs,
        name,
        trials=[
            [
                record(0, {"lr": 1, "policy": "lru", "none": None}, metrics={"loss": 0.5}),
                record(5, {"lr": 5}, profiles=[GONE]),
            ],
            [record(1, {"lr": 0.5, "hz": 3}), record(2, {"policy": 7, "on": True})],
            [record(3), record(4, {"on": 2, "none": "x"}, summary={}, profiles=[FIT, REST])],
        ],
        live_trials=[record(6, {"LR": 0.25, "new": [1]}, fidelity={"s": 3}, profiles=[FIT]), record(5, {"lr": 55})],
        superseded={0: {5}},
        rows={
            "telemetry": [
                [sample(0, 1, "cpu", 1), sample(0, 2, "cpu", "a")],
                [sample(0, 2, "cpu", 9), sample(7, 1, "x", True)],
            ],
            "metrics": [[(0, 1, "loss", None, AT, 0.5)], [(1, 1, "loss", 3, AT, 2)]],
            "artifacts": [[(0, 1, n, f"artifacts/{n}", 1, "", AT, None, n) for n in "ab"]],
        },
        live_rows={
            "telemetry": [sample(0, 1, "cpu", 3), sample(0, 9, "cpu", None)],
            "status": [(0, 1, "RUNNING", AT, "w", None)],
        },
        removed_artifacts=["a"],
    )


def same(snapshot: Snapshot, table: str) -> None:
    frame = snapshot.frame(table).collect()
    rows = snapshot.sql(f"SELECT * FROM {table}").pl()
    assert frame.columns == rows.columns
    assert sorted(map(repr, frame.rows())) == sorted(map(repr, rows.rows()))


@pytest.mark.parametrize("table", TABLES)
def test_frames_show_what_sql_shows(blobs: Blobs, table: str) -> None:
    one, two = full(blobs), full(blobs, "other")
    for exps in ([], [experiment(blobs, "empty")], [one], [one, two, experiment(blobs, "empty")]):
        same(Snapshot(blobs, exps), table)


@given(
    st.lists(st.lists(DICTS | PLAIN_DICTS, min_size=1, max_size=3), min_size=1, max_size=3), st.lists(DICTS, max_size=2)
)
@settings(max_examples=60, deadline=None)
def test_frames_show_what_sql_shows_whatever_the_parameters(parts: list[list[Any]], live: list[Any]) -> None:
    blobs = MemoryBlobs(new_ulid())
    numbers = iter(range(99))
    records = [[record(next(numbers), params) for params in part] for part in parts]
    exp = experiment(blobs, trials=records, live_trials=[record(next(numbers), params) for params in live])
    snapshot = Snapshot(blobs, [exp])
    frame = snapshot.frame("trials").select("trial", "params").sort("trial").collect()
    rows = snapshot.sql("SELECT trial, params FROM trials ORDER BY trial").pl()
    snapshot.close()
    text = [name for name, kind in snapshot.structs["params"].items() if kind == "string"]
    for frame_row, row in zip(frame.to_dicts(), rows.to_dicts(), strict=True):
        if text and row["params"] is not None:
            for name in text:  # how a float is spelled differs between the engines until a compaction spells it
                assert (frame_row["params"].pop(name) is None) == (row["params"].pop(name) is None)
        assert repr(frame_row) == repr(row)


def test_one_experiment_is_chosen_by_name(blobs: Blobs) -> None:
    snapshot = Snapshot(blobs, [full(blobs), full(blobs, "other")])
    for table in TABLES:
        assert set(snapshot.frame(table, experiment="other").collect()["experiment"]) == {"other"}
    with pytest.raises(ExperimentNotFoundError, match="did you mean 'other'"):
        snapshot.frame("trials", experiment="othr")
    with pytest.raises(UsageError, match="did you mean 'trials'"):
        snapshot.frame("trial")


@pytest.mark.parametrize("table", ["trials", "telemetry", "metrics"])
def test_frames_over_files_can_be_pickled(tmp_path: Path, table: str) -> None:
    blobs = LocalBlobs(str(tmp_path))
    frame = Snapshot(blobs, [full(blobs)]).frame(table)
    again = pickle.loads(pickle.dumps(frame))
    assert sorted(map(repr, again.collect().rows())) == sorted(map(repr, frame.collect().rows()))


def test_snapshots_can_be_pickled(blobs: Blobs) -> None:
    snapshot = Snapshot(blobs, [full(blobs)])
    snapshot.sql("SELECT 1")
    again = pickle.loads(pickle.dumps(snapshot))
    assert again.sql("SELECT count(*) FROM trials").fetchall() == [(7,)]


@pytest.mark.parametrize("table", ["trials", "params"])
def test_slices_and_predicates_mean_what_they_say(blobs: Blobs, table: str) -> None:
    frame = Snapshot(blobs, [full(blobs)]).frame(table)
    rows = frame.collect()
    assert frame.head(3).collect().height == 3
    assert (
        frame.filter(pl.col("trial") == 2).select("experiment").collect().height
        == rows.filter(pl.col("trial") == 2).height
    )
    assert frame.filter(pl.col("trial") >= 2).head(2).collect().height == 2
    assert frame.head(4).filter(pl.col("trial") >= 0).collect().height == 4


def test_a_trial_s_rows_come_from_the_files_that_have_them(tmp_path: Path) -> None:
    blobs = LocalBlobs(str(tmp_path))
    exp = experiment(
        blobs,
        trials=[[record(n, {"x": n}) for n in range(k, k + 10)] for k in range(0, 50, 10)],
        rows={"telemetry": [[sample(n, 1, "cpu", n)] for n in range(5)]},
    )
    for part in exp.parts:
        if 3 not in [n for first, last in part.trials for n in range(first, last + 1)]:
            blobs.delete([part.blob_key(exp.key)])
    snapshot = Snapshot(blobs, [exp])
    assert snapshot.frame("trials", trial=3).collect()["params"].to_list() == [{"x": 3}]
    assert snapshot.frame("telemetry", trial=3).collect()["value"].to_list() == [3.0]


def test_no_file_is_touched_before_collect() -> None:
    blobs = CountingBlobs(MemoryBlobs(new_ulid()))
    exp = full(blobs)
    blobs.reset()
    snapshot = Snapshot(blobs, [exp])
    frame = snapshot.frame("trials").filter(pl.col("trial") == 1).select("params")
    assert frame.collect_schema().names() == ["params"]
    assert not blobs.calls
    frame.collect()
    assert blobs.calls["read"] == 3


def test_columns_and_predicates_reach_the_scan(tmp_path: Path) -> None:
    blobs = LocalBlobs(str(tmp_path))
    exp = experiment(blobs, trials=[[record(n, {"x": n}) for n in range(k, k + 10)] for k in range(0, 50, 10)])
    plan = Snapshot(blobs, [exp]).frame("trials").filter(pl.col("trial") == 7).select("trial", "params").explain()
    assert "Parquet SCAN" in plan
    assert (
        'SELECTION: [col("trial") == 7]' in plan.replace("(", "").replace(")", "").replace('col"', 'col("')
        or "SELECTION" in plan
    )
    assert "PROJECT 2/" in plan
    assert "FILTER" not in plan


def test_profiles_that_no_longer_count_are_not_shown(blobs: Blobs) -> None:
    rows = Snapshot(blobs, [full(blobs)]).frame("profiles").sort("trial", "name").collect()
    assert rows.select("trial", "name").rows() == [(4, "fit"), (4, "rest"), (6, "fit")]
    assert rows["duration_s"].is_nan().to_list() == [False, True, False]
