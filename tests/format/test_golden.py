"""Stores of every released format are read for ever, and what this version writes is pinned to the byte."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

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
