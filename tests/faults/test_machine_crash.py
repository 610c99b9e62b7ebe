"""The machine crashes: of the files that nobody forced to the disk any may be missing, empty, or hold anything."""

from __future__ import annotations

import os
import random
import shutil
import stat
import sys
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import pytest

import trialstore as ts
from trialstore.blobs import ahead, staging, turns
from trialstore.journal.batch import Draft
from trialstore.model.identity import params_hash
from trialstore.model.status import Status

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="calls of Linux")


class Disk:
    """What a disk holds of a store, as far as it was told to hold anything.

    Content is there when its file was flushed, a name when its folder was; `crashed` puts anything in the place of
    what is not.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.contents: dict[int, bytes] = {}
        self.names: dict[Path, int] = {}
        monkeypatch.setattr(turns, "can_write_ahead", lambda folder: True)
        monkeypatch.setattr(turns, "BEGIN_AT", 3)
        monkeypatch.setattr(staging, "push", self.flush)
        monkeypatch.setattr(staging, "_sync", self.flush)
        monkeypatch.setattr(os, "fsync", self.flush)
        monkeypatch.setattr(os, "fdatasync", self.flush)
        for module in (ahead, turns):
            monkeypatch.setattr(module, "force_all", lambda fd: self.flush_all())

    def flush(self, fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if path.is_dir():
            self.names = {name: inode for name, inode in self.names.items() if name.parent != path}
            self.names |= inodes(path.iterdir())
        else:
            size = os.fstat(fd).st_size
            self.contents[os.fstat(fd).st_ino] = os.pread(fd, size, 0)

    def flush_all(self) -> None:
        self.names = inodes(self.root.rglob("*"))
        self.contents |= {inode: path.read_bytes() for path, inode in self.names.items()}

    def crashed(self, after: Path, chance: random.Random) -> Path:
        """A folder as the disk may hold it when the machine has started anew."""
        shutil.copytree(self.root, after)
        for path in (path for path in self.root.rglob("*") if path.is_file()):
            copy = after / path.relative_to(self.root)
            inode = path.stat().st_ino
            if inode in self.contents and self.names.get(path) == inode:
                copy.write_bytes(self.contents[inode])
                continue
            match chance.randrange(4):
                case 0:
                    copy.unlink()
                case 1:
                    copy.write_bytes(b"")
                case 2:
                    copy.write_bytes(bytes(copy.stat().st_size))
                case _:
                    pass  # it was on its way, and arrived
        return after


def inodes(paths: Iterable[Path]) -> dict[Path, int]:
    """The files among these; another thread may remove its hidden ones meanwhile."""
    found = {}
    for path in paths:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            found[path] = status.st_ino
    return found


@pytest.fixture
def restart(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    boots = count()

    def restarted() -> None:
        name = f"boot {next(boots)}"
        monkeypatch.setattr(ahead, "boot_id", lambda: name)

    return restarted


def grown(root: Path, trials: int) -> ts.Store:
    store = ts.open(root, maintenance=False)
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
    for number in range(trials):
        experiment.register_trial({"x": number})
        trial = experiment.reserve_trial()
        assert trial is not None
        trial.success(loss=float(number))
    return store


def told(store: ts.Store) -> list[tuple[int, Status, float | None]]:
    return [
        (trial.number, trial.status, trial.metrics.get("loss") if trial.metrics else None)
        for trial in store.experiment("tune").trials()
    ]


@pytest.mark.parametrize("seed", range(12))
def test_what_was_acknowledged_is_there_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: Callable[[], None], seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(ahead, "_CAPACITIES", (1 << 12, 1 << 13))  # so that it is used up some times
    disk = Disk(tmp_path / "store", monkeypatch)
    with grown(tmp_path / "store", chance.randrange(1, 40)) as store:
        expected = told(store)
        after = disk.crashed(tmp_path / "after", chance)
    restart()
    with ts.open(after) as store:
        assert told(store) == expected
        assert store.verify().ok
        trial = store.experiment("tune").register_trial({"x": -1})
        assert trial.number == len(expected)


def test_and_after_another_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: Callable[[], None]) -> None:
    disk = Disk(tmp_path / "store", monkeypatch)
    with grown(tmp_path / "store", 10) as store:
        expected = told(store)
        disk.crashed(tmp_path / "once", random.Random(1))
    for number, name in enumerate(("once", "twice")):
        restart()
        disk = Disk(tmp_path / name, monkeypatch)
        disk.flush_all()  # what was there when the machine started
        with ts.open(tmp_path / name, maintenance=False) as store:
            store.experiment("tune").register_trial({"x": -1 - number})
            expected.append((len(expected), Status.PENDING, None))
            assert told(store) == expected
            disk.crashed(tmp_path / {"once": "twice", "twice": "thrice"}[name], random.Random(number))
    restart()
    with ts.open(tmp_path / "thrice") as store:
        assert told(store) == expected


@pytest.mark.parametrize("seed", range(12))
def test_what_nobody_forced_is_lost_from_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: Callable[[], None], seed: int
) -> None:
    """Commits that wait for the next one to be forced: any number of the last is lost, and none in between."""
    chance = random.Random(seed)
    monkeypatch.setattr(ahead, "_CAPACITIES", (1 << 12, 1 << 13))
    disk = Disk(tmp_path / "store", monkeypatch)
    with grown(tmp_path / "store", 2) as store, ts.open(tmp_path / "store", maintenance=False) as other:
        for number in range(chance.randrange(1, 30)):
            writer = chance.choice((store, other)).experiment("tune")
            if chance.random() < 0.3:
                writer.register_trial({"x": f"forced {number}"})
            else:
                registered(writer, f"not forced {number}")
            if chance.random() < 0.2:
                with monkeypatch.context() as alone:  # somebody who does not get the lock, and waits for nobody
                    alone.setattr(turns.Turns, "ahead", lambda *_: None)
                    writer.register_trial({"x": f"forced beside {number}"})
        expected = labels(store)
        after = disk.crashed(tmp_path / "after", chance)
    for mode in ("r", "rw"):
        restart()
        with ts.open(after, mode=mode) as store:
            found = labels(store)
            assert found == expected[: len(found)]
            assert not any(str(lost).startswith("forced") for lost in expected[len(found) :])
            assert mode == "r" or store.verify().ok
    with ts.open(after) as store:
        assert store.experiment("tune").register_trial({"x": "next"}).number == len(found)


def test_what_nobody_forced_is_forced_when_the_store_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: Callable[[], None]
) -> None:
    disk = Disk(tmp_path / "store", monkeypatch)
    with grown(tmp_path / "store", 2) as store:
        registered(store.experiment("tune"), "not forced")
        assert store.experiment("tune")._ledger.has_waiting
    after = disk.crashed(tmp_path / "after", random.Random(0))
    restart()
    with ts.open(after) as store:
        assert labels(store) == [0, 1, "not forced"]


def test_a_checkpoint_forces_what_it_tells_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path / "store", monkeypatch)
    with grown(tmp_path / "store", 2) as store:
        registered(store.experiment("tune"), "not forced")
        before = dict(disk.contents)
        store.experiment("tune")._ledger.journal.checkpoint()
        (written,) = (tmp_path / "store" / ".ahead").glob("journal%2Fexperiment*")
        assert disk.contents[written.stat().st_ino] != before[written.stat().st_ino]


def test_what_another_process_waits_for_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: Callable[[], None]
) -> None:
    disk = Disk(tmp_path / "store", monkeypatch)
    with grown(tmp_path / "store", 2) as store, ts.open(tmp_path / "store", maintenance=False) as other:
        journal = other.experiment("tune")._ledger.journal
        journal.post(Draft("register", {"trials": [{"id": params_hash({"x": "forced"}), "params": {"x": "forced"}}]}))
        journal._sender._post(journal._take_batch())
        registered(store.experiment("tune"), "not forced")
        assert set(labels(store)) == {0, 1, "forced", "not forced"}
        after = disk.crashed(tmp_path / "after", random.Random(0))
    restart()
    with ts.open(after) as store:
        assert "forced" in labels(store)


def registered(experiment: ts.Experiment, label: str) -> None:
    """A trial that a crash may take, as long as nothing later is forced."""
    body = {"id": params_hash({"x": label}), "params": {"x": label}}
    (outcome,) = experiment._ledger.execute(Draft("register", {"trials": [body]}), force=False)
    assert outcome.reason is None


def labels(store: ts.Store) -> list[object]:
    return [trial.params["x"] for trial in store.experiment("tune").trials()]


def test_who_may_only_read_sees_it_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: Callable[[], None]
) -> None:
    disk = Disk(tmp_path / "store", monkeypatch)
    with grown(tmp_path / "store", 10) as store:
        expected = told(store)
        after = disk.crashed(tmp_path / "after", random.Random(3))
    before = {path: path.read_bytes() for path in after.rglob("*") if path.is_file()}
    restart()
    for _ in range(2):
        with ts.open(after, mode="r") as store:
            assert told(store) == expected
            assert store.experiment("tune").history().collect().height == 10
    assert {path: path.read_bytes() for path in after.rglob("*") if path.is_file()} == before


def test_what_is_of_another_history_is_not_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: Callable[[], None]
) -> None:
    """A store that was put back from an older copy, beside what was written ahead since."""
    Disk(tmp_path / "store", monkeypatch)
    with grown(tmp_path / "store", 4):
        shutil.copytree(tmp_path / "store", tmp_path / "copy")
    with ts.open(tmp_path / "copy", maintenance=False) as store:
        store.experiment("tune").register_trial({"x": "another"})
        expected = told(store)
    with ts.open(tmp_path / "store", maintenance=False) as store:
        store.experiment("tune").register_trials([{"x": 10 + number} for number in range(3)])
        store.experiment("tune").register_trial({"x": 20})
    shutil.rmtree(tmp_path / "copy" / ".ahead")
    shutil.copytree(tmp_path / "store" / ".ahead", tmp_path / "copy" / ".ahead")
    restart()
    with ts.open(tmp_path / "copy") as store:
        assert told(store) == expected
