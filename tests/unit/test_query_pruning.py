from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tests.support.snapshots import experiment, record
from trialstore.blobs.local import LocalBlobs
from trialstore.model.errors import QueryError
from trialstore.query.overlap import Extent, overlapping
from trialstore.query.snapshot import ExperimentSnapshot, Snapshot
from trialstore.tables.encoding import ROW_GROUP_ROWS
from trialstore.tables.parts import write_part
from trialstore.tables.telemetry import telemetry_from_arrow

GROUPS = 3


def plan(snapshot: Snapshot, query: str) -> dict[str, Any]:
    text = snapshot.sql(f"EXPLAIN ANALYZE {query}").fetchall()[0][1]
    files = re.search(r"Total Files Read: (\d+)", text)
    groups = re.search(r"Row Groups Scanned: (\d+) / (\d+)", text)
    return {
        "files": int(files[1]) if files else None,
        "groups": (int(groups[1]), int(groups[2])) if groups else None,
        "text": text,
    }


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(str(tmp_path))


@pytest.fixture
def long(blobs: LocalBlobs) -> Snapshot:
    """Telemetry of three trials, a row group each, in one part."""
    rows = ROW_GROUP_ROWS
    at = pa.array(range(rows), pa.int64()).cast(pa.timestamp("us", "UTC"))
    frame = pa.table({"at": at, "name": pa.repeat("cpu", rows), "value": pa.array(range(rows), pa.int32())})
    table = pa.concat_tables([telemetry_from_arrow(trial, 1, frame) for trial in range(GROUPS)])
    part = write_part(blobs, "exp", "telemetry", table, 1)
    return Snapshot(blobs, [ExperimentSnapshot(1, "exp", 1, "exp", {}, 1, (part,))])


def test_sql_of_one_trial_scans_its_row_groups(long: Snapshot) -> None:
    found = plan(long, "SELECT sum(value) FROM telemetry WHERE trial = 1")
    assert found["groups"] == (1, GROUPS + 1)  # and the one, without rows, of the file with the schema


def test_sql_of_a_stretch_of_time_scans_its_row_groups(blobs: LocalBlobs) -> None:
    rows = GROUPS * ROW_GROUP_ROWS
    at = pa.array(range(rows), pa.int64()).cast(pa.timestamp("us", "UTC"))
    frame = pa.table({"at": at, "name": pa.repeat("cpu", rows), "value": pa.array(range(rows), pa.int32())})
    part = write_part(blobs, "exp", "telemetry", telemetry_from_arrow(0, 1, frame), 1)
    snapshot = Snapshot(blobs, [ExperimentSnapshot(1, "exp", 1, "exp", {}, 1, (part,))])
    found = plan(snapshot, "SELECT count(value) FROM telemetry WHERE \"at\" < TIMESTAMPTZ '1970-01-01 00:00:00.01+00'")
    assert found["groups"] == (1, GROUPS + 1)  # and the one, without rows, of the file with the schema


def test_sql_of_one_experiment_reads_its_files(blobs: LocalBlobs) -> None:
    exps = [
        experiment(blobs, name, trials=[[record(n, {"x": n})] for n in range(3)], live_trials=[record(9)])
        for name in ("a b", "c'%20")
    ]
    snapshot = Snapshot(blobs, exps)
    assert plan(snapshot, "SELECT max(params.x) FROM trials WHERE experiment = 'a b'")["files"] == 4
    assert plan(snapshot, "SELECT max(params.x) FROM trials WHERE experiment = 'c''%20' AND version = 1")["files"] == 4
    assert snapshot.sql("SELECT count(*) FROM trials WHERE experiment = 'nobody'").fetchall() == [(0,)]


@pytest.mark.parametrize("superseded", [{}, {0: {1}}], ids=["plain", "with rows that no longer count"])
def test_sql_reads_only_the_struct_fields_it_names(blobs: LocalBlobs, superseded: dict[int, set[int]]) -> None:
    records = [record(n, {"x": n * 0.5, "y": n}, metrics={"loss": 0.1}) for n in range(10)]
    snapshot = Snapshot(blobs, [experiment(blobs, trials=[records], superseded=superseded)])
    text = plan(snapshot, "SELECT max(params.x) FROM trials")["text"]
    assert "params.x" in text
    assert "metrics" not in text


@pytest.mark.parametrize(
    ("extents", "found"),
    [
        ([], set()),
        ([((0, 0), "a", "b")], set()),
        ([((0, 0), "a", "b"), ((0, 0), "c", "d")], set()),
        ([((0, 0), "a", "c"), ((0, 0), "c", "d")], {0, 1}),
        ([((0, 0), "a", "c"), ((1, 1), "b", "d")], set()),
        ([((0, 5), "a", "z"), ((5, 9), "b", "c"), ((3, 3), "d", "e"), ((6, 6), "f", "g")], {0, 1, 2}),
        ([((2, 2), "a", "b"), ((0, 9), "a", "a"), ((7, 7), "x", "y"), ((7, 8), "y", "y")], {0, 1, 2, 3}),
    ],
)
def test_sources_that_may_share_samples(extents: list[Any], found: set[int]) -> None:
    assert overlapping([Extent((trials,), first, last) for trials, first, last in extents]) == found


def test_ranges_with_gaps_do_not_meet() -> None:
    one = Extent(((0, 1), (5, 6), (9, 9)), "a", "z")
    assert overlapping([one, Extent(((2, 4), (7, 8)), "a", "z")]) == set()
    assert overlapping([one, Extent(((2, 4), (9, 12)), "a", "z")]) == {0, 1}


def test_a_query_is_planned_without_a_look_at_the_parts(blobs: LocalBlobs) -> None:
    exp = experiment(blobs, trials=[[record(n, {"x": n})] for n in range(3)])
    for part in exp.parts:
        blobs.write(part.blob_key(exp.key), b"no Parquet")
    snapshot = Snapshot(blobs, [exp])
    assert snapshot.sql("EXPLAIN SELECT max(params.x) FROM trials WHERE trial > 1").fetchall()
    assert snapshot.frame("trials").filter(pl.col("trial") > 1).select("params").collect_schema()[
        "params"
    ] == pl.Struct({"x": pl.Int64})
    with pytest.raises(QueryError):
        snapshot.sql("SELECT max(params.x) FROM trials WHERE trial > 1")
