"""`merge`, `dump` and `load`: experiments copied between stores, with all that they hold."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import trialstore as ts
from trialstore.algorithms import INLINE_BYTES, lock_of
from trialstore.cli.app import app
from trialstore.merging import LOADING, merge
from trialstore.model.errors import DuplicateExperimentError, ExperimentNotFoundError, ReadOnlyError, UsageError
from trialstore.model.record import GIVEN, RECORD_FIELDS

TABLES = ("trials", "metrics", "telemetry", "status", "artifacts")


@pytest.fixture
def source(tmp_path: Path) -> ts.Store:
    """An experiment with all kinds of rows, partly in parts and partly in the journal, and a version of it."""
    store = ts.open(tmp_path / "source")
    one = store.create_experiment(
        "tune", metrics=[ts.Metric("loss")], metadata={"t": (1, math.inf)}, max_trials=9, algorithms={"tpe": {}}
    )
    for number in range(6):
        trial = one.register_trial({"x": number, "mixed": (1, "a")[number % 2]}, seed=number, reserve=True)
        trial.report({"step": number / 2}, step=number)
        trial.update_telemetry("running", trial.submitted_at, [(trial.submitted_at, "cpu", 0.5 + number)])
        trial.store({"log.txt": f"trial {number}"})
        if number == 2:
            trial.crashed("out of memory")
        elif number < 4:
            trial.success(loss=float(number))
        elif number == 4:
            trial.suspend()
        if number == 2:
            one.flush()
    one.delete_trials(1)
    one.set_document("note", {"b": b"\x00", "n": 2**70})
    with one.acquire_algorithm_lock() as algorithm:
        algorithm.state = b"s" * 2 * INLINE_BYTES
    store.create_experiment("tune", version=None, refers={"parent_id": one.id, "root_id": one.id, "adapter": []})
    store.create_experiment("other").register_trial({"y": 1})
    return store


@pytest.fixture
def target(tmp_path: Path) -> ts.Store:
    return ts.open(tmp_path / "target")


def rows(experiment: ts.Experiment, table: str) -> list[dict[str, Any]]:
    """The rows without what belongs to the store alone; statuses of trials that have not ended tell of the copy."""
    frame = experiment.snapshot().frame(table).collect()
    own = {"version", "seq", "worker", "path", "id" if table == "artifacts" else "", "runner"}
    found = frame.select([name for name in frame.columns if name not in own]).to_dicts()
    return sorted((row for row in found if row["trial"] < 4), key=repr)


def summary(done: list[Any]) -> list[tuple[str, int, str, int, int]]:
    return [(one.name, one.version, one.action, one.new_version, one.trials) for one in done]


def test_everything_is_copied(source: ts.Store, target: ts.Store) -> None:
    target.create_experiment("first")  # so that ids differ
    assert summary(merge(source, target)) == [
        ("tune", 1, "added", 1, 5),
        ("tune", 2, "added", 2, 0),
        ("other", 1, "added", 1, 1),
    ]
    old, new = source.experiment("tune", 1), ts.open(target.url).experiment("tune", 1)
    assert new.counts == {
        ts.Status.SUSPENDED: 1,
        ts.Status.INTERRUPTED: 1,
        ts.Status.SUCCEEDED: 2,
        ts.Status.CRASHED: 1,
    }
    for table in TABLES:
        assert rows(new, table) == rows(old, table), table
        assert rows(new, table) or table == "telemetry"
    assert [trial.number for trial in new.fetch_trials()] == [0, 2, 3, 4, 5]
    for number in (0, 2, 3):
        mine, theirs = new.trial(number), old.trial(number)
        assert dict(mine.params) == dict(theirs.params)
        assert (mine.seed, mine.exception, mine.submitted_at) == (theirs.seed, theirs.exception, theirs.submitted_at)
        assert mine.retrieve("log.txt") == f"trial {number}"
    assert new.metadata == {"t": (1, math.inf)}
    assert new.configuration["algorithms"] == {"tpe": {}}
    assert new.document("note")[1] == {"b": b"\x00", "n": 2**70}
    info = lock_of(new._ledger).info()
    assert info is not None
    assert (info.state, info.locked) == (b"s" * 2 * INLINE_BYTES, False)
    assert [attempt["status"] for attempt in new.trial(4).attempts] == ["SUSPENDED"]
    second = target.experiment("tune", 2)
    assert second.refers["parent_id"] == new.id != old.id
    assert target.verify().ok
    assert source.verify().ok


def test_every_member_of_a_trial_is_copied() -> None:
    said_otherwise = {"number", "id", "params", "status", "submitted_at", "seq", "session"}
    assert set(GIVEN) | said_otherwise == RECORD_FIELDS


def test_a_copy_goes_on(source: ts.Store, target: ts.Store) -> None:
    merge(source, target, ["tune"], version=1)
    one = target.experiment("tune")
    taken = [one.reserve_trial() for _ in range(3)]
    assert [trial and trial.number for trial in taken] == [4, 5, None]
    for trial in taken[:2]:
        assert trial is not None
        trial.success(loss=0.0)
    assert one.register_trial({"x": 99}).number == 6
    one.compact()
    assert target.verify().ok


def test_what_trials_took_is_known_of_a_copy(target: ts.Store, tmp_path: Path) -> None:
    one = ts.open(tmp_path / "timed").create_experiment("timed", metrics=[ts.Metric("loss")])
    for number in range(3):
        one.register_trial({"x": number}, reserve=True).success(loss=0.5)
    merge(ts.open(tmp_path / "timed"), target)
    assert target.experiment("timed").stats == one.stats
    assert one.stats.sum_of_trials_time.total_seconds() > 0


def test_forbidden_repeats_stay_forbidden(source: ts.Store, target: ts.Store) -> None:
    one = source.create_experiment("unique", metrics=[ts.Metric("loss")], repeats=False)
    one.register_trial({"x": 1}, reserve=True).success(loss=1.0)
    one.register_trial({"x": 2})
    merge(source, target, ["unique"])
    for value in (1, 2):
        with pytest.raises(ts.errors.DuplicateTrialError):
            target.experiment("unique").register_trial({"x": value})


def test_what_is_there_already_is_asked_about_before_anything_is_copied(source: ts.Store, target: ts.Store) -> None:
    there = target.create_experiment("other")
    with pytest.raises(DuplicateExperimentError, match="other version 1"):
        merge(source, target)
    assert target.experiments() == [there]
    with pytest.raises(UsageError, match="no such way"):
        merge(source, target, resolve="moo")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resolve", "action", "version", "trials"),
    [("ignore", "ignored", 1, 0), ("overwrite", "overwritten", 1, 1), ("bump", "bumped", 2, 1)],
)
def test_conflicts_are_resolved(
    source: ts.Store, target: ts.Store, resolve: Any, action: str, version: int, trials: int
) -> None:
    target.create_experiment("other").register_trials([{"mine": 1}, {"mine": 2}])
    assert summary(merge(source, target, ["other"], resolve=resolve)) == [("other", 1, action, version, trials)]
    assert len(target.experiment("other", 1)) == (1 if resolve == "overwrite" else 2)
    assert len(target.experiment("other")) == (2 if resolve == "ignore" else 1)


def test_branches_of_what_was_ignored_refer_to_it(source: ts.Store, target: ts.Store) -> None:
    merge(source, target, ["tune"], version=1)
    merge(source, target, ["tune"], resolve="ignore")
    assert target.experiment("tune", 2).refers["parent_id"] == target.experiment("tune", 1).id


def test_a_version_without_its_parent_becomes_a_root(source: ts.Store, target: ts.Store) -> None:
    merge(source, target, ["tune"], version=2)
    assert target.experiment("tune").refers["parent_id"] is None


def test_a_copy_that_was_cut_short_is_done_again(
    source: ts.Store, target: ts.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("trialstore.merging._copy_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            merge(source, target, ["tune"], version=1)
    assert target.experiment("tune").document(LOADING)[1] == source.url
    assert summary(merge(source, target, ["tune"], version=1)) == [("tune", 1, "added", 1, 5)]
    assert rows(target.experiment("tune"), "metrics") == rows(source.experiment("tune", 1), "metrics")


def test_what_cannot_be_merged(source: ts.Store, target: ts.Store) -> None:
    with pytest.raises(UsageError, match="into itself"):
        merge(source, ts.open(source.url))
    with pytest.raises(ExperimentNotFoundError, match="moo"):
        merge(source, target, ["moo", "tune"])
    with pytest.raises(ExperimentNotFoundError):
        merge(source, target, ["tune"], version=7)
    with pytest.raises(ReadOnlyError):
        merge(target, ts.open(source.url, mode="r"))


def test_a_source_is_only_read(source: ts.Store, target: ts.Store) -> None:
    before = source.snapshot().id
    merge(ts.open(source.url, mode="r"), target)
    assert source.snapshot().id == before


# On the command line


def run(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": None})
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_dump_and_load(source: ts.Store, tmp_path: Path) -> None:
    source.close()
    url, dump, back = tmp_path / "source", tmp_path / "dump", tmp_path / "back"
    assert "tune version 2: added, 0 trials" in run("dump", url, dump, "-e", "tune")
    assert "in the target already" in run("dump", url, dump, code=1)
    run("dump", url, dump, "--force")
    assert "other version 1: added, 1 trials" in run("load", back, dump)
    assert "in the target already" in run("load", back, dump, code=1)
    assert "tune version 1: ignored" in run("load", back, dump, "--resolve", "ignore")
    found = json.loads(run("load", back, dump, "-e", "other", "-r", "bump", "--json").split("\n", 1)[1])
    assert found == [{"name": "other", "version": 1, "action": "bumped", "new_version": 2, "trials": 1}]
    assert "as version 3" in run("merge", url, back, "-e", "other", "-r", "bump")
    run("load", back, dump, "-r", "moo", code=2)
    run("merge", tmp_path / "none", back, code=1)


def test_an_experiment_of_orion_is_known_to_it_by_another_id(source: ts.Store, target: ts.Store) -> None:
    def orion(**document: Any) -> dict[str, Any]:
        return {"tool": "orion", "orion": {"document": {"name": "tuned", "version": 1, **document}}}

    first = source.create_experiment("tuned", metadata=orion())
    refers = {"root_id": first.id, "parent_id": first.id, "adapter": []}
    source.create_experiment("tuned", version=2, metadata=orion(version=2, refers=refers))
    target.create_experiment("x", metadata=orion(name="x", _id=2))
    copies = [target.experiment("tuned", version=done.new_version) for done in merge(source, target, ["tuned"])]
    said = [copy.metadata["orion"]["document"] for copy in copies]
    assert [(copy.id, document["_id"], document["version"]) for copy, document in zip(copies, said, strict=True)] == [
        (2, 3, 1),  # the other experiment is called 2
        (3, 4, 2),
    ]
    assert said[1]["refers"] == {"root_id": 3, "parent_id": 3, "adapter": []}
