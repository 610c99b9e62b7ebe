"""What changed between two snapshots: all of it, nothing else, with exact values, and read from few files."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import trialstore as ts
from tests.support.small import small_store
from trialstore.cli.app import app
from trialstore.model.errors import DamagedError, ExperimentNotFoundError, UsageError
from trialstore.query.snapshot import Snapshot

NAN = float("nan")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def told(diff: ts.SnapshotDiff) -> dict[tuple[int, str], tuple[str | None, str | None]]:
    """Before and after of each changed field of a trial."""
    return {(row["trial"], row["field"]): (row["before"], row["after"]) for row in diff.fields.collect().to_dicts()}


def changes(diff: ts.SnapshotDiff) -> dict[tuple[str, int], str]:
    return {(row["experiment"], row["trial"]): row["change"] for row in diff.trials.collect().to_dicts()}


def test_trials_that_were_added_and_changed_with_exact_values(root: Path) -> None:
    with ts.open(root, maintenance=False) as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        experiment.register_trials([{"lr": 1, "odd": NAN}, {"lr": 1.0, "odd": NAN}, {"lr": 3, "odd": None}])
        first = experiment.reserve_trial()
        assert first is not None
        first.success(loss=1)
        before = store.snapshot()
        experiment.flush()
        experiment.trial(0).annotate(tag=NAN, big=2**70, nothing=None)
        second = experiment.reserve_trial()
        assert second is not None
        second.success(loss=float("inf"))
        experiment.register_trial({"lr": 9, "odd": ""})
        diff = before.diff(store.snapshot())
        assert not diff.is_empty
        assert changes(diff) == {("tune", 0): "changed", ("tune", 1): "changed", ("tune", 3): "added"}
        fields = told(diff)
        assert fields[0, "attributes.tag"] == (None, '{"$float":"nan"}')
        assert fields[0, "attributes.big"] == (None, f'{{"$int":"{2**70}"}}')
        assert fields[0, "attributes.nothing"] == (None, "null")
        assert fields[1, "status"] == ('"PENDING"', '"SUCCEEDED"')
        assert fields[1, "metrics.loss"] == (None, '{"$float":"inf"}')
        assert {name for number, name in fields if number == 0} == {
            "attributes.tag",
            "attributes.big",
            "attributes.nothing",
        }
        assert not any(number == 2 for number, _ in fields)
        back = store.snapshot().diff(before)
        assert changes(back) == {("tune", 0): "changed", ("tune", 1): "changed", ("tune", 3): "removed"}
        assert told(back)[1, "status"] == ('"SUCCEEDED"', '"PENDING"')


def test_experiments_that_were_created_dropped_and_changed(root: Path) -> None:
    with small_store(root) as store:
        other = store.create_experiment("other")
        other.register_trial({"x": 1})
        store.update_experiment("tune", metadata={})
        before = store.snapshot()
        store.drop_experiment("other")
        store.create_experiment("new", metadata={"odd": NAN}).register_trials([{"x": 1}, {"x": 2}])
        store.update_experiment("tune", max_trials=7, metadata={"who": "me"})
        diff = before.diff(store.snapshot())
        rows = {
            (row["experiment"], row["change"], row["field"]): row["after"]
            for row in diff.experiments.collect().to_dicts()
        }
        assert rows == {
            ("tune", "changed", "max_trials"): "7",
            ("tune", "changed", "metadata.who"): '"me"',
            ("other", "dropped", None): None,
            ("new", "created", None): None,
        }
        assert changes(diff) == {("other", 0): "removed", ("new", 0): "added", ("new", 1): "added"}


def test_rows_that_came_without_a_trial_that_changed(root: Path) -> None:
    with small_store(root) as store:
        trial = store["tune"].reserve_trial()
        assert trial is not None
        before = store.snapshot()
        trial.report(step=1, loss=2.0)
        store.flush()
        diff = before.diff(store.snapshot())
        assert changes(diff) == {}
        (row,) = diff.rows.collect().to_dicts()
        assert (row["table"], row["after"] - row["before"]) == ("metrics", 1)
        assert "nothing changed" not in str(diff)


def test_what_moves_between_files_is_no_change(root: Path) -> None:
    with small_store(root) as store:
        before = store.snapshot()
        store["tune"].flush()
        store.compact()
        diff = before.diff(store.snapshot())
        assert diff.is_empty
        assert changes(diff) == {}
        assert "nothing changed" in str(diff)


def test_only_files_that_differ_are_read(root: Path) -> None:
    """A part that both snapshots show alike may even be gone."""
    with small_store(root) as store:
        experiment = store["tune"]
        experiment.compact()
        before = store.snapshot()
        parts = [part for part in before.experiments[0].parts if part.table == "trials"]
        experiment.register_trial({"lr": 5.0}, reserve=True).success(loss=1.0)
        experiment.flush()
        diff = before.diff(store.snapshot())
        for part in parts:
            (root / part.blob_key("tune")).unlink()
        assert set(changes(diff).values()) == {"added"}
        assert diff.fields.collect().is_empty()


def test_it_agrees_with_a_comparison_of_all_rows(root: Path) -> None:
    """Whatever was done in between, flushes and compactions among it."""
    rng = random.Random(7)
    with ts.open(root, maintenance=False) as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        taken: list[Snapshot] = [store.snapshot()]
        for _ in range(6):
            for _ in range(rng.randrange(1, 5)):
                experiment.register_trial({"lr": rng.random(), "mixed": rng.choice([1, 1.0, "1", None])})
            for _ in range(rng.randrange(1, 4)):
                trial = experiment.reserve_trial()
                if trial is not None:
                    trial.success(loss=rng.choice([1, 1.5, NAN]))
            experiment.trial(rng.randrange(len(experiment))).annotate(note=rng.random())
            rng.choice([experiment.flush, experiment.compact, store.flush])()
            taken.append(store.snapshot())
        for one in taken:
            for other in taken:
                assert changes(one.diff(other)) == by_rows(one, other)


def by_rows(one: Snapshot, other: Snapshot) -> dict[tuple[str, int], str]:
    left, right = ({row[0]: repr(row) for row in all_rows(snapshot)} for snapshot in (one, other))
    found = {}
    for number in left.keys() | right.keys():
        if left.get(number) != right.get(number):
            found["tune", number] = "added" if number not in left else "removed" if number not in right else "changed"
    return found


def all_rows(snapshot: Snapshot) -> list[Any]:
    return snapshot.frame("trials").select("trial", "status", "attributes").collect().rows()


def test_another_store_is_refused(root: Path, tmp_path: Path) -> None:
    with small_store(root) as store, small_store(tmp_path / "other") as other:
        with pytest.raises(UsageError, match="one store"):
            store.snapshot().diff(other.snapshot())
        with pytest.raises(ExperimentNotFoundError):
            store.snapshot().only("none")


# In a shell


def run(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": None})
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_past_in_a_shell(root: Path) -> None:
    with small_store(root) as store:
        cited, number = store.snapshot().id, store["tune"].snapshot().experiments[0].seq
        assert run("snapshot", root).output.split()[0] == cited
        facts = json.loads(run("snapshot", root, "--json").stdout)
        assert (facts["id"], facts["experiments"][0]["seq"]) == (cited, number)
        assert run("snapshot", root, "tune").output.split()[0] == store["tune"].snapshot().id
        count = "SELECT count(*) AS n FROM trials"
        store["tune"].register_trial({"lr": 7.0})
        for moment, n in ((cited, 6), (f"tune={number}", 6), ("now", 7), ("0s", 7), ("2000-01-01T00:00:00Z", 0)):
            assert json.loads(run("sql", root, count, "--json", "--as-of", moment).stdout) == [{"n": n}], moment
        found = json.loads(run("diff", root, cited, "--json").stdout)
        assert [row["change"] for row in found["trials"]] == ["added"]
        assert found["before"] == cited
        assert "1 added" in run("diff", root, cited).output
        assert "1 removed" in run("diff", root, "now", cited).output
        assert "nothing changed" in run("diff", root, cited, cited).output
        assert "neither the id" in run("diff", root, "yesterday", code=1).output
        assert "no zone" in run("sql", root, count, "--as-of", "2026-11-21T01:02:03", code=1).output
        assert "too long ago" in run("diff", root, "9999999d", code=2).output
        store["tune"].trial(6).annotate(x="\x1b[31mred[bold]")
        assert "\x1b[31m" not in run("diff", root, cited).output


def test_a_damaged_file_is_told_as_such(root: Path) -> None:
    with ts.open(root, maintenance=False) as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        experiment.register_trial({"lr": 1}, reserve=True).success(loss=1)
        before = store.snapshot()
        experiment.flush()
        experiment.trial(0).annotate(tag=1)
        experiment.register_trial({"lr": 2}, reserve=True).success(loss=2)
        experiment.flush()
        diff = before.diff(store.snapshot())
        for path in root.glob("trials/*/*.parquet"):
            path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(DamagedError):
            str(diff)
