"""What a query may not do: read or write another file, load code, change settings, see credentials."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import trialstore as ts
from tests.support.small import files, small_store
from trialstore.model.errors import QueryError, ReadOnlyError
from trialstore.model.identity import new_ulid

SECRET = "keep this"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("it's [1]*")
    (folder / "secret.csv").write_text(f"a\n{SECRET}\n")
    pl.DataFrame({"a": [SECRET]}).write_parquet(folder / "secret.parquet")
    with duckdb.connect(str(folder / "secret.duckdb")) as database:
        database.execute("CREATE TABLE t AS SELECT 1 AS a")
    with small_store(folder / "store") as store:
        store.experiment("tune").compact(grace=timedelta(0))  # so that the only part is one that queries read
    return folder


@pytest.fixture(scope="module", params=["r", "rw"])
def store(request: pytest.FixtureRequest, root: Path) -> Iterator[ts.Store]:
    with ts.open(root / "store", mode=request.param) as store:
        yield store


def state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in files(folder)}


READS = [
    "SELECT * FROM read_csv('{root}/secret.csv')",
    "SELECT * FROM '{root}/secret.csv'",
    "SELECT * FROM '{root}/secret.parquet'",
    "SELECT content FROM read_text('{root}/secret.csv')",
    "SELECT content FROM read_blob('{root}/secret.csv')",
    "SELECT content FROM read_text('file://{root}/secret.csv')",
    "SELECT content FROM read_text('{root}/store/trials/../../secret.csv')",
    "SELECT content FROM read_text('{root}/store/trialstore.json')",
    "SELECT * FROM read_parquet('{root}/secret.parquet')",
    "SELECT * FROM parquet_metadata('{root}/secret.parquet')",
    "SELECT * FROM parquet_schema('{root}/secret.parquet')",
    "SELECT * FROM read_json('{root}/secret.csv')",
    "SELECT * FROM sniff_csv('{root}/secret.csv')",
    "SELECT * FROM glob('{root}/*')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT content FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('http://127.0.0.1:9/x')",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "SELECT * FROM query('SELECT content FROM read_text(''{root}/secret.csv'')')",
    "CREATE VIEW v AS SELECT * FROM read_csv('{root}/secret.csv')",
    "CREATE MACRO m() AS TABLE SELECT * FROM read_csv('{root}/secret.csv'); SELECT * FROM m()",
    "EXPLAIN ANALYZE SELECT * FROM read_csv('{root}/secret.csv')",
    "PREPARE p AS SELECT content FROM read_text('{root}/secret.csv')",
    "ATTACH '{root}/secret.duckdb' AS d",
    "ATTACH '{root}/secret.duckdb' AS d (READ_ONLY)",
    "IMPORT DATABASE '{root}'",
    "CREATE TABLE t (a VARCHAR); COPY t FROM '{root}/secret.csv'",
]
WRITES = [
    "COPY (SELECT 1) TO '{root}/new.csv'",
    "COPY trials TO '{root}/new.parquet' (FORMAT parquet)",
    "COPY (SELECT 1) TO '{part}' (FORMAT csv, USE_TMP_FILE false)",
    "WITH x AS (COPY (SELECT 1) TO '{part}' (FORMAT csv, USE_TMP_FILE false)) SELECT * FROM x",
    "WITH x AS MATERIALIZED (/* */ cOpY (SELECT 1) TO '{part}' (FORMAT csv, USE_TMP_FILE false)) SELECT * FROM x",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{part}' (FORMAT csv, USE_TMP_FILE false)",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{part}' (FORMAT csv, USE_TMP_FILE false)",
    "EXPLAIN /* */ ANALYZE COPY (SELECT 1) TO '{part}' (FORMAT csv, USE_TMP_FILE false)",
    "EXPLAIN (ANALYZE) /* */ COPY (SELECT 1) TO '{part}' (FORMAT csv, USE_TMP_FILE false)",
    "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{part}' (FORMAT csv, USE_TMP_FILE false)) SELECT * FROM x",
    "PREPARE p AS COPY (SELECT 1) TO '{part}' (FORMAT csv, USE_TMP_FILE false); EXECUTE p",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql("
    "'WITH x AS (COPY (SELECT 1) TO ''{part}'' (FORMAT csv, USE_TMP_FILE false)) SELECT * FROM x'))",
    "PRAGMA json_execute_serialized_sql(json_serialize_sql("
    "'WITH x AS (COPY (SELECT 1) TO ''{part}'' (FORMAT csv, USE_TMP_FILE false)) SELECT * FROM x'))",
    "SELECT * FROM \"query\"('SELECT * FROM json_execute_' || 'serialized_sql(json_serialize_sql("
    "''WITH x AS (COPY (SELECT 1) TO ''''{part}'''' (FORMAT csv, USE_TMP_FILE false)) SELECT * FROM x''))')",
    "CREATE MACRO m(q) AS TABLE SELECT * FROM system.main.query(q)",
    "INSERT INTO trials SELECT * FROM trials",
    "DELETE FROM trials",
    "UPDATE trials SET status = 'SUCCEEDED'",
    "EXPORT DATABASE '{root}/new'",
    "ATTACH '{root}/new.duckdb' AS d",
    "ATTACH '{part}' AS d",
    "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CALL enable_logging(storage = 'file', storage_config = {{'path': '{root}/new'}})",
    "SELECT * FROM enable_logging(storage = 'file', storage_config = {{'path': '{root}/new'}})",
    "SET log_query_path = '{root}/new'",
    "SET profiling_output = '{root}/new'",
    "PRAGMA enable_profiling = 'json'",
]
RUNS = [
    "INSTALL httpfs",
    "FORCE INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{root}/secret.csv'",
    "UPDATE EXTENSIONS",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "SET lock_configuration = false",
    "SET allowed_paths = ['/']",
    "SET allowed_directories = ['/']",
    "SET allowed_configs = ['allowed_paths']",
    "SET allow_unsigned_extensions = true",
    "SET temp_directory = '{root}/new'",
    "SET secret_directory = '{root}'",
    "SET autoload_known_extensions = true",
    "SET python_enable_replacements = true",
    "SELECT * FROM folder",
]


@pytest.mark.parametrize("query", [*READS, *WRITES, *RUNS])
def test_a_query_reaches_nothing_but_the_tables(store: ts.Store, root: Path, query: str) -> None:
    folder = [1]
    (part,) = (root / "store" / "trials").rglob("*.parquet")
    before = state(root)
    with pytest.raises(QueryError) as error:
        store.sql(query.format(root=str(root).replace("'", "''"), part=str(part).replace("'", "''"))).fetchall()
    assert SECRET not in str(error.value)
    assert state(root) == before
    assert store.sql("SELECT count(*) FROM trials").fetchone() == (6,)
    assert folder


def test_every_attack_works_when_it_is_asked_for(root: Path) -> None:
    """The queries above are refused for what they do, not since they are spelled wrongly."""
    with ts.open(root / "store") as store:
        quoted = str(root).replace("'", "''")
        for query in READS[:1] + READS[3:5] + READS[8:11] + READS[12:13]:
            rows = store.sql(query.format(root=quoted), external=True).fetchall()
            assert rows
        out = root.parent / f"out {new_ulid()}"
        out.mkdir()
        for query in (WRITES[0], *(q.replace("{part}", "{root}/p.csv") for q in [*WRITES[3:7], *WRITES[11:12]])):
            store.sql(query.format(root=str(out)), external=True).fetchall()
            assert files(out), query
            for path in files(out):
                path.unlink()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT max(params.lr) FROM trials",
        "FROM trials SELECT trial, 1 AS \"copy\", 'copy' AS query",
        'SELECT t.copy, t.query FROM (SELECT 1 AS "copy", 2 AS query) AS t -- copy',
        "EXPLAIN SELECT * FROM trials",
        "EXPLAIN ANALYZE SELECT * FROM trials",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM trials",
        "EXPLAIN (SELECT 1)",
        "CREATE TEMP TABLE mine AS SELECT * FROM trials; SELECT count(*) FROM mine",
        "CREATE MACRO twice(x) AS 2 * x; SELECT twice(trial) FROM trials",
        "PIVOT trials ON status USING count(*)",
        "SET VARIABLE x = 3; SELECT getvariable('x')",
        "PRAGMA table_info('trials')",
        "SHOW TABLES",
        "SUMMARIZE trials",
        "WITH a AS (SELECT 1) SELECT * FROM a",
    ],
)
def test_what_only_reads_works(store: ts.Store, query: str) -> None:
    assert store.sql(query).fetchall()


def test_nothing_is_known_of_secrets(store: ts.Store) -> None:
    assert store.sql("SELECT * FROM duckdb_secrets()").fetchall() == []
    assert store.sql("SELECT current_setting('allow_persistent_secrets')").fetchone() == (False,)


def test_outside_files_are_reached_when_asked_and_never_of_a_store_opened_for_reading(root: Path) -> None:
    query = f"SELECT a FROM read_csv('{str(root).replace(chr(39), chr(39) * 2)}/secret.csv')"
    with ts.open(root / "store") as store:
        assert store.sql(query, external=True).fetchall() == [(SECRET,)]
        assert store.experiment("tune").sql(query, external=True).fetchall() == [(SECRET,)]
        store.attach(root / "store", "theirs")
        with pytest.raises(ReadOnlyError, match="other files"):
            store.sql(query, external=True)
    reader = ts.open(root / "store", mode="r")
    asks: list[Callable[..., Any]] = [reader.sql, reader.experiment("tune").sql, reader.snapshot().sql]
    for ask in asks:
        with pytest.raises(ReadOnlyError, match="other files"):
            ask(query, external=True)


def test_attached_stores_are_read_and_nothing_around_them(root: Path, tmp_path: Path) -> None:
    small_store(tmp_path / "other").close()
    small_store(name := f"memory://{new_ulid()}").close()
    with ts.open(root / "store") as store:
        store.attach(tmp_path / "other", "theirs")
        store.attach(name, "kept")
        query = "SELECT (SELECT count(*) FROM trials), (SELECT count(*) FROM theirs.trials), count(*) FROM kept.trials"
        assert store.sql(query).fetchall() == [(6, 6, 6)]
        key = f"/{name[9:]}/trialstore.json"
        for url in (f"memory:/{key}", f"memory://{key}"):
            with pytest.raises(QueryError, match="disabled by configuration"):
                store.sql(f"SELECT * FROM read_text('{url}')")
        with pytest.raises(QueryError):
            store.sql(f"COPY (SELECT 1) TO 'memory:/{key}' (USE_TMP_FILE false)")


def test_what_does_not_fit_into_memory_is_spilled_beside_the_queries_own_files(
    store: ts.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (spill,) = store.sql("SELECT current_setting('temp_directory')").fetchone() or ("",)
    assert os.path.basename(spill) == "spilled"
    assert os.path.isdir(os.path.dirname(spill))
    assert files(tmp_path) == []
