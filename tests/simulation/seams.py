"""Where the code under test meets time, chance and threads: there the simulation takes over.

Every module keeps its own names; they are replaced for the length of one history, and put back.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import os
import pkgutil
import random
import socket
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import trialstore
from tests.simulation.schedule import Event, Lock, Pool, Process, Scheduler, Thread
from tests.simulation.storage import EPOCH

REAL = ("blobs", "cli", "demo", "integrations", "query", "testing")
"""Packages that have no part in a history, or none that time and chance could change."""


def _modules() -> list[ModuleType]:
    """All modules of the code under test."""
    names = (info.name for info in pkgutil.walk_packages(trialstore.__path__, "trialstore."))
    return [importlib.import_module(name) for name in names if name.split(".")[1] not in REAL]


UNIX = datetime(1970, 1, 1, tzinfo=UTC)


class Seams:
    """The clocks, the chance and the locks of whichever process runs."""

    def __init__(self, scheduler: Scheduler, outside: Process) -> None:
        self.scheduler = scheduler
        self._outside = outside

    @property
    def process(self) -> Process:
        task = self.scheduler.current
        return self._outside if task is None else task.process

    # time

    def monotonic(self) -> float:
        process = self.process
        return process.started + self.scheduler.now - process.slept_s

    def sleep(self, seconds: float) -> None:
        self.scheduler.sleep(seconds)

    def time_ns(self) -> int:
        return (self.now() - UNIX) // timedelta(microseconds=1) * 1000

    def now(self) -> datetime:
        """The time of day by the process's clock."""
        return EPOCH + timedelta(seconds=self.scheduler.now + self.process.skew_s)

    # random, os.urandom

    def uniform(self, low: float, high: float) -> float:
        return self.process.chance.uniform(low, high)

    def random(self) -> float:
        return self.process.chance.random()

    def urandom(self, count: int) -> bytes:
        return self.process.chance.randbytes(count)

    def sleepless(self) -> float:
        """A clock that counts what the machine sleeps."""
        return self.process.started + self.scheduler.now

    def shims(self, has_boottime: bool) -> list[tuple[object, object]]:
        """What is replaced by identity, and by what."""
        scheduler = self.scheduler
        clock = SimpleNamespace(
            monotonic=self.monotonic,
            sleep=self.sleep,
            time_ns=self.time_ns,
            time=lambda: self.time_ns() / 1e9,
            strftime=time.strftime,
            gmtime=time.gmtime,
        )
        if has_boottime:
            clock.CLOCK_BOOTTIME = 7
            clock.clock_gettime = lambda which: self.sleepless()
        threads = SimpleNamespace(
            Lock=lambda: Lock(scheduler, again=False),
            RLock=lambda: Lock(scheduler, again=True),
            Event=lambda: Event(scheduler),
            Thread=lambda target, name, daemon: Thread(scheduler, target),
            current_thread=lambda: None,
        )
        return [
            (time, clock),
            (random, SimpleNamespace(uniform=self.uniform, random=self.random)),
            (os, SimpleNamespace(urandom=self.urandom, getpid=lambda: 1, PathLike=os.PathLike)),
            (socket, SimpleNamespace(gethostname=lambda: self.process.name)),
            (threading, threads),
            (weakref, SimpleNamespace(WeakSet=Members, finalize=lambda *_: None, ref=weakref.ref)),
            (concurrent.futures.ThreadPoolExecutor, lambda *_, **__: Pool(scheduler)),
        ]


class Members:
    """A set whose members come in the order in which they were added, and stay: nothing is collected in a history."""

    def __init__(self) -> None:
        self._members: dict[int, Any] = {}

    def add(self, member: Any) -> None:
        self._members[id(member)] = member

    def discard(self, member: Any) -> None:
        self._members.pop(id(member), None)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._members.values()))


@contextmanager
def installed(seams: Seams, settings: Mapping[str, Any], has_boottime: bool) -> Iterator[None]:
    """Put the simulation in the place of the real world.

    Args:
        seams: The simulation.
        settings: Values of constants, by package or module and name, as ``journal:CHECKPOINT_EVERY``.
        has_boottime: Whether the system has a clock that counts its sleep.
    """
    changes: list[tuple[ModuleType, str, Any]] = []
    shims = seams.shims(has_boottime)
    unknown = set(settings)
    for module in _modules():
        short = module.__name__.removeprefix("trialstore.")
        for name, value in vars(module).items():
            changes += [(module, name, shim) for real, shim in shims if value is real]
            if isinstance(value, type(threading.Lock())):
                changes.append((module, name, Lock(seams.scheduler, again=False)))
            if isinstance(value, weakref.WeakSet):
                changes.append((module, name, Members()))
        for path, value in settings.items():
            package, _, name = path.partition(":")
            if hasattr(module, name) and (short == package or short.startswith(f"{package}.")):
                changes.append((module, name, value))
                unknown.discard(path)
    if unknown:
        raise LookupError(f"no module has {sorted(unknown)}")
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    try:
        for module, name, value in changes:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in reversed(before):
            setattr(module, name, value)
