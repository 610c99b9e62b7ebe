"""Stores that nobody looks after stay small: what processes do in the background beside their work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import trialstore as ts
from trialstore.blobs.memory import MemoryBlobs
from trialstore.blobs.protocol import BlobInfo
from trialstore.chores import Chores
from trialstore.journal import retention
from trialstore.maintenance import compact as compact_module
from trialstore.maintenance import round as round_module
from trialstore.model import times
from trialstore.model.errors import StoreUnavailableError
from trialstore.model.identity import new_ulid

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class Clock:
    """The one clock of the machine and of the storage."""

    def __init__(self) -> None:
        self.now = START

    def time_ns(self) -> int:
        return (self.now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000

    def __getattr__(self, name: str) -> Any:
        import time

        return getattr(time, name)


class Clocked(MemoryBlobs):
    """Blobs in memory that are dated by a clock."""

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__(name)
        self.clock = clock
        self.written: dict[str, datetime] = {}

    def create(self, key: str, data: bytes) -> bool:
        created = super().create(key, data)
        if created:
            self.written[key] = self.clock.now
        return created

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        super().write(key, data, durable=durable)
        self.written[key] = self.clock.now

    def info(self, key: str) -> BlobInfo | None:
        info = super().info(key)
        return None if info is None else self._dated(info)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        return map(self._dated, super().list(prefix))

    def _dated(self, info: BlobInfo) -> BlobInfo:
        return BlobInfo(info.key, info.size_bytes, self.written.get(info.key, self.clock.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(times, "time", clock)
    monkeypatch.setattr(retention, "clock", lambda: ((clock.now - START).total_seconds(), 0.0))
    # Small numbers, so that a short test is a long time.
    for path, value in (
        ("journal.replica.ROUND_EVERY", 16),
        ("journal.replica.CHECKPOINT_EVERY", 32),
        ("ledger.FLUSH_TRIALS", 16),
        ("maintenance.compact._TIER", 4),
        ("buffer.JOURNAL_ROWS", 2),
    ):
        monkeypatch.setattr(f"trialstore.{path}", value)
    return clock


@pytest.fixture
def blobs(clock: Clock) -> Clocked:
    return Clocked(f"tests/{new_ulid()}", clock)


def live(blobs: Clocked, number: int, *, maintenance: bool) -> None:
    """A short process: it takes or makes a trial, logs, and ends; every fifth one is killed in the middle."""
    store = ts.open(blobs, maintenance=maintenance, lease_s=3600)
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")], exist_ok=True)
    trial = experiment.reserve_trial() or experiment.register_trial({"x": number}, reserve=True)
    now = blobs.clock.now
    if number % 5 == 4:
        blobs.write(f"metrics/experiment=tune/{new_ulid()}.parquet", b"killed before it was announced")
        blobs.write(f"inbox/experiment=tune/{new_ulid()}-1-1.jsonl", b"nobody waits for it")
        store._session._wake.set()
        return
    trial.update_telemetry(trial.status, now, [(now + timedelta(seconds=k), "cpu", k / 4) for k in range(3)])
    trial.success(loss=float(number))
    store.close()


def weeks(blobs: Clocked, lives: int, *, maintenance: bool) -> list[int]:
    """So many processes over six weeks; how many blobs there are at the end of each."""
    sizes = []
    for number in range(lives):
        live(blobs, number, maintenance=maintenance)
        blobs.clock.now += 42 * DAY / lives
        if (number + 1) % (lives // 6) == 0:
            sizes.append(sum(1 for _ in blobs.list("")))
    return sizes


def test_short_workers_keep_a_store_small_for_weeks(blobs: Clocked) -> None:
    sizes = weeks(blobs, 600, maintenance=True)
    assert max(sizes[2:]) <= 1.3 * sizes[1], sizes
    assert max(sizes) < 1500, sizes
    with ts.open(blobs, maintenance=False) as store:
        assert store.verify().problems == []
        assert store["tune"].counts[ts.Status.SUCCEEDED] == 480
        assert store.frame("telemetry").collect().height == 480 * 3
        with store["tune"]._ledger.journal.view() as state:
            assert len(state.sessions) < 300
            assert state.manifest.disowned == {} or len(state.manifest.disowned) < 50
        oldest = next(blobs.list("journal/experiment=tune/"))
        assert blobs.clock.now - oldest.modified_at < 16 * DAY
        # Within the retention the past is all there.
        then = blobs.clock.now - 6.9 * DAY
        past = store["tune"].snapshot(as_of=then)
        assert 3 * 370 < past.frame("telemetry").collect().height < 3 * 430
        assert past.sql("SELECT count(*) FROM trials WHERE status = 'SUCCEEDED'").fetchone()[0] in range(370, 430)


def test_without_maintenance_the_same_store_grows(blobs: Clocked) -> None:
    """The other test could not fail if this one did."""
    sizes = weeks(blobs, 120, maintenance=False)
    assert sizes[-1] > 4 * sizes[0]


def test_one_process_cleans_up_in_a_stretch_of_time(blobs: Clocked) -> None:
    for number in range(8):
        live(blobs, number, maintenance=False)
    blobs.clock.now += 2 * DAY
    ledger = ts.open(blobs, maintenance=False)["tune"]._ledger
    cleaned = []
    for _ in range(3):
        before = {info.key for info in blobs.list("")}
        round_module.Round(blobs, 7 * 86400.0).experiment(ledger.key, ledger.stored, ledger.journal)
        cleaned.append({key.split("/")[0] for key in before - {info.key for info in blobs.list("")}})
    assert cleaned == [{"metrics", "inbox"}, set(), set()]
    day = int(blobs.clock.now.timestamp() // 86400)
    assert [info.key for info in blobs.list("upkeep/")] == [f"upkeep/experiment=tune/{day:010d}"]
    blobs.clock.now += DAY
    round_module.Round(blobs, 7 * 86400.0).experiment(ledger.key, ledger.stored, ledger.journal)
    assert [info.key for info in blobs.list("upkeep/")] == [f"upkeep/experiment=tune/{day + 1:010d}"]


def test_a_round_deletes_a_limited_number_of_files_and_the_next_one_goes_on(
    blobs: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_module, "MOST_COMMITS", 10)
    for number in range(40):
        live(blobs, number, maintenance=False)
    store = ts.open(blobs, maintenance=False)
    experiment = store["tune"]
    for _ in range(3):
        store.checkpoint()
        blobs.clock.now += 4 * DAY
        experiment.register_trial({"x": 0})
    blobs.clock.now += 8 * DAY
    ledger = experiment._ledger
    expected, start = ledger.stored.expired(blobs.clock.now)
    assert len(expected) > 40
    left = []
    for _ in range(len(expected) // 10 + 2):
        round_module.Round(blobs, 7 * 86400.0).experiment(ledger.key, ledger.stored, ledger.journal)
        left.append(len(ledger.stored.expired(blobs.clock.now)[0]))
        commits = [info.key for info in ledger.stored.log.commits()]
        assert len(commits) == ledger.stored.log.seq_of(commits[-1]) - ledger.stored.log.seq_of(commits[0]) + 1
    assert left[:4] == [len(expected) - 10 * n for n in (1, 2, 3, 4)]
    assert left[-2:] == [0, 0]
    assert ledger.stored.log.seq_of(next(ledger.stored.log.commits()).key) == start
    assert store.verify().problems == []


@pytest.mark.parametrize("first", [0, 1, 37, 63, 64, 65, 99, 100])
def test_the_oldest_commit_is_found_without_a_listing(blobs: Clocked, first: int) -> None:
    ts.open(blobs).create_experiment("tune")
    stored = ts.open(blobs)["tune"]._ledger.stored
    for seq in range(first, 100):
        blobs.write(stored.log.blob(seq), b"")
    assert stored._first(100) == first


def test_a_round_that_has_taken_too_long_leaves_the_rest(blobs: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        live(blobs, number, maintenance=False)
    blobs.clock.now += 2 * DAY
    ledger = ts.open(blobs, maintenance=False)["tune"]._ledger
    monkeypatch.setattr(round_module, "_BUDGET_S", 0.0)
    before = [info.key for info in blobs.list("")]
    round_module.Round(blobs, 7 * 86400.0).experiment(ledger.key, ledger.stored, ledger.journal)
    assert [info.key for info in blobs.list("")] == before


def test_dropped_experiments_go_by_themselves(blobs: Clocked) -> None:
    with ts.open(blobs) as store:
        store.create_experiment("other").register_trial({"x": 1})
        store.drop_experiment("other")
    for number in range(40):
        live(blobs, number, maintenance=True)
        blobs.clock.now += DAY / 2
    assert not [info.key for info in blobs.list("") if "=other/" in info.key]


def test_finishing_does_not_wait_for_maintenance(blobs: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it takes for ever; and closing waits for it no longer than it says."""
    begun, gate = threading.Event(), threading.Event()

    def tidy(*_: object) -> int:
        begun.set()
        gate.wait()
        return 0

    monkeypatch.setattr(compact_module, "tidy", tidy)
    monkeypatch.setattr("trialstore.chores._LAST_S", 0.01)
    with ts.open(blobs) as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        for number in range(40):
            experiment.register_trial({"x": number}, reserve=True).success(loss=1.0)
        assert begun.wait(30)
        assert experiment.counts == {ts.Status.SUCCEEDED: 40}
    gate.set()
    store._session.chores.rest()


def test_chores_are_done_once_one_at_a_time_and_an_error_is_no_end(caplog: pytest.LogCaptureFixture) -> None:
    chores, gate, done = Chores(), threading.Event(), []

    def fail() -> None:
        raise StoreUnavailableError("out of reach")

    chores.add("first", lambda: done.append(gate.wait()))
    for _ in range(3):
        chores.add("second", lambda: done.append("second"))
    chores.add("third", fail)
    chores.add("fourth", lambda: done.append("fourth"))
    gate.set()
    chores.rest()
    assert done == [True, "second", "fourth"]
    with caplog.at_level(logging.WARNING):
        chores.add("fifth", fail)
        chores.rest()
    assert "out of reach" in caplog.text
    assert chores._thread is None
