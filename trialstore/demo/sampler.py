"""What this process costs while a trial runs: CPU and memory, sampled by a background thread."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeAlias

import psutil

from trialstore.model.errors import UsageError

__all__ = ["Point", "Sampler"]

Point: TypeAlias = tuple[datetime, str, float]
"""When (aware UTC), what, and how much."""


class Sampler:
    """CPU and memory of this process from `__enter__` to `__exit__`.

    Each sample is two points of one time: ``cpu_percent``, of one core since the sample before (two busy
    threads make 200), and ``rss_bytes``, the resident memory.

    Guarantees: a block that ends has at least one sample, however short it was, because one is taken at the
    end; the times of the samples rise strictly; the thread has ended when the block has.

    Args:
        interval_s: Time between two samples, above 0.

    Example:
        >>> with Sampler() as sampler:
        ...     total = sum(range(1000))
        >>> [name for _, name, _ in sampler.points][:2]
        ['cpu_percent', 'rss_bytes']
    """

    def __init__(self, interval_s: float = 0.05) -> None:
        if not interval_s > 0:
            raise UsageError("the time between two samples must be above 0", interval_s=interval_s)
        self._interval_s = interval_s
        self._points: list[Point] = []
        self._taken = 0
        self._last_at = datetime.min.replace(tzinfo=UTC)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def points(self) -> list[Point]:
        """All points so far, in order of time. May be read while the sampler runs."""
        return self._points.copy()

    def take(self) -> list[Point]:
        """The points that no earlier call of this method returned, for a caller that passes them on as they come."""
        points = self._points[self._taken :]
        self._taken += len(points)
        return points

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise UsageError("a sampler runs once", hint="make a new Sampler for each trial")
        self._process = psutil.Process()
        self._process.cpu_percent(None)  # the first call has nothing to compare with; it only starts the clock
        self._thread = threading.Thread(target=self._run, name="trialstore-sampler", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        at = datetime.now(UTC)
        if at <= self._last_at:
            return  # the clock was set back: a point in the past would pass for another sample's
        self._last_at = at
        self._points += (
            (at, "cpu_percent", self._process.cpu_percent(None)),
            (at, "rss_bytes", float(self._process.memory_info().rss)),
        )
