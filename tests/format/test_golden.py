"""Stores of every released format are read for ever, and what this version writes is pinned to the byte."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import trialstore as ts
from tests.format.write_golden import contents, exact, write
from tests.support.small import files
from trialstore.journal.commit import decode_commit, encode_commands, encode_commit
from trialstore.model.codec import decode
from trialstore.model.errors import FormatTooNewError

GOLDEN = Path(__file__).parent / "golden"
LATER = "2026-12-01T00:00:00.000000Z"
NAMES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a golden store."""
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path / request.param))


def expected(root: Path) -> Any:
    return decode((GOLDEN / f"{root.name}.json").read_bytes())


def state_of(root: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files(root)}


def same(found: Any, wanted: Any) -> bool:
    return repr(found) == repr(wanted)  # tells 1, 1.0 and True apart, and NaN is itself


def test_there_is_one_for_every_kind_of_content() -> None:
    assert NAMES == ["format-1-journal", "format-1-tables"]


def test_a_golden_store_is_read_exactly(golden: Path) -> None:
    before = state_of(golden)
    found = exact(contents(ts.open(golden, mode="r")))
    for name, wanted in expected(golden).items():
        assert same(found[name], wanted), name
    assert state_of(golden) == before


def test_a_golden_store_is_sound(golden: Path) -> None:
    assert ts.open(golden, mode="r").verify().problems == []


def test_a_golden_store_reads_the_same_without_its_checkpoints(golden: Path) -> None:
    """The commits alone fold to what the checkpoints hold."""
    shutil.rmtree(golden / "checkpoints")
    assert same(exact(contents(ts.open(golden, mode="r"))), expected(golden))


def test_a_golden_store_can_be_written_on(golden: Path) -> None:
    wanted = expected(golden)
    with ts.open(golden) as store:
        for experiment in store:
            trial = experiment.register_trial({"new": 1}, reserve=True)
            trial.report(loss=0.5)
            trial.fail()
            experiment.flush()
        store.compact()
        store.checkpoint()
    with ts.open(golden) as store:
        assert store.verify().problems == []
        for name, old in wanted["experiments"].items():
            trials = list(store.experiment(name).trials())
            assert len(trials) == len(old["trials"]) + 1
            for trial, told in zip(trials, old["trials"], strict=False):
                assert same(exact(dict(trial.params)), told["params"])


@pytest.mark.parametrize("name", NAMES)
def test_the_writers_bytes_are_pinned(name: str, tmp_path: Path) -> None:
    """Commits, leases, artifacts and the store's description to the byte, checkpoints below their compression.

    A store with tables names the checksums of Parquet files, which depend on the library that writes them.
    """
    root = tmp_path / name
    write(name, root)
    written = {path.relative_to(root) for path in files(root)}
    assert written == {path.relative_to(GOLDEN / name) for path in files(GOLDEN / name)}
    for path in written:
        new, old = (root / path).read_bytes(), (GOLDEN / name / path).read_bytes()
        if path.suffix == ".gz":
            new, old = gzip.decompress(new), gzip.decompress(old)
        if name == "format-1-journal" or path.parts[0] == "leases" or path.name == "trialstore.json":
            assert new == old, path


# Newer formats


def newer(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    packed = path.suffix == ".gz"
    text = gzip.decompress(data) if packed else data
    assert old in text
    path.write_bytes(gzip.compress(text.replace(old, new, 1)) if packed else text.replace(old, new, 1))


@pytest.mark.parametrize("mode", ["r", "rw"])
def test_a_store_of_a_newer_format_is_refused_with_the_version_named(golden: Path, mode: str) -> None:
    newer(golden / "trialstore.json", b'"format":1', b'"format":2')
    before = state_of(golden)
    with pytest.raises(FormatTooNewError) as error:
        ts.open(golden, mode=mode)
    assert error.value.facts["format"] == 2
    assert error.value.facts["known_format"] == 1
    assert "upgrade trialstore" in str(error.value)
    assert state_of(golden) == before


@pytest.mark.parametrize("folder", ["journal", "checkpoints"])
def test_a_newer_commit_or_checkpoint_is_refused_with_the_version_named(golden: Path, folder: str) -> None:
    path = max(path for path in files(golden / folder) if "catalog" not in path.parts)
    newer(path, b'"format":1', b'"format":7')
    before = state_of(golden)
    for mode in ("r", "rw"):
        store = ts.open(golden, mode=mode)
        (experiment,) = store.experiments()
        with pytest.raises(FormatTooNewError) as error:
            _ = experiment.counts
        assert error.value.facts["format"] == 7
        assert path.name in str(error.value)
        assert "upgrade trialstore" in str(error.value)
    assert any(problem.kind == "too new" for problem in ts.open(golden, mode="r").verify().problems)
    assert state_of(golden) == before


def append(root: Path, command: dict[str, Any]) -> Path:
    """A commit after the last one, by a newer version."""
    last = max(path for path in files(root / "journal") if "catalog" not in path.parts)
    commit = decode_commit(last.read_bytes(), last.name)
    session = {
        "session": "01JD0000000000000000000000",
        "counter": 1,
        "at": "2026-12-01T00:00:00.000000Z",
        "opens": True,
    }
    data, _ = encode_commit(commit.seq + 1, commit.crc32, encode_commands([session | command]))
    path = last.with_name(f"{commit.seq + 1:020d}.jsonl")
    path.write_bytes(data)
    return path


def test_an_unknown_optional_command_is_passed_over_and_kept(golden: Path) -> None:
    path = append(golden, {"kind": "paint", "optional": True, "colour": ["any", {"thing": 1}]})
    data = path.read_bytes()
    found = exact(contents(ts.open(golden, mode="r")))
    for name, wanted in expected(golden).items():
        assert same(found[name], wanted), name
    with ts.open(golden) as store:
        (experiment,) = store.experiments()
        experiment.register_trial({"new": 1})
        store.compact()
        store.checkpoint()
        store.vacuum()
        assert store.repair().problems == ()
    assert path.read_bytes() == data
    assert b'"colour":["any",{"thing":1}]' in data


def test_an_unknown_required_command_says_upgrade_and_nothing_is_written(golden: Path) -> None:
    path = append(golden, {"kind": "paint", "colour": "red"})
    before = state_of(golden)
    store = ts.open(golden, mode="r")
    (experiment,) = store.experiments()
    writer = ts.open(golden)
    for act in (
        lambda: experiment.counts,
        lambda: store.sql("SELECT count(*) FROM trials"),
        lambda: writer.experiments()[0].register_trial({"new": 1}),
        lambda: writer.experiments()[0].compact(),
    ):
        with pytest.raises(FormatTooNewError) as error:
            act()
        assert error.value.facts["kind"] == "paint"
        assert path.name in str(error.value)
        assert "upgrade trialstore" in str(error.value)
    assert [problem.kind for problem in writer.verify().problems] == ["too new"]
    assert state_of(golden) == before


# What a later version of the same format may add


def test_members_that_are_not_known_are_passed_over(golden: Path) -> None:
    """In a known command, in what it says of a part, and in a trial that it brings back."""
    (key,) = {path.parent.name for path in files(golden / "journal") if "catalog" not in path.parts}
    rewrite(golden, key, lambda command: command.update(later={"x": 1}))
    rewrite(golden, key, lambda command: [part.update(later=[1]) for part in parts_of(command)])
    rewrite(golden, key, lambda command: command.get("record", {}).update(later="x"))
    rewrite(golden, "catalog", lambda command: command.update(later=None))
    found = exact(contents(ts.open(golden, mode="r")))
    for name, wanted in expected(golden).items():
        assert same(found[name], wanted), name
    assert ts.open(golden, mode="r").verify().problems == []


def parts_of(command: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in [*command.get("parts", ()), *command.get("add", ())] if isinstance(part, dict)]


def rewrite(root: Path, journal: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change every command of a journal, with the checksums that go with it; its checkpoints are a cache."""
    previous = 0
    for seq, path in enumerate(sorted((root / "journal" / journal).iterdir())):
        commands = decode_commit(path.read_bytes(), path.name).commands
        for command in commands:
            change(command)
        data, previous = encode_commit(seq, previous, encode_commands(commands))
        path.write_bytes(data)
    shutil.rmtree(root / "checkpoints" / journal, ignore_errors=True)


@pytest.mark.parametrize("table", ["trials", "metrics", "telemetry", "status", "artifacts"])
def test_columns_that_are_not_known_are_passed_over(tmp_path: Path, table: str) -> None:
    """A part with one more column, as a later version may write, is read by SQL, by frames and by trials."""
    root = Path(shutil.copytree(GOLDEN / "format-1-tables", tmp_path / "format-1-tables"))
    changed: dict[str, tuple[int, int]] = {}
    for path in (root / table).rglob("*.parquet"):
        rows = pq.read_table(path)
        pq.write_table(rows.append_column("later", pa.array(["x"] * len(rows))), path, store_schema=False)
        changed[path.stem] = (path.stat().st_size, zlib.crc32(path.read_bytes()))

    def tell(command: dict[str, Any]) -> None:
        for part in parts_of(command):
            if part["id"] in changed:
                size_bytes, crc32 = changed[part["id"]]
                part.update(size_bytes=size_bytes, crc32=f"{crc32:08x}")

    (key,) = {path.parent.name for path in files(root / "journal") if "catalog" not in path.parts}
    rewrite(root, key, tell)
    store = ts.open(root, mode="r")
    found = exact(contents(store))
    for name, wanted in expected(root).items():
        assert same(found[name], wanted), name
    rows = store.sql(f"SELECT * FROM {table}")
    assert "later" not in rows.columns
    assert len(rows.fetchall()) == len(found["tables"][table]["rows"])
    assert store.verify().problems == []


@pytest.mark.parametrize("where", ["journal", "inbox"])
def test_an_optional_command_is_kept_by_all_that_writes(tmp_path: Path, where: str) -> None:
    """Kept means: its line stays in the commit as it is for as long as history is kept, and counts for its session."""
    root = tmp_path / "store"
    with ts.open(root) as store:
        store.create_experiment("tune")
    line = encode_commands(
        [
            {
                "session": "01JD0000000000000000000000",
                "counter": 1,
                "at": LATER,
                "kind": "paint",
                "optional": True,
                "opens": True,
                "colour": "red",
            }
        ]
    )
    if where == "inbox":
        inbox = root / "inbox/experiment=tune"
        inbox.mkdir(parents=True)
        (inbox / "01JD0000000000000000000000-1-1.jsonl").write_bytes(b'{"crc32":"%08x"}\n' % zlib.crc32(line) + line)
    else:
        folder = root / "journal/experiment=tune"
        folder.mkdir(parents=True)
        (folder / f"{0:020d}.jsonl").write_bytes(encode_commit(0, 0, line)[0])
    with ts.open(root) as store:
        experiment = store.experiment("tune")
        experiment.register_trial({"lr": 0.5}, reserve=True).fail()
        experiment.flush()
        store.compact()
        store.checkpoint()
        store.vacuum()
        with experiment._ledger.journal.view() as state:
            assert state.sessions["01JD0000000000000000000000"] == [1, LATER]
    assert sum(line in path.read_bytes() for path in files(root / "journal/experiment=tune")) == 1
    with ts.open(root, mode="r") as store, store.experiment("tune")._ledger.journal.view() as state:
        assert state.sessions["01JD0000000000000000000000"] == [1, LATER]  # from the checkpoint


def test_a_line_in_the_inbox_that_is_no_command_never_gets_into_the_journal(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with ts.open(root) as store:
        store.create_experiment("tune")
    inbox = root / "inbox/experiment=tune"
    inbox.mkdir(parents=True)
    lines = [b'{"kind":"claim"}\n', b"[]\n", b"no JSON\n", b'{"session":"A"', b"[" * 1000 + b"\n"]
    for number, line in enumerate(lines):
        (inbox / f"A-{number}-{number}.jsonl").write_bytes(b'{"crc32":"%08x"}\n' % zlib.crc32(line) + line)
    with ts.open(root) as store:
        store.experiment("tune").register_trial({"lr": 0.5})
    assert files(inbox) == []
    store = ts.open(root, mode="r")
    assert len(store.experiment("tune")) == 1
    assert store.verify().problems == []
