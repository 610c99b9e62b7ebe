"""Every command on a small store, as text, as JSON, and as a real process."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

import trialstore as ts
from trialstore.cli.app import app
from trialstore.cli.exact import to_json
from trialstore.cli.options import parse_duration
from trialstore.render.page import Column
from trialstore.render.table import plain_text, table
from trialstore.render.values import shown, spell_duration

REPOSITORY = Path(ts.__file__).parents[1]
ODD = "odd [red]näme\x1b[31m 🚀"
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("a folder with späces") / "store"
    with ts.open(root) as store:
        experiment = store.create_experiment(
            "tune",
            metrics=[ts.Metric("loss", bounds=(0, float("inf"))), ts.Metric("ops", minimize=False)],
            space={"lr": ts.Real(0, 1, default=0.5), "policy": ts.Categorical(["lru", "[bold]lfu"])},
            max_trials=4,
            max_broken=2,
            metadata={"team": "db"},
        )
        experiment.register_trials([{"lr": 0.1 * k, "policy": "lru"} for k in range(6)])
        for loss in (0.123456789012, float("nan"), 0.05):
            trial = experiment.reserve_trial()
            assert trial is not None
            now = datetime.now(UTC)
            trial.report(step=0, loss=3.0)
            trial.report(step=1, loss=1.0)
            trial.update_telemetry(trial.status, now, [(now, "cpu", 0.5), (now, "phase", "warm-up")])
            trial.store({"notes.txt": "[red]first run"})
            trial.success(loss=loss, ops=10)
        crashed = experiment.reserve_trial()
        assert crashed is not None
        with crashed.begin():
            raise ValueError("disk on [red]fire[/red]")
        crashed.crashed()
        experiment.reserve_trial()
        odd = store.create_experiment(ODD)
        odd.register_trial({"big": 2**70, "text": "[bold]x", "odd": [1, None]})
    return str(root)


@pytest.fixture
def run() -> Run:
    def call(*args: str, code: int = 0, env: Mapping[str, str | None] | None = None, **options: Any) -> Result:
        result = CliRunner().invoke(app, list(args), env={"COLUMNS": None, **(env or {})}, **options)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return call


def files(root: str) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in Path(root).rglob("*") if path.is_file()
    }


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


class TestLs:
    def test_one_line_an_experiment(self, run: Run, url: str) -> None:
        head, _, first, second = lines(run("ls", url).stdout)
        assert head == "experiment version trials succeeded params metrics created (UTC)"
        assert first.startswith("tune 1 6 3 2 loss ↓, ops ↑ 20")
        assert second.startswith(r"odd [red]näme\x1b[31m 🚀 1 1 0 any 20")

    def test_json(self, run: Run, url: str) -> None:
        tune, odd = json.loads(run("ls", url, "--json").stdout)
        assert tune["counts"] == {"PENDING": 1, "RUNNING": 1, "SUCCEEDED": 3, "CRASHED": 1}
        assert tune["metrics"][0]["bounds"] == [0, {"$float": "inf"}]
        assert odd["name"] == ODD

    def test_an_empty_store(self, run: Run, tmp_path: Path) -> None:
        ts.open(tmp_path / "s").close()
        assert "has no experiments yet" in run("ls", str(tmp_path / "s")).stdout
        assert json.loads(run("ls", str(tmp_path / "s"), "--json").stdout) == []


class TestShow:
    def test_experiment(self, run: Run, url: str) -> None:
        seen = lines(run("show", url, "tune").stdout)
        assert seen[0].startswith("tune version 1, created 20")
        assert seen[1] == "1 pending, 1 running, 3 succeeded, 1 crashed (4 wanted, 2 may break)"
        assert "loss lower ↓ 0 to inf" in seen
        assert "lr real 0 to 1 0.5" in seen
        assert "policy categorical 'lru', '[bold]lfu'" in seen
        best = seen.index("Best by loss ↓")
        assert [line.split()[:3] for line in seen[best + 3 : best + 5]] == [
            ["2", "SUCCEEDED", "0.05"],
            ["0", "SUCCEEDED", "0.1234568"],
        ]

    def test_json_is_exact(self, run: Run, url: str) -> None:
        facts = json.loads(run("show", url, "tune", "--json").stdout)
        assert [trial["metrics"]["loss"] for trial in facts["best"]] == [0.05, 0.123456789012]
        newest = {trial["trial"]: trial for trial in facts["newest"]}
        assert newest[1]["metrics"]["loss"] == {"$float": "nan"}
        odd = json.loads(run("show", url, ODD, "--json").stdout)
        assert odd["newest"][0]["params"] == {"big": {"$int": str(2**70)}, "text": "[bold]x", "odd": [1, None]}

    def test_trial(self, run: Run, url: str) -> None:
        seen = lines(run("show", url, "tune", "--trial", "0").stdout)
        assert seen[0] == "tune trial 0 SUCCEEDED"
        assert "loss 0.123456789012" in seen, "a trial's own values are not rounded"
        assert any(line.startswith("loss 2 1 3 1 20") for line in seen)
        assert any(line.startswith("phase 1 warm-up 20") for line in seen)
        assert any(line.startswith("notes.txt 14 B text artifacts/") for line in seen)

    def test_what_went_wrong_is_shown_as_it_is(self, run: Run, url: str) -> None:
        assert "ValueError: disk on [red]fire[/red]" in run("show", url, "tune", "-t", "3").stdout

    def test_trial_json(self, run: Run, url: str) -> None:
        facts = json.loads(run("show", url, "tune", "--trial", "0", "--json").stdout)
        assert facts["reported"][0]["name"] == "loss"
        assert facts["reported"][0]["rows"] == 2
        assert [row["name"] for row in facts["telemetry"]] == ["cpu", "phase"]
        assert facts["artifacts"][0]["size_bytes"] == 14

    def test_near_names_are_offered(self, run: Run, url: str) -> None:
        assert "did you mean 'tune'?" in run("show", url, "tun", code=1).stderr


class TestStatus:
    def test_all(self, run: Run, url: str) -> None:
        head, _, first, _ = lines(run("status", url).stdout)
        assert head == "experiment version progress done pending running crashed"
        assert first == "tune 1 ████████████░░░░ 75% 3 of 4 1 1 1"

    def test_one(self, run: Run, url: str) -> None:
        seen = lines(run("status", url, "tune").stdout)
        assert "trials 1 pending 1 running 3 succeeded 1 crashed" in seen
        assert "best loss 0.05 by trial 2 (lowest)" in seen
        assert seen[-1].startswith("4 1 ")

    def test_json(self, run: Run, url: str) -> None:
        facts = json.loads(run("status", url, "tune", "--json").stdout)
        assert (facts["best_trial"], facts["best_value"], facts["progress"]) == (2, 0.05, 0.75)
        assert [row["trial"] for row in facts["running"]] == [4]
        assert len(json.loads(run("status", url, "--json").stdout)["experiments"]) == 2

    def test_watch_prints_a_line_of_json_a_look(self, run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trialstore.cli.status.time.sleep", lambda seconds: None)
        seen = run("status", url, "--watch", "--looks", "3", "--json").stdout.splitlines()
        assert [len(json.loads(line)["experiments"]) for line in seen] == [2, 2, 2]

    def test_watch_sees_what_others_commit(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with ts.open(tmp_path) as store:
            experiment = store.create_experiment("e")
            monkeypatch.setattr("trialstore.cli.status.time.sleep", lambda _: experiment.register_trial({}))
            seen = run("status", str(tmp_path), "e", "--watch", "--looks", "3", "--json").stdout.splitlines()
        assert [json.loads(line)["trials"] for line in seen] == [0, 1, 2]

    def test_watch_ends_when_all_is_done(self, run: Run, tmp_path: Path) -> None:
        with ts.open(tmp_path) as store:
            experiment = store.create_experiment("e", max_trials=1)
            experiment.register_trial({})
            trial = experiment.reserve_trial()
            assert trial is not None
            trial.success()
        assert "100%" in run("status", str(tmp_path), "--watch").stdout

    def test_interrupt(self, run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("trialstore.cli.status.time.sleep", interrupt)
        run("status", url, "--watch", code=130)


class TestSql:
    def test_table(self, run: Run, url: str) -> None:
        query = "SELECT trial, status, params.lr, metrics.loss FROM trials WHERE experiment = 'tune' ORDER BY trial"
        seen = lines(run("sql", url, query).stdout)
        assert seen[0] == "trial status lr loss"
        assert seen[2:5] == ["0 SUCCEEDED 0 0.1234568", "1 SUCCEEDED 0.1 nan", "2 SUCCEEDED 0.2 0.05"]
        assert seen[5] == "3 CRASHED 0.3 null"
        assert seen[-1] == "6 rows"

    def test_limit_says_how_many_more(self, run: Run, url: str) -> None:
        seen = lines(run("sql", url, "SELECT * FROM range(200000)", "--limit", "2").stdout)
        assert seen[2:4] == ["0", "1"]
        assert seen[4].startswith("2 of 200,000 rows; --limit 200000 shows all")
        assert len(lines(run("sql", url, "SELECT * FROM range(60)").stdout)) == 2 + 50 + 1
        assert len(json.loads(run("sql", url, "SELECT * FROM range(60)", "--json").stdout)) == 60

    def test_json_is_exact(self, run: Run, url: str) -> None:
        query = (
            "SELECT 'nan'::DOUBLE a, '-inf'::DOUBLE b, 170141183460469231731::HUGEINT c, NULL d, 1.5 e, 'x'::BLOB f,"
            " TIMESTAMPTZ '2026-01-02 03:04:05.000006Z' g, [1, NULL] h, {'k': 0.1} i, 7 j, 8 j, DATE '2026-01-02' k,"
            " INTERVAL 90 SECOND l, 9007199254740993 m"
        )
        (row,) = json.loads(run("sql", url, query, "--json").stdout)
        assert row == {
            "a": {"$float": "nan"},
            "b": {"$float": "-inf"},
            "c": {"$int": "170141183460469231731"},
            "d": None,
            "e": 1.5,
            "f": {"$bytes": "eA=="},
            "g": "2026-01-02T03:04:05.000006Z",
            "h": [1, None],
            "i": {"k": 0.1},
            "j": 7,
            "j_2": 8,
            "k": "2026-01-02",
            "l": {"months": 0, "days": 0, "nanoseconds": 90 * 10**9},
            "m": 9007199254740993,
        }

    def test_no_rows(self, run: Run, url: str) -> None:
        query = "SELECT trial FROM trials WHERE trial > 99"
        assert json.loads(run("sql", url, query, "--json").stdout) == []
        assert run("sql", url, query, "-f", "csv").stdout == "trial\n"
        assert lines(run("sql", url, query).stdout)[-1] == "0 rows"

    def test_csv(self, run: Run, url: str) -> None:
        query = """SELECT 'a,"b"' t, '' e, NULL n, 0.1::DOUBLE x, true y, {'k': 'v'} s, E'two\\nlines' l"""
        text = run("sql", url, query, "--format", "csv").stdout
        assert text.splitlines()[1].startswith('"a,""b""","",,0.1,true,')
        (row,) = csv.DictReader(io.StringIO(text))
        assert (row["t"], json.loads(row["s"]), row["l"]) == ('a,"b"', {"k": "v"}, "two\nlines")

    @pytest.mark.parametrize("ending", ["json", "csv", "parquet"])
    def test_file(self, run: Run, url: str, tmp_path: Path, ending: str) -> None:
        out = tmp_path / f"späce [x].{ending}"
        result = run("sql", url, "SELECT range AS n FROM range(100000)", "-o", str(out))
        assert result.stdout == ""
        assert "wrote 100,000 rows to" in result.stderr
        if ending == "parquet":
            assert pq.read_table(out)["n"].to_pylist() == list(range(100000))
        elif ending == "json":
            assert json.loads(out.read_text())[-1] == {"n": 99999}
        else:
            assert out.read_text().splitlines()[-1] == "99999"
        assert list(tmp_path.iterdir()) == [out]

    def test_parquet_without_rows_keeps_the_columns(self, run: Run, url: str, tmp_path: Path) -> None:
        run("sql", url, "SELECT trial, trial FROM trials WHERE trial > 99", "-o", str(tmp_path / "x.parquet"))
        assert pq.read_schema(tmp_path / "x.parquet").names == ["trial", "trial_2"]

    def test_a_file_that_fails_leaves_nothing(self, run: Run, url: str, tmp_path: Path) -> None:
        out = tmp_path / "x.parquet"
        out.write_text("before")
        assert "cast the column" in run("sql", url, "SELECT INTERVAL 1 DAY", "-o", str(out), code=1).stderr
        late = "SELECT CASE WHEN range < 150000 THEN 1 ELSE error('late') END FROM range(200000)"
        run("sql", url, late, "-o", str(tmp_path / "y.csv"), code=1)
        assert (out.read_text(), list(tmp_path.iterdir())) == ("before", [out])
        assert "cannot write the file" in run("sql", url, "SELECT 1", "-o", str(tmp_path / "no/x.csv"), code=1).stderr

    def test_query_from_standard_input(self, run: Run, url: str) -> None:
        assert json.loads(run("sql", url, "-", "--json", input="SELECT 1 AS one").stdout) == [{"one": 1}]

    def test_attach(self, run: Run, url: str) -> None:
        query = "SELECT count(*) AS n FROM other.trials"
        assert json.loads(run("sql", url, query, "--attach", f"other={url}", "--json").stdout) == [{"n": 7}]

    def test_a_wrong_column_is_told_with_those_there_are(self, run: Run, url: str) -> None:
        result = run("sql", url, "SELECT tral FROM trials", code=1)
        assert result.stdout == ""
        assert 'column "tral" not found' in result.stderr
        assert "lr, policy}" in result.stderr

    @pytest.mark.parametrize(
        "args",
        [
            ["-f", "parquet"],
            ["-o", "x.txt"],
            ["--json", "-f", "csv"],
            ["--attach", "other"],
            ["--limit", "-1"],
            ["--storage-option", "novalue"],
        ],
    )
    def test_wrong_calls(self, run: Run, url: str, args: list[str]) -> None:
        run("sql", url, "SELECT 1", *args, code=2)


class TestCompact:
    def test_moves_trials_into_files(self, run: Run, tmp_path: Path) -> None:
        with ts.open(tmp_path) as store:
            for name in ("a", "[red]b"):
                experiment = store.create_experiment(name)
                experiment.register_trials([{"k": k} for k in range(3)])
                while (trial := experiment.reserve_trial()) is not None:
                    trial.success()
        first, second = json.loads(run("compact", str(tmp_path), "--json").stdout)
        assert (first["flushed_trials"], second["name"]) == (3, "[red]b")
        assert lines(run("compact", str(tmp_path), "[red]b", "--grace", "0").stdout)[-1].startswith("[red]b 1 0 ")
        assert json.loads(run("ls", str(tmp_path), "--json").stdout)[0]["counts"] == {"SUCCEEDED": 3}

    def test_grace(self, run: Run, url: str) -> None:
        run("compact", url, "--grace", "soon", code=2)
        assert parse_duration("1h30m") == timedelta(minutes=90)
        assert parse_duration("0.5d") == timedelta(hours=12)
        assert parse_duration("45") == timedelta(seconds=45)
        for wrong in ("", "h", "1x", "-1h", "1h 3", "9" * 30):
            with pytest.raises(typer.BadParameter):
                parse_duration(wrong)


class TestErrors:
    @pytest.mark.parametrize(
        "args", [["ls"], ["status"], ["show", "e"], ["sql", "SELECT 1"], ["compact"], ["status", "e"]]
    )
    def test_a_store_that_is_not_there_is_not_made(self, run: Run, tmp_path: Path, args: list[str]) -> None:
        missing = tmp_path / "missing"
        result = run(args[0], str(missing), *args[1:], code=1)
        assert result.stderr.startswith("error: there is no store here\n  url=")
        assert "Traceback" not in result.output
        assert list(tmp_path.iterdir()) == []

    def test_looking_changes_nothing(self, run: Run, url: str) -> None:
        before = files(url)
        for args in (["ls"], ["show", "tune"], ["show", "tune", "-t", "1"], ["status"], ["status", "tune"]):
            run(args[0], url, *args[1:])
        run("sql", url, "SELECT * FROM telemetry")
        assert files(url) == before

    def test_json(self, run: Run, url: str) -> None:
        result = run("show", url, "tun", "--json", code=1)
        error = json.loads(result.stderr)["error"]
        assert result.stdout == ""
        assert error["kind"] == "ExperimentNotFoundError"
        assert error["facts"]["experiment"] == "tun"
        assert error["hint"] == "did you mean 'tune'?"

    def test_wrong_calls(self, run: Run) -> None:
        run("ls", code=2)
        run("lss", "x", code=2)
        for command in ("status", "compact", "verify"):
            run(command, "x", "--version", "2", code=2)

    def test_a_bug_is_not_hidden(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(self: object) -> None:
            raise RuntimeError("bug")

        monkeypatch.setattr(ts.Store, "experiments", broken)
        with pytest.raises(RuntimeError, match="bug"):
            CliRunner().invoke(app, ["ls", url], catch_exceptions=False)


class TestStorageOptions:
    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def fake(url: str, **given: Any) -> None:
            seen.update(given, url=url)
            raise ts.errors.StoreNotFoundError("none", url=url)

        monkeypatch.setattr("trialstore.store.open", fake)
        return seen

    def test_values_are_json_or_text(self, run: Run, opened: dict[str, Any]) -> None:
        nested = 'client_kwargs={"endpoint_url": "http://localhost"}'
        args = ["--storage-option", nested, "--storage-option", "key=a=b", "--storage-option", "anon=true"]
        run("ls", "s3://bucket/x", *args, code=1)
        expected = {"client_kwargs": {"endpoint_url": "http://localhost"}, "key": "a=b", "anon": True}
        assert opened == {"url": "s3://bucket/x", "mode": "r", "storage_options": expected}

    def test_from_the_environment(self, run: Run, opened: dict[str, Any]) -> None:
        env = {"TRIALSTORE_STORAGE_OPTIONS": '{"key": "a", "anon": false}'}
        run("ls", "s3://bucket", "--storage-option", "anon=true", code=1, env=env)
        assert opened["storage_options"] == {"key": "a", "anon": True}
        run("ls", "folder", code=1, env=env)
        assert opened["storage_options"] is None
        run("ls", "s3://bucket", code=2, env={"TRIALSTORE_STORAGE_OPTIONS": "[1]"})

    def test_a_folder_takes_none(self, run: Run, url: str) -> None:
        assert "takes no storage options" in run("ls", url, "--storage-option", "a=1", code=1).stderr


class TestShape:
    def test_durations(self) -> None:
        spelled = {
            0: "0 s",
            15e-6: "15 µs",
            0.0015: "1.5 ms",
            2.5: "2.5 s",
            59.97: "1 min",
            61: "1 min 1 s",
            3599.9: "1 h",
            4320: "1 h 12 min",
            86400 * 400: "400 d",
            -90: "-1 min 30 s",
        }
        assert {seconds: spell_duration(timedelta(seconds=seconds)) for seconds in spelled} == spelled

    def test_a_table_keeps_to_the_width(self) -> None:
        columns = [
            Column("name", ["n" * 80]),
            Column("empty", [""]),
            Column("count", ["123456789"], number=True),
            Column("more", ["m" * 80]),
        ]
        for width, hidden in ((200, []), (50, []), (30, ["empty", "more"])):
            grid, left_out = table(columns, width)
            assert left_out == hidden
            console = _console(width)
            console.print(grid)
            assert max(len(line) for line in console.file.getvalue().splitlines()) <= width
            assert "123456789" in console.file.getvalue()

    def test_control_characters_are_spelled_out(self) -> None:
        assert plain_text("a\x1b[31m\n\u202eb👩\u200d🚀").plain == r"a\x1b[31m\n\u202eb👩" + "\u200d🚀"

    def test_values(self) -> None:
        assert shown({"a": None, "b": [True, 0.1 + 0.2]}) == "{a: null, b: [true, 0.3]}"
        assert to_json({1: float("inf")}) == {"$dict": [[1, {"$float": "inf"}]]}


def _console(width: int) -> Any:
    from rich.console import Console

    return Console(width=width, file=io.StringIO(), markup=False)


class TestProcess:
    @pytest.fixture
    def start(self) -> Callable[..., subprocess.Popen[str]]:
        def call(code: str, *args: str) -> subprocess.Popen[str]:
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"}
            return subprocess.Popen(
                [sys.executable, "-c", code, *args],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=environment,
            )

        return call

    MAIN = "from trialstore.cli import main; main()"

    def test_entry_point(self, start: Callable[..., subprocess.Popen[str]], url: str) -> None:
        with start(self.MAIN, "ls", url) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert "tune" in out
        assert "\x1b" not in out
        with start(self.MAIN, "ls", url + "x") as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (1, "")
        assert err.startswith("error: there is no store here")

    def test_a_closed_pipe_is_quiet(self, start: Callable[..., subprocess.Popen[str]], url: str) -> None:
        with start(self.MAIN, "sql", url, "SELECT * FROM range(300000)", "-f", "csv") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "range\n"
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait(timeout=60) == 141

    def test_interrupt_in_a_query(self, start: Callable[..., subprocess.Popen[str]], url: str) -> None:
        code = (
            "import atexit, sys\natexit.register(lambda: print('cleaned', flush=True))\n"
            "from trialstore.query.result import Result\nrun = Result._start\n"
            "def told(self):\n    print('started', file=sys.stderr, flush=True)\n    return run(self)\n"
            "Result._start = told\n" + self.MAIN
        )
        endless = "SELECT count(*) FROM range(300000) a, range(300000000) b WHERE hash(a.range + b.range) % 7 = 3"
        with start(code, "sql", url, endless) as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline() == "started\n"
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=120)
            finally:
                process.kill()
        assert (process.returncode, out, err) == (130, "cleaned\n", "")

    @pytest.mark.parametrize("args", [["--help"], ["version"], ["version", "--json"], ["sql", "--help"], ["--version"]])
    def test_nothing_heavy_is_imported(self, start: Callable[..., subprocess.Popen[str]], args: list[str]) -> None:
        code = (
            "import sys\nfrom trialstore.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
            "    heavy = {'pyarrow', 'polars', 'duckdb', 's3fs', 'pandas', 'numpy'} & set(sys.modules)\n"
            "    print(end.code, sorted(heavy), file=sys.stderr)"
        )
        with start(code, *args) as process:
            out, err = process.communicate(timeout=60)
        assert err == "0 []\n"
        assert out

    def test_version(self, run: Run) -> None:
        assert run("version").stdout.startswith(f"trialstore {ts.__version__} (format 1, Python 3.")
        assert json.loads(run("version", "--json").stdout)["trialstore"] == ts.__version__
        assert "--workers" in run("demo", "--help", env={"COLUMNS": "100"}).stdout
