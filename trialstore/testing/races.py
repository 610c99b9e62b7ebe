"""Races that happen when they can: threads that change places all the time, and processes that meet."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from trialstore.blobs.protocol import Blobs

__all__ = ["at_once", "eager_switches", "in_processes", "race_of_processes", "race_of_threads"]

_PATIENCE_S = 120
_T = TypeVar("_T")
_R = TypeVar("_R")


@contextmanager
def eager_switches() -> Iterator[None]:
    """Threads change places after a microsecond, so that a race that is possible happens.

    At the default of 5 ms a race test passes on broken code.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def at_once(function: Callable[[_T], _R], items: list[_T]) -> list[_R]:
    """The results of `function` for each item, each in a thread of its own; all start together."""
    start = threading.Barrier(len(items))

    def run(item: _T) -> _R:
        start.wait(_PATIENCE_S)
        return function(item)

    with eager_switches(), ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(run, items))


def race_of_threads(blobs: Blobs, folder: str, rounds: int, writers: int = 8) -> list[list[bytes]]:
    """For each round the writers that were told that they created the blob; they meet before each."""
    meeting = threading.Barrier(writers)

    def write(writer: bytes) -> list[bool]:
        return _create_in_turn(blobs, folder, rounds, writer, meeting)

    names = [b"writer %d" % number for number in range(writers)]
    results = at_once(write, names)
    return [[name for name, wins in zip(names, results, strict=True) if wins[number]] for number in range(rounds)]


def _create_in_turn(blobs: Blobs, folder: str, rounds: int, writer: bytes, meeting: Any) -> list[bool]:
    wins = []
    try:
        for number in range(rounds):
            meeting.wait(_PATIENCE_S)
            wins.append(blobs.create(f"{folder}/{number}", writer))
    except BaseException:
        meeting.abort()  # the others wait for nobody
        raise
    return wins


_meeting: Any = None
"""Where the processes of a race meet; set in each of them."""


def _meet(meeting: Any) -> None:
    global _meeting
    _meeting = meeting


def _write_in_process(blobs: Blobs, folder: str, rounds: int) -> tuple[bytes, list[bool]]:
    writer = b"process %d" % os.getpid()
    return writer, _create_in_turn(blobs, folder, rounds, writer, _meeting)


def race_of_processes(blobs: Blobs, folder: str, rounds: int, writers: int = 4) -> list[list[bytes]]:
    """As `race_of_threads`, between processes that open the backend from its pickle."""
    context = get_context("spawn")
    with ProcessPoolExecutor(writers, context, _meet, (context.Barrier(writers),)) as pool:
        futures = [pool.submit(_write_in_process, blobs, folder, rounds) for _ in range(writers)]
        results = [future.result(_PATIENCE_S) for future in futures]
    return [[name for name, wins in results if wins[number]] for number in range(rounds)]


def in_processes(function: Callable[[_T], _R], items: list[_T]) -> list[_R]:
    """The results of `function` for each item, each in a new process; all start together."""
    context = get_context("spawn")
    with ProcessPoolExecutor(len(items), context, _meet, (context.Barrier(len(items)),)) as pool:
        futures = [pool.submit(_start_together, function, item) for item in items]
        return [future.result(_PATIENCE_S) for future in futures]


def _start_together(function: Callable[[_T], _R], item: _T) -> _R:
    _meeting.wait(_PATIENCE_S)
    return function(item)
