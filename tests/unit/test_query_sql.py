from __future__ import annotations

import builtins
import gc
import math
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.snapshots import AT, experiment, record, sample
from tests.unit.test_tables_trials import DICTS
from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.memory import MemoryBlobs
from trialstore.blobs.protocol import Blobs
from trialstore.model.codec import encode
from trialstore.model.errors import MissingExtraError, QueryError, UsageError
from trialstore.model.identity import new_ulid
from trialstore.query.snapshot import Snapshot
from trialstore.tables.values import value_of


@pytest.fixture(params=["local", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return LocalBlobs(str(tmp_path / "odd [1]* folder")) if request.param == "local" else MemoryBlobs(new_ulid())


def test_struct_fields_of_all_parts_and_live_rows_are_one(blobs: Blobs) -> None:
    exp = experiment(
        blobs,
        trials=[
            [record(0, {"lr": 1, "policy": "lru"}, metrics={"loss": 0.5})],
            [record(1, {"lr": 0.5, "hz": 3}), record(2, {"policy": 7})],
            [record(3)],
        ],
        live_trials=[record(4, {"LR": 0.25, "new": True})],
    )
    rows = Snapshot(blobs, [exp]).sql(
        "SELECT trial, params.lr, params.policy, params.hz, params.new, metrics.loss, summary FROM trials ORDER BY ALL"
    )
    assert rows.fetchall() == [
        (0, 1.0, "lru", None, None, 0.5, None),
        (1, 0.5, None, 3, None, None, None),
        (2, None, "7", None, None, None, None),
        (3, None, None, None, None, None, None),
        (4, 0.25, None, None, True, None, None),
    ]


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "among others"])
def test_rows_that_no_longer_count_are_not_shown(blobs: Blobs, others: int) -> None:
    exp = experiment(
        blobs,
        "a b/c'",
        trials=[[record(n, {"x": n}) for n in range(6)], [record(9, {"x": 9})]],
        live_trials=[record(2, {"x": 22}), record(5, {"x": 55})],
        superseded={0: {2, 3, 5}},
        rows={"artifacts": [[(0, 1, n, f"artifacts/{n}", 1, "", AT, None, n) for n in ("a", "b'")]]},
        live_rows={
            "artifacts": [
                (1, 1, "c", "artifacts/c", 1, "", AT, None, "c"),
                (1, 1, "d", "artifacts/d", 1, "", AT, None, "d"),
            ]
        },
        removed_artifacts=["b'", "c"],
    )
    more = [experiment(blobs, f"other {i}", trials=[[record(2, {"x": 0})]]) for i in range(others)]
    snapshot = Snapshot(blobs, [exp, *more])
    rows = snapshot.sql("SELECT trial, params.x FROM trials WHERE experiment = 'a b/c''' ORDER BY ALL").fetchall()
    assert rows == [(0, 0), (1, 1), (2, 22), (4, 4), (5, 55), (9, 9)]
    shown = snapshot.sql("SELECT name FROM artifacts WHERE version = 1 ORDER BY ALL").fetchall()
    assert shown == [("a",), ("d",)]
    long = snapshot.sql("SELECT trial, value FROM params WHERE experiment = 'a b/c''' ORDER BY ALL").fetchall()
    assert long == [(n, float(x)) for n, x in rows]


def test_of_samples_in_two_places_the_first_announced_is_shown(blobs: Blobs) -> None:
    exp = experiment(
        blobs,
        rows={
            "telemetry": [
                [sample(0, 1, "cpu", 1), sample(0, 2, "cpu", 2)],
                [sample(0, 2, "cpu", 22), sample(0, 3, "cpu", 3)],
                [sample(1, 2, "cpu", 4)],
            ]
        },
        live_rows={"telemetry": [sample(0, 3, "cpu", 33), sample(0, 9, "cpu", 9), sample(0, 9, "cpu", 99)]},
    )
    snapshot = Snapshot(blobs, [exp, experiment(blobs, "other", rows={"telemetry": [[sample(0, 2, "cpu", 7)]]})])
    rows = snapshot.sql("SELECT trial, value FROM telemetry WHERE experiment = 'exp' ORDER BY trial, \"at\"").fetchall()
    assert rows == [(0, 1.0), (0, 2.0), (0, 3.0), (0, 9.0), (1, 4.0)]
    assert snapshot.sql("SELECT value FROM telemetry WHERE experiment = 'other'").fetchall() == [(7.0,)]


def test_names_and_versions_tell_experiments_apart(blobs: Blobs) -> None:
    exps = [experiment(blobs, "e%20", version=1, trials=[[record(0)]]), experiment(blobs, "e ", trials=[[record(1)]])]
    exps.append(experiment(blobs, "e ", version=2, live_trials=[record(2)]))
    rows = Snapshot(blobs, exps).sql("SELECT experiment, version, trial FROM trials ORDER BY trial").fetchall()
    assert rows == [("e%20", 1, 0), ("e ", 1, 1), ("e ", 2, 2)]
    counts = (
        Snapshot(blobs, exps).sql("SELECT name, version, succeeded, trials, created_at FROM experiments").fetchall()
    )
    assert counts[0] == ("e%20", 1, 1, 1, datetime(2026, 11, 21, 1, 2, 3, 123456, UTC))


@pytest.mark.parametrize(
    "view", ["trials", "params", "profiles", "repeats", "metrics", "telemetry", "status", "artifacts", "experiments"]
)
def test_every_table_is_there_without_any_rows(blobs: Blobs, view: str) -> None:
    for exps in ([], [experiment(blobs, "a")], [experiment(blobs, "a"), experiment(blobs, "b")]):
        result = Snapshot(blobs, exps).sql(f"SELECT * FROM {view}")
        assert result.columns[:2] == ["experiment", "version"]
        assert len(result.fetchall()) == (len(exps) if view == "experiments" else 0)


@given(st.lists(st.lists(DICTS, max_size=3), min_size=1, max_size=3), st.lists(DICTS, max_size=2))
@settings(max_examples=60, deadline=None)
def test_the_long_table_has_every_parameter_exactly(
    parts: list[list[dict[str, Any]]], live: list[dict[str, Any]]
) -> None:
    blobs = MemoryBlobs(new_ulid())
    numbers = iter(range(99))
    records = [[record(next(numbers), params) for params in part] for part in parts]
    live_records = [record(next(numbers), params) for params in live]
    snapshot = Snapshot(blobs, [experiment(blobs, trials=[part for part in records if part], live_trials=live_records)])
    found: dict[int, dict[str, Any]] = {}
    for trial, name, value, text, type_ in snapshot.sql("SELECT trial, name, value, text, type FROM params"):
        assert name not in found.setdefault(trial, {})
        found[trial][name] = value_of(type_, value, text)
    snapshot.close()
    for r in [*(r for part in records for r in part), *live_records]:
        assert {n: encode(v) for n, v in found.get(r.number, {}).items()} == {n: encode(v) for n, v in r.params.items()}


def test_nan_is_above_infinity_and_null_is_last() -> None:
    blobs = MemoryBlobs(new_ulid())
    values = [math.nan, 1.0, math.inf, None, -math.inf]
    exp = experiment(blobs, trials=[[record(n, metrics={} if v is None else {"m": v}) for n, v in enumerate(values)]])
    snapshot = Snapshot(blobs, [exp])
    ordered = snapshot.sql("SELECT trial FROM trials ORDER BY metrics.m").fetchall()
    framed = snapshot.frame("trials").sort(pl.col("metrics").struct.field("m"), nulls_last=True)
    assert [n for (n,) in ordered] == framed.collect()["trial"].to_list() == [4, 1, 2, 0, 3]
    above = snapshot.sql("SELECT trial FROM trials WHERE metrics.m > 1 ORDER BY ALL").fetchall()
    same = snapshot.frame("trials").filter(pl.col("metrics").struct.field("m") > 1).collect()["trial"].to_list()
    assert [n for (n,) in above] == same == [0, 2]


def test_another_snapshot_can_be_joined(blobs: Blobs, tmp_path: Path) -> None:
    mine = Snapshot(blobs, [experiment(blobs, trials=[[record(n, {"x": n}) for n in range(3)]])])
    there = LocalBlobs(str(tmp_path / "there"))
    other = Snapshot(there, [experiment(there, trials=[[record(1, {"x": 10})]], live_trials=[record(2, {"x": 20})])])
    mine.attach(other, "we ird")
    query = 'SELECT trial, t.params.x, o.params.x FROM trials t JOIN "we ird".trials o USING (trial) ORDER BY ALL'
    assert mine.sql(query).fetchall() == [(1, 1, 10), (2, 2, 20)]
    mine.attach(other, "we ird")
    mine.attach(Snapshot(there, []), "we ird")
    assert mine.sql(query).fetchall() == []


@pytest.mark.parametrize("name", ["", "main", "TEMP", "trials", "a\0b"])
def test_names_that_cannot_be_attached(name: str) -> None:
    blobs = MemoryBlobs(new_ulid())
    with pytest.raises(UsageError, match="cannot be attached"):
        Snapshot(blobs, []).attach(Snapshot(blobs, []), name)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT foo FROM trials", "foo"),
        ("SELECT * FROM nope", "nope"),
        ("SELEC 1", "syntax error"),
        ("SELECT error('boom')", "boom"),
        ("SELECT params.nope FROM trials", "nope"),
    ],
)
def test_an_error_has_duckdb_s_message_and_what_there_is(query: str, message: str) -> None:
    blobs = MemoryBlobs(new_ulid())
    with pytest.raises(QueryError, match=message) as caught:
        Snapshot(blobs, [experiment(blobs, trials=[[record(0, {"lr": 1})]])]).sql(query)
    assert "params: {lr}" in str(caught.value)
    assert "telemetry(experiment, version, trial, attempt, at" in str(caught.value)


@pytest.fixture
def snapshot() -> Iterator[Snapshot]:
    blobs = MemoryBlobs(new_ulid())
    snapshot = Snapshot(blobs, [experiment(blobs, trials=[[record(n, {"x": n}) for n in range(5)]])])
    yield snapshot
    snapshot.close()


def test_a_result_gives_all_rows_in_every_shape_and_order(snapshot: Snapshot) -> None:
    result = snapshot.sql("SELECT trial, params.x AS x FROM trials WHERE trial >= ? ORDER BY trial", [3])
    rows = [(3, 3), (4, 4)]
    assert result.columns == ["trial", "x"]
    assert result.fetchone() == rows[0]
    assert result.pl().rows() == rows
    assert list(result) == rows
    assert result.fetchall() == rows
    assert result.arrow().to_pylist() == [{"trial": 3, "x": 3}, {"trial": 4, "x": 4}]
    assert result.df()["x"].tolist() == [3, 4]
    assert result.fetchmany(9) == rows[1:]
    assert result.fetchone() is None
    assert "trial" in repr(result)


def test_parameters_by_name_and_wide_sums_are_plain_values(snapshot: Snapshot) -> None:
    (row,) = snapshot.sql("SELECT sum(trial), max(submitted_at) FROM trials WHERE trial < $limit", {"limit": 3})
    assert row == (3, datetime(2026, 11, 21, 1, 2, 3, 123456, UTC))
    assert type(row[0]) is int


def test_many_rows_are_fetched_as_they_are_read(snapshot: Snapshot) -> None:
    result = snapshot.sql("SELECT range FROM range(10_000_000_000)")
    assert [result.fetchone() for _ in range(3)] == [(0,), (1,), (2,)]


def test_a_statement_that_changes_something_runs_once(snapshot: Snapshot) -> None:
    snapshot.sql("CREATE TABLE mine AS SELECT 1 AS a")
    result = snapshot.sql("INSERT INTO mine VALUES (2) RETURNING a")
    assert list(result) == [(2,)]
    assert result.pl().rows() == [(2,)]
    assert snapshot.sql("SELECT count(*) FROM mine").fetchone() == (2,)


def test_without_pandas_the_extra_is_named(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"trialstore\[pandas\]"):
        snapshot.sql("SELECT 1").df()


def test_threads_query_one_snapshot(snapshot: Snapshot) -> None:
    found: list[Any] = []

    def query() -> None:
        found.append(snapshot.sql("SELECT count(*) FROM trials").fetchall())
        found.append(snapshot.sql("SELECT count(*) FROM params").fetchall())

    threads = [threading.Thread(target=query) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[(5,)]] * 16


def test_temporary_files_go_when_nobody_reads(snapshot: Snapshot) -> None:
    result = snapshot.sql("SELECT trial FROM trials ORDER BY trial")
    folder = snapshot._engines[False]._catalogs[""].workspace.folder
    snapshot._engines.clear()
    gc.collect()
    assert os.path.isdir(folder)
    assert result.fetchall()[0] == (0,)
    del result
    gc.collect()
    assert not os.path.exists(folder)


def test_tables_can_be_listed(snapshot: Snapshot) -> None:
    assert ("trials",) in snapshot.sql("SHOW TABLES").fetchall()
    assert snapshot.sql("DESCRIBE trials").fetchone() is not None
