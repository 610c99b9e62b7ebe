"""The commands that check and clean up a store."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import trialstore as ts
from tests.support.small import files, grow_old, small_store
from trialstore.cli.app import app


def run(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": None})
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def root(tmp_path: Path) -> Path:
    small_store(tmp_path / "store").close()
    return tmp_path / "store"


def test_verify_says_what_is_wrong_and_exits_with_1(root: Path) -> None:
    assert "no problem" in run("verify", root).output
    assert json.loads(run("verify", root, "tune", "--fast", "--json").output)["problems"] == []
    path = files(root, "trials/*/*.parquet")[0]
    path.write_bytes(path.read_bytes()[:-9])
    for options in ([], ["--fast"]):
        output = run("verify", root, *options, code=1).output
        assert path.name in output
        assert "hint: restore" in output
    (problem,) = json.loads(run("verify", root, "--json", code=1).stdout)["problems"]
    assert problem["kind"] == "damaged"
    assert problem["blob"].endswith(path.name)


def test_vacuum_lists_before_it_deletes(root: Path) -> None:
    lost = root / "metrics/experiment=tune/[red]lost.parquet"
    lost.write_bytes(b"123")
    assert "0 files" in run("vacuum", root).output
    grow_old(root, timedelta(days=2), "*lost.parquet")
    output = run("vacuum", root, "--dry-run").output
    assert "[red]lost.parquet: written more than the grace ago" in output
    assert "1 files of 3 bytes would be deleted" in output
    assert lost.exists()
    (waste,) = json.loads(run("vacuum", root, "tune", "--json").stdout)
    assert waste["size_bytes"] == 3
    assert not lost.exists()


def test_repair_tells_what_it_did_and_what_is_still_wrong(root: Path) -> None:
    assert "nothing to mend" in run("repair", root).output
    checkpoint = files(root, "checkpoints/experiment=tune/*")[0]
    checkpoint.write_bytes(b"damage")
    part = files(root, "metrics/*/*.parquet")[0]
    part.unlink()
    result = json.loads(run("repair", root, "--json", code=1).stdout)
    assert any(checkpoint.name in item["blob"] for item in result["done"])
    assert [problem["kind"] for problem in result["problems"]] == ["missing"]
    assert part.name in run("repair", root, "tune", "--fast", code=1).output


def test_checkpoint_names_what_it_wrote(root: Path) -> None:
    keys = json.loads(run("checkpoint", root, "--json").stdout)
    assert all((root / key).exists() for key in keys)
    assert "checkpoints/experiment=tune/" in run("checkpoint", root, "tune").output


def test_a_version_needs_an_experiment_and_a_store_is_never_created(root: Path, tmp_path: Path) -> None:
    for command in ("verify", "vacuum", "repair", "checkpoint"):
        run(command, root, "--version", "1", code=2)
        run(command, tmp_path / "nothing", code=1)
    assert not (tmp_path / "nothing").exists()


def test_an_experiment_without_trials_is_chosen_all_the_same(tmp_path: Path) -> None:
    with ts.open(tmp_path / "store") as store:
        store.create_experiment("empty")
        store.create_experiment("other")
    (key,) = json.loads(run("checkpoint", tmp_path / "store", "empty", "--json").stdout)
    assert "experiment=empty" in key
