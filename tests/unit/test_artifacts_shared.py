"""Equal bytes of an experiment are one blob, and it goes only when nobody can name it any more."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import trialstore as ts
from trialstore.artifacts import transfer
from trialstore.artifacts.store import blob_folder
from trialstore.journal.journal import Draft
from trialstore.maintenance import vacuum as vacuum_module
from trialstore.model.errors import DamagedError, StorageFullError, TrialStoreError, UsageError

FOLDER = blob_folder("tune")
DAY = timedelta(days=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def experiment(root: Path) -> Iterator[ts.Experiment]:
    with ts.open(root, durability="process") as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        experiment.register_trials([{"x": n} for n in range(4)])
        yield experiment


def claimed(experiment: ts.Experiment) -> ts.Trial:
    trial = experiment.reserve_trial()
    assert trial is not None
    return trial


def blobs(root: Path) -> set[str]:
    return (
        {name for name in os.listdir(root / FOLDER) if not name.startswith(".")} if (root / FOLDER).exists() else set()
    )


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def grow_old(root: Path, age: timedelta) -> None:
    for path in (root / FOLDER).iterdir():
        time = path.stat().st_mtime - age.total_seconds()
        os.utime(path, (time, time))


def vacuum_later(experiment: ts.Experiment, monkeypatch: pytest.MonkeyPatch, hours: float) -> list[str]:
    """What a vacuum deletes so many hours from now; returns the blobs."""
    from trialstore.maintenance import waste

    now = waste.time_of
    with monkeypatch.context() as patch:
        patch.setattr(waste, "time_of", lambda *args, **kwargs: now(*args, **kwargs) + timedelta(hours=hours))
        return [item.blob for item in experiment.vacuum(grace=timedelta(0)) if item.blob.startswith(FOLDER)]


def test_equal_bytes_are_one_blob_whatever_they_are_called(
    experiment: ts.Experiment, root: Path, tmp_path: Path
) -> None:
    one, two = claimed(experiment), claimed(experiment)
    source = tmp_path / "source"
    source.write_bytes(b"hello")
    stored = one.store({"a.txt": "hello", "b.bin": b"hello"}) + two.store({"deep/c": source, "a.txt": "hello"})
    assert blobs(root) == {digest(b"hello")}
    assert len({artifact.id for artifact in stored}) == 4
    assert {artifact.path for artifact in stored} == {FOLDER + digest(b"hello")}
    assert [two.retrieve("deep/c"), two.retrieve("a.txt"), one.retrieve("b.bin")] == [b"hello", "hello", b"hello"]
    assert experiment.verify().problems == []


def test_storing_the_same_again_changes_nothing(experiment: ts.Experiment) -> None:
    trial = claimed(experiment)
    (first,) = trial.store({"a.txt": "1"})
    assert trial.store({"a.txt": "1"}) == [first]
    (other,) = trial.store({"a.txt": b"1"})
    assert (other.loader, other.path) == ("bytes", first.path)
    trial.success(loss=1)
    assert experiment.artifacts().collect().select("name", "loader").rows() == [("a.txt", "bytes")]
    assert experiment.trial(0).retrieve("a.txt") == b"1"


def test_deleting_one_leaves_those_that_share_its_bytes(
    experiment: ts.Experiment, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = claimed(experiment), claimed(experiment)
    for trial in (one, two):
        trial.store({"a.txt": "same"})
    one.success(loss=1)
    two.success(loss=2)
    experiment.flush()
    one.delete_from_storage(["a.txt"])
    assert one.artifacts() == {}
    assert experiment.trial(1).retrieve("a.txt") == "same"
    for hours in (3, 6, 9):
        assert vacuum_later(experiment, monkeypatch, hours) == []
    experiment.compact(grace=timedelta(0))
    assert experiment.trial(1).retrieve("a.txt") == "same"
    two.delete_from_storage(["a.txt"])
    assert vacuum_later(experiment, monkeypatch, 3) == []
    assert blobs(root) == {digest(b"same")}
    assert vacuum_later(experiment, monkeypatch, 6) == [FOLDER + digest(b"same")]
    assert blobs(root) == set()
    assert experiment.verify().problems == []
    with experiment._ledger.journal.view() as state:
        assert state.manifest.retired_blobs == {}


def test_bytes_that_come_again_between_two_vacuums_take_a_path_of_their_own(
    experiment: ts.Experiment, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer stores, and commits the row only after the second vacuum has looked at all rows."""
    one, two = claimed(experiment), claimed(experiment)
    one.store({"a.txt": "same"})
    one.delete_from_storage(["a.txt"])
    assert vacuum_later(experiment, monkeypatch, 3) == []
    (again,) = two.store({"b.txt": "same"})
    assert again.path.startswith(FOLDER + digest(b"same") + "~")
    assert vacuum_later(experiment, monkeypatch, 6) == [FOLDER + digest(b"same")]
    two.success(loss=1)
    assert experiment.trial(1).retrieve("b.txt") == "same"
    assert blobs(root) == {again.path.removeprefix(FOLDER)}
    assert experiment.verify().problems == []
    three = claimed(experiment)
    assert three.store({"c.txt": "same"})[0].path == FOLDER + digest(b"same")


def test_bytes_that_were_stored_before_they_were_retired_stay(
    experiment: ts.Experiment, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of a writer that shared them comes after the vacuum that retired them."""
    trial = claimed(experiment)
    trial.store({"a.txt": "slow"})
    grow_old(root, 2 * DAY)
    with ts.open(root) as other:
        assert [item.blob for item in other["tune"].vacuum() if item.blob.startswith(FOLDER)] == []
    with experiment._ledger.journal.view() as state:
        assert list(state.manifest.retired_blobs) == [FOLDER + digest(b"slow")]
    trial.success(loss=1)
    for hours in (30, 60, 90):
        assert vacuum_later(experiment, monkeypatch, hours) == []
    with experiment._ledger.journal.view() as state:
        assert state.manifest.retired_blobs == {}, "it is named, so that others may share it again"
    assert experiment.trial(0).retrieve("a.txt") == "slow"


def test_a_vacuum_deletes_only_what_it_claimed(
    experiment: ts.Experiment, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look and its deletion, another vacuum deletes the blob, and a writer makes it anew."""
    trial = claimed(experiment)
    trial.store({"a.txt": "same"})
    trial.delete_from_storage(["a.txt"])
    vacuum_later(experiment, monkeypatch, 3)
    look = vacuum_module._named_in_parts

    def overtaken(*arguments: object) -> set[str]:
        named = look(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(vacuum_module, "_named_in_parts", look)
        with ts.open(root) as other:
            assert vacuum_later(other["tune"], monkeypatch, 6) == [FOLDER + digest(b"same")]
        trial.store({"b.txt": "same"})
        return named

    monkeypatch.setattr(vacuum_module, "_named_in_parts", overtaken)
    assert vacuum_later(experiment, monkeypatch, 6) == []
    trial.success(loss=1)
    assert experiment.trial(0).retrieve("b.txt") == "same"


def test_what_nobody_named_goes_with_the_second_vacuum(
    experiment: ts.Experiment, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer was killed before it committed the row."""
    (root / FOLDER).mkdir(parents=True)
    (root / FOLDER / digest(b"lost")).write_bytes(b"lost")
    assert vacuum_later(experiment, monkeypatch, 0) == []
    grow_old(root, 2 * DAY)
    assert vacuum_later(experiment, monkeypatch, 0) == []
    before = experiment._ledger.journal
    with before.view() as state:
        seq = state.seq
    dry = [item for item in experiment.vacuum(grace=timedelta(0), dry_run=True) if item.blob.startswith(FOLDER)]
    assert dry == []
    assert vacuum_later(experiment, monkeypatch, 1) == [], "two hours after it was retired, not after it was written"
    with before.view() as state:
        assert state.seq == seq
    assert vacuum_later(experiment, monkeypatch, 2.1) == [FOLDER + digest(b"lost")]


def test_retiring_is_in_the_checkpoint(experiment: ts.Experiment, root: Path) -> None:
    path = FOLDER + digest(b"x")
    journal = experiment._ledger.journal
    *_, outcome = journal.execute(Draft("retire_blobs", {"blobs": {path: None}}))
    assert outcome.value == [path]
    *_, outcome = journal.execute(Draft("retire_blobs", {"blobs": {path: None}}))
    assert outcome.value == []
    experiment.checkpoint()
    with ts.open(root) as other, other["tune"]._ledger.journal.view() as state:
        assert list(state.manifest.retired_blobs) == [path]


def test_verify_names_artifacts_whose_bytes_are_gone_damaged_or_others(experiment: ts.Experiment, root: Path) -> None:
    trial = claimed(experiment)
    gone, damaged = trial.store({"gone.txt": "1", "damaged.txt": "22", "twice.txt": "22"})[:2]
    trial.success(loss=1)
    (root / gone.path).unlink()
    (root / damaged.path).write_bytes(b"23")
    found = {problem.blob: (problem.kind, problem.what) for problem in experiment.verify().problems}
    assert found[gone.path] == ("missing", "artifact 'gone.txt' of trial 0 is gone")
    assert found[damaged.path][0] == "damaged"
    wrong = [0, 1, "evil", FOLDER + digest(b"1"), 1, digest(b"other"), damaged.at, "bytes", "01JD"]
    experiment._ledger.journal.execute(Draft("rows", {"table": "artifacts", "rows": [wrong]}))
    kinds = {problem.blob: problem.kind for problem in experiment.verify().problems}
    assert kinds[gone.path] == "mismatch"


def test_large_files_come_and_go_in_pieces(experiment: ts.Experiment, root: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(9 << 20)
    source, target = tmp_path / "source.bin", tmp_path / "target.bin"
    source.write_bytes(data)
    trial = claimed(experiment)
    threads = set(threading.enumerate())
    by_path, in_memory = trial.store({"a.bin": source, "b.bin": data})
    assert by_path.path == in_memory.path == FOLDER + digest(data)
    trial.retrieve_file("a.bin", target)
    assert target.read_bytes() == data
    assert set(threading.enumerate()) <= threads | {t for t in threading.enumerate() if t.name == "trialstore-session"}
    (root / by_path.path).write_bytes(data[:-1] + b"!")
    with pytest.raises(DamagedError, match="does not hold what was stored"):
        trial.retrieve_file("a.bin", tmp_path / "damaged.bin")
    assert not (tmp_path / "damaged.bin").exists()
    with pytest.raises(UsageError, match="cannot be written"):
        trial.retrieve_file("a.bin", tmp_path / "no" / "folder")
    with pytest.raises(UsageError, match="cannot be read"):
        trial.store({"c.bin": tmp_path / "absent"})
    assert sorted(os.listdir(tmp_path)) == ["source.bin", "store", "target.bin"]


def test_a_full_disk_while_a_file_is_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageFullError), transfer.write_file(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []
    with pytest.raises(TrialStoreError), transfer.write_file(tmp_path / "a"):
        raise OSError(5, "Input/output error")


def test_a_digest_of_pieces_is_that_of_the_whole() -> None:
    chance = np.random.default_rng(1)
    for count in (0, 1, 2, 30):
        pieces = [chance.bytes(int(chance.integers(0, 5000))) for _ in range(count)]
        told = transfer.Digest()
        for piece in pieces:
            told.update(piece)
        assert told.hexdigest() == told.hexdigest() == digest(b"".join(pieces))
