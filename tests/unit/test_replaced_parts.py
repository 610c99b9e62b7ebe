"""Files of replaced parts are kept from the commit that replaced them on, whatever its writer's clock said."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.protocol import BlobInfo
from trialstore.journal import batch as batch_module
from trialstore.maintenance.replaced import outlived
from trialstore.model.times import format_time

HOUR = timedelta(hours=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def experiment(root: Path) -> ts.Experiment:
    """Two parts of every table, which a compaction merges."""
    made = ts.open(str(root), maintenance=False).create_experiment("tune", metrics=[ts.Metric("loss")])
    for x in range(2):
        made.register_trial({"x": x}, reserve=True).success(loss=float(x))
        made.flush()
    return made


def parts(root: Path) -> set[Path]:
    return set(root.glob("trials/*/*.parquet"))


def committed_late(monkeypatch: pytest.MonkeyPatch, experiment: ts.Experiment) -> None:
    """Compact as a process does that is suspended for two hours before each of its commits."""
    with monkeypatch.context() as patched:
        patched.setattr(batch_module, "now_text", lambda: format_time(datetime.now(UTC) - 2 * HOUR))
        experiment.compact(grace=HOUR)


def grow_old(root: Path, age: timedelta, pattern: str) -> None:
    then = (datetime.now(UTC) - age).timestamp()
    for path in root.glob(pattern):
        os.utime(path, (then, then))


def test_who_took_a_snapshot_before_a_late_replace_finds_all_files(
    root: Path, experiment: ts.Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, before = experiment.snapshot(), parts(root)
    committed_late(monkeypatch, experiment)
    assert len(parts(root)) == len(before) + 1
    experiment.compact(grace=HOUR)
    experiment.vacuum(grace=HOUR)
    assert before <= parts(root)
    assert sorted(snapshot.frame("trials").collect()["trial"].to_list()) == [0, 1]


def test_they_go_when_the_commit_is_old_enough(
    root: Path, experiment: ts.Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = parts(root)
    committed_late(monkeypatch, experiment)
    grow_old(root, 2 * HOUR, "journal/*/*.jsonl")
    assert experiment.compact(grace=HOUR).deleted_files == 2 * 2  # of the tables trials and status
    assert not before & parts(root)
    with experiment._ledger.journal.view() as state:
        assert state.manifest.replaced_by == {} == state.manifest.retired


def test_without_a_grace_they_go_at_once(root: Path, experiment: ts.Experiment) -> None:
    assert experiment.compact(grace=timedelta(0)).deleted_files == 2 * 2
    assert len(parts(root)) == 1


def test_a_new_process_knows_the_commit_from_the_checkpoint(
    root: Path, experiment: ts.Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed_late(monkeypatch, experiment)
    with experiment._ledger.journal.view() as state:
        known = dict(state.manifest.replaced_by)
    assert known
    with ts.open(str(root), maintenance=False) as other:
        ledger = other.experiment("tune")._ledger
        with ledger.journal.view() as state:
            assert state.manifest.replaced_by == known
        assert outlived(ledger.blobs, ledger.key, ledger.journal, HOUR, datetime.now(UTC)) == {}


class Truncated(LocalBlobs):
    """Blobs of which some commits are gone, as their history is."""

    gone = ""

    def info(self, key: str) -> BlobInfo | None:
        return None if key.startswith("journal/") and key <= self.gone else super().info(key)

    def list(self, prefix: str) -> Any:
        return (info for info in super().list(prefix) if not prefix.startswith("journal/") or info.key > self.gone)


@pytest.mark.parametrize(("oldest_left", "goes"), [(HOUR / 2, False), (2 * HOUR, True)])
def test_of_a_commit_that_is_gone_the_oldest_that_is_left_says_how_old_it_is(
    root: Path, experiment: ts.Experiment, monkeypatch: pytest.MonkeyPatch, oldest_left: timedelta, goes: bool
) -> None:
    committed_late(monkeypatch, experiment)
    ledger = experiment._ledger
    grow_old(root, oldest_left, "journal/*/*.jsonl")
    blobs = Truncated(str(root))
    with ledger.journal.view() as state:
        blobs.gone = ledger.journal._log.blob(max(state.manifest.replaced_by.values()))
    found = outlived(blobs, ledger.key, ledger.journal, HOUR, datetime.now(UTC))
    assert bool(found) is goes
