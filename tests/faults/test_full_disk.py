"""A disk that is truly full: a clear error, nothing half written, and on it goes when there is space again.

The disk is a file system in memory of a few megabytes. Each deed is tried with no page left, one page, two, and so on,
until it succeeds, so that the space runs out at each of its writes in turn.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import trialstore as ts
from trialstore.model.errors import NotFoundError, StorageFullError

PAGE = 4096
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TABLES = ("trials", "metrics", "telemetry", "status", "artifacts")


class Disk:
    """A small disk, and what fills it up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ballast = root / "ballast"

    def free(self) -> int:
        there = os.statvfs(self.root)
        return there.f_bavail * there.f_frsize // PAGE

    def leave(self, pages: int) -> None:
        """Fill it but for so many pages."""
        with open(self._ballast, "ab", buffering=0) as ballast:
            ballast.write(bytes((self.free() - pages) * PAGE))
        assert self.free() == pages

    def clear(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "trialstore-test", str(root)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a disk that fills up needs the right to mount: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


@pytest.fixture
def store(disk: Disk) -> Iterator[ts.Store]:
    with ts.open(disk.root / "store", maintenance=False, linger_s=3600, lease_s=3600) as store:
        store.create_experiment("tune", metrics=[ts.Metric("loss")])
        yield store


def facts(disk: Disk) -> dict[str, list[Any]]:
    """All rows, as somebody else reads them."""
    reader = ts.open(disk.root / "store", mode="r")
    assert reader.verify().problems == []
    return {table: sorted(reader.frame(table).collect().rows(), key=repr) for table in TABLES}


def files(disk: Disk) -> set[str]:
    """All that lies there, temporary files too, but not what a process locks."""
    names = {str(path.relative_to(disk.root)) for path in disk.root.rglob("*") if path.is_file()}
    return {name for name in names if "/.locks/" not in name and name != "ballast"}


def each_space(disk: Disk, deed: Callable[[], Any], check: Callable[[], None]) -> int:
    """Try with ever more pages until it succeeds; how often the disk was too full.

    After each failure `check` looks, while the disk is full and when it is not any more.
    """
    failed = 0
    for pages in range(400):
        disk.leave(pages)
        try:
            deed()
        except StorageFullError as error:
            failed += 1
            told = str(error)
            assert "no space left" in told
            assert "free space" in told
            check()
            disk.clear()
            check()
        else:
            disk.clear()
            return failed
    raise AssertionError("it never succeeded")


def run_one(experiment: ts.Experiment, *, samples: int = 3) -> ts.Trial:
    trial = experiment.register_trial({"x": 1.0, "note": "é" * 50}, reserve=True)
    log(trial, samples)
    trial.success(loss=0.5)
    return trial


def log(trial: ts.Trial, samples: int = 3) -> None:
    trial.report(step=1, loss=1.0)
    times = [NOON + timedelta(seconds=n) for n in range(samples)]
    frame = pl.DataFrame({"at": times, "name": ["cpu"] * samples, "value": [0.5] * samples})
    trial.update_telemetry(trial.status, NOON, frame)


def test_a_life_cycle_on_a_full_disk(disk: Disk, store: ts.Store) -> None:
    """Each call either fails as a whole, or is there for everybody."""
    experiment = store["tune"]
    run_one(experiment)
    before: dict[str, Any] = {}

    def unchanged() -> None:
        assert facts(disk) == before["facts"]

    held: list[ts.Trial] = []

    def register() -> None:
        experiment.register_trial({"x": 2.0})

    def claim() -> None:
        trial = experiment.reserve_trial()
        assert trial is not None
        held.append(trial)

    def finish() -> None:
        held[0].success(loss=0.25)

    for deed in (register, claim, finish):
        if deed is finish:
            log(held[0], samples=2000)
        before["facts"] = facts(disk)
        assert each_space(disk, deed, unchanged) > 0
        assert facts(disk) != before["facts"]
    assert [trial.number for trial in held] == [1]
    rows = facts(disk)
    assert sum(row[2] == 1 for row in rows["telemetry"]) == 2000
    assert sum(row[2] == 1 for row in rows["metrics"]) == 1
    assert experiment.counts == {ts.Status.SUCCEEDED: 2}


def test_a_flush_on_a_full_disk(disk: Disk, store: ts.Store) -> None:
    experiment = store["tune"]
    for _ in range(3):
        run_one(experiment)
        trial = experiment.register_trial({}, reserve=True)
        trial.store({"notes.txt": "first run"})
        trial.fail()
    before, there = facts(disk), files(disk)

    def unchanged() -> None:
        assert facts(disk) == before
        assert files(disk) - there == set()

    assert each_space(disk, experiment.flush, unchanged) >= 4
    assert facts(disk) == before
    assert len(files(disk) - there) >= 4


def test_a_compaction_on_a_full_disk(disk: Disk, store: ts.Store) -> None:
    experiment = store["tune"]
    for _ in range(3):
        run_one(experiment)
        experiment.flush()
    before = facts(disk)

    def unchanged() -> None:
        assert facts(disk) == before

    assert each_space(disk, lambda: experiment.compact(grace=timedelta(0)), unchanged) >= 4
    assert facts(disk) == before
    assert [len(list((disk.root / "store").glob(f"{table}/*/*.parquet"))) for table in TABLES[:4]] == [1] * 4


def test_an_artifact_on_a_full_disk(disk: Disk, store: ts.Store) -> None:
    trial = store["tune"].register_trial({}, reserve=True)
    before, there = facts(disk), files(disk)
    big = os.urandom(10 * PAGE)

    def unchanged() -> None:
        assert facts(disk) == before
        assert files(disk) - there == set()
        with pytest.raises(NotFoundError):
            trial.retrieve("big.bin")

    assert each_space(disk, lambda: trial.store({"big.bin": big}), unchanged) >= 10
    assert trial.retrieve("big.bin") == big
    trial.success(loss=1.0)
    (row,) = facts(disk)["artifacts"]
    assert "big.bin" in row
    assert len(big) in row


def test_an_import_on_a_full_disk(disk: Disk, store: ts.Store) -> None:
    experiment = store["tune"]
    before, there = facts(disk), files(disk)

    def unchanged() -> None:
        assert facts(disk) == before
        assert not [name for name in files(disk) - there if name.endswith(".parquet")]

    trials = [{"params": {"x": n}, "metrics": {"loss": n / 2}} for n in range(50)]
    assert each_space(disk, lambda: experiment.import_trials(trials), unchanged) >= 2
    assert len(facts(disk)["trials"]) == 50


def test_what_waits_in_memory_is_kept_until_there_is_space(disk: Disk, store: ts.Store) -> None:
    """Reports that could not be committed in the background are not lost."""
    experiment = store["tune"]
    trial = experiment.register_trial({}, reserve=True)
    disk.leave(0)
    log(trial, samples=1000)
    with pytest.raises(StorageFullError):
        experiment._ledger.commit_buffered()
    log(trial, samples=1000)
    disk.clear()
    trial.success(loss=1.0)
    rows = facts(disk)
    assert (len(rows["telemetry"]), len(rows["metrics"])) == (1000, 2)


def test_a_store_is_read_on_a_disk_that_is_full(disk: Disk, store: ts.Store) -> None:
    run_one(store["tune"])
    before = facts(disk)
    disk.leave(0)
    assert facts(disk) == before
    assert ts.open(disk.root / "store", mode="r").sql("SELECT count(*) FROM trials").fetchone() == (1,)
    with pytest.raises(StorageFullError):
        ts.open(disk.root / "another")["tune"]
