"""The sampler records what the process costs and leaves nothing behind."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from time import monotonic, process_time

import pytest

from trialstore.demo import sampler as module
from trialstore.demo.sampler import Sampler
from trialstore.model.errors import UsageError


def test_a_block_of_any_length_has_a_sample() -> None:
    began = datetime.now(UTC)
    with Sampler(interval_s=3600) as sampler:
        pass
    assert [name for _, name, _ in sampler.points] == ["cpu_percent", "rss_bytes"]
    assert all(began <= at <= datetime.now(UTC) and at.tzinfo is UTC for at, _, _ in sampler.points)
    assert sampler.points[1][2] > 1_000_000


def test_work_shows_as_cpu() -> None:
    with Sampler(interval_s=3600) as sampler:
        until = process_time() + 0.1
        while process_time() < until:
            pass
    assert sampler.points[0][2] > 10


def test_it_samples_while_the_block_runs_and_stops_with_it() -> None:
    with Sampler(interval_s=0.001) as sampler:
        deadline = monotonic() + 30
        while len(sampler.points) < 6 and monotonic() < deadline:
            pass
        assert len(sampler.points) >= 6
        assert "trialstore-sampler" in [thread.name for thread in threading.enumerate()]
    assert "trialstore-sampler" not in [thread.name for thread in threading.enumerate()]
    times = [at for at, _, _ in sampler.points]
    assert times[::2] == times[1::2] == sorted(set(times))


def test_take_hands_out_each_point_once() -> None:
    with Sampler(interval_s=0.001) as sampler:
        taken = []
        deadline = monotonic() + 30
        while len(taken) < 6 and monotonic() < deadline:
            taken += sampler.take()
    taken += sampler.take()
    assert taken == sampler.points
    assert sampler.take() == []


def test_a_clock_that_is_set_back_repeats_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return readings.pop(0)

    with Sampler(interval_s=3600) as sampler:
        monkeypatch.setattr(module, "datetime", Clock)
        sampler._sample()
    assert {at.year for at, _, _ in sampler.points} == {2026}
    assert len(sampler.points) == 2


def test_the_thread_ends_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), Sampler(interval_s=3600) as sampler:
        _ = 1 / 0
    assert len(sampler.points) == 2
    assert "trialstore-sampler" not in [thread.name for thread in threading.enumerate()]


def test_the_block_waits_for_a_sample_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, ended = threading.Event(), []

    def slow(sampler: Sampler) -> None:
        if threading.current_thread() is not threading.main_thread():
            entered.set()
            sampler._stop.wait(30)
            until = monotonic() + 0.05
            while monotonic() < until:
                pass
            ended.append(True)

    monkeypatch.setattr(Sampler, "_sample", slow)
    with Sampler(interval_s=0.001):
        assert entered.wait(30)
    assert ended == [True]


def test_misuse_is_told() -> None:
    with pytest.raises(UsageError, match="above 0"):
        Sampler(interval_s=0)
    with Sampler(interval_s=3600) as sampler:
        pass
    with pytest.raises(UsageError, match="runs once"), sampler:
        pass
