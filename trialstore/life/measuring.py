"""Measuring time and memory of a stretch of a trial."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trialstore.life.held import Held
from trialstore.model.identity import check_name
from trialstore.model.profile import MemoryInterval, MemoryUnit, Profile, TimeInterval, TimeKind

__all__ = ["BEGIN", "Measurement", "memory_bytes", "profile", "start", "stop_all"]

BEGIN = "trial"
"""The name of what `Trial.begin` measures."""

_CLOCKS: dict[TimeKind, Callable[[], float]] = {
    TimeKind.WALL: time.perf_counter,  # goes on evenly when somebody sets the machine's clock
    TimeKind.CPU: time.thread_time,
    TimeKind.PROCESS: time.process_time,
}
_STATM = "/proc/self/statm"


class Measurement:
    """A stretch that is being measured.

    Attributes:
        name: The names of the stretches around it and its own, joined by colons. Around it are those of its own
            thread; in a thread that measures nothing yet, the block of `begin`.
        profile: NaN until `stop`.
    """

    name: str

    def __init__(self, held: Held, name: str, kind: TimeKind, unit: MemoryUnit, *, summary: bool, nested: bool) -> None:
        if held.measuring is None:
            held.measuring = []
        going_on: list[Measurement] = held.measuring
        self._thread = threading.get_ident()
        outer = next((m for m in reversed(going_on) if m._thread == self._thread), None)
        if outer is None:
            outer = next((m for m in going_on if m.name == BEGIN), None)
        self.name = name if outer is None or not nested else f"{outer.name}:{name}"
        self.profile = Profile(TimeInterval(kind=kind), MemoryInterval(unit=unit))
        self._held = held
        self._summary = summary
        self._done = False
        held.keep().profiles[self.name] = self.profile
        going_on.append(self)
        self._memory = memory_bytes()
        self._clock = _CLOCKS[kind]
        self._at = time.time() if kind is TimeKind.WALL else None
        self._start = self._clock()

    def stop(self) -> None:
        """Take the second reading; later calls do nothing."""
        if self._done:
            return
        end = self._clock()
        self._done = True
        held, profile = self._held, self.profile
        if held.measuring is not None and self in held.measuring:
            held.measuring.remove(self)
        start = self._start if self._at is None else self._at
        profile.time.start, profile.time.end = start, start + (end - self._start)
        memory = profile.memory
        assert memory.unit is not None
        size = memory.unit.in_bytes
        before, after = self._memory, memory_bytes()
        memory.start_rss, memory.start_vms, memory.start_shared = (value / size for value in before)
        memory.end_rss, memory.end_vms, memory.end_shared = (value / size for value in after)
        if self._summary:
            held.keep().summary.update(profile.to_dict(prefix=self.name))


def start(
    held: Held,
    name: str,
    kind: TimeKind | str | None,
    unit: MemoryUnit | str | None,
    summary: bool,
    nested: bool = True,
) -> Measurement:
    """Begin to measure a stretch, where it is nested inside of those that are being measured already.

    Raises:
        TransitionError: the trial has ended.
        UsageError: the name, the kind of time or the unit is none.
    """
    held.require_open()
    return Measurement(
        held,
        check_name(name, "profile"),
        TimeKind.WALL if kind is None else TimeKind.parse(kind),
        MemoryUnit.BYTES if unit is None else MemoryUnit.parse(unit),
        summary=summary,
        nested=nested,
    )


@contextmanager
def profile(
    held: Held, name: str, kind: TimeKind | str | None, unit: MemoryUnit | str | None, summary: bool
) -> Iterator[Profile]:
    """See `Trial.profile`."""
    measurement = start(held, name, kind, unit, summary)
    try:
        yield measurement.profile
    finally:
        measurement.stop()


def stop_all(held: Held) -> None:
    """End every measurement that is going on, since the trial ends."""
    for measurement in reversed(held.measuring or []):
        measurement.stop()


def memory_bytes() -> tuple[float, float, float]:
    """Resident, virtual and shared memory of this process in bytes; NaN for what the system does not tell.

    Cost: about ten microseconds where there is ``/proc``.
    """
    try:
        file = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        import psutil

        info = psutil.Process().memory_info()
        return float(info.rss), float(info.vms), float(getattr(info, "shared", "nan"))
    try:
        total, resident, shared, *_ = os.read(file, 256).split()
    finally:
        os.close(file)
    page = os.sysconf("SC_PAGE_SIZE")
    return float(int(resident) * page), float(int(total) * page), float(int(shared) * page)
