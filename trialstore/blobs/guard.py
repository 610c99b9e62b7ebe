"""An advisory lock among the processes of one machine, that never makes anybody wait for long."""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from contextlib import AbstractContextManager
from random import uniform

from trialstore.model.identity import escape

try:
    import fcntl
except ImportError:  # no such locks on this system: every guard is a no-op
    fcntl = None  # type: ignore[assignment]

from trialstore.blobs.turns import Turns

__all__ = ["FolderGuards"]

_PAUSE_S = 0.0002
_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_KEPT = 64

_opened: set[int] = set()
"""Descriptors of this process's lock files. A forked child closes its copies, which would keep a lock."""

_changing = threading.Lock()
"""Held while a descriptor is open and not in `_opened`, or the other way about: no fork happens in between."""

_forks = 0


class FolderGuards:
    """Locks by name, each a file in a hidden folder of the store.

    No more time is spent waiting than the caller has patience for: a holder that was suspended, or a file server that
    lost the lock, slows others down and stops nobody.

    Args:
        folder: Where the lock files are; made when first used.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._idle: dict[str, int] = {}
        self._forks = _forks
        weakref.finalize(self, _close_all, self._idle)

    def hold(self, name: str, patience_s: float, turns: Turns | None = None) -> AbstractContextManager[bool]:
        """Hold the lock of this name, or get False when somebody else does; True where there are no locks.

        Args:
            name: Of the lock; the folder's, where it stands for a turn.
            patience_s: How long to wait for it.
            turns: What is told when the lock is had and given up.
        """
        return _Hold(self, name, patience_s, turns)

    def acquire(self, name: str, patience_s: float) -> tuple[int | None, bool]:
        """A descriptor that holds the lock, if it was had, and whether the caller may go ahead."""
        if fcntl is None:
            return None, True
        if self._forks != _forks:
            self._idle.clear()  # the parent's, closed at the fork
            self._forks = _forks
        # Popped, so that two threads never share one: a lock belongs to what was opened, not to who opened it.
        fd = self._idle.pop(name, None)
        if fd is None:
            try:
                fd = self._opened(f"{self._folder}/{escape(name)}")
            except OSError:
                return None, True
        locked = _lock(fd, patience_s)
        if locked:
            return fd, True
        self._put_back(name, fd)
        return None, locked is None

    def release(self, name: str, fd: int) -> None:
        """Give up what `acquire` gave."""
        if fd in _opened:
            fcntl.flock(fd, fcntl.LOCK_UN)
            self._put_back(name, fd)

    def _put_back(self, name: str, fd: int) -> None:
        if len(self._idle) >= _KEPT or self._idle.setdefault(name, fd) != fd:
            _close(fd)

    def _opened(self, path: str) -> int:
        if os.path.islink(self._folder):
            raise OSError(errno.ELOOP, "the folder of the locks is a link")  # it shall not have files made elsewhere
        try:
            return _open(path)
        except FileNotFoundError:
            os.makedirs(self._folder, exist_ok=True)
            return _open(path)


class _Hold:
    """One with-block around a lock. A class, since it is entered for every commit."""

    __slots__ = ("_fd", "_guards", "_name", "_patience_s", "_turns")

    def __init__(self, guards: FolderGuards, name: str, patience_s: float, turns: Turns | None) -> None:
        self._guards = guards
        self._name = name
        self._patience_s = patience_s
        self._turns = turns
        self._fd: int | None = None

    def __enter__(self) -> bool:
        self._fd, free = self._guards.acquire(self._name, self._patience_s)
        if self._fd is not None and self._turns is not None:
            self._turns.begin(self._name)
        return free

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            if self._turns is not None:
                self._turns.end()
            self._guards.release(self._name, self._fd)


def _lock(fd: int, patience_s: float) -> bool | None:
    """Whether the lock was had in time; None where this file has no locks."""
    give_up_at = time.monotonic() + patience_s if patience_s else 0.0
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(uniform(0.5, 1.5) * _PAUSE_S)
        except OSError:
            return None


def _open(path: str) -> int:
    with _changing:
        fd = os.open(path, _LOCK_FILE, 0o666)
        _opened.add(fd)
    return fd


def _close(fd: int) -> None:
    with _changing:
        if fd in _opened:  # not in a child of a fork inside the with-block
            _opened.discard(fd)
            os.close(fd)


def _close_all(idle: dict[str, int]) -> None:
    while idle:
        _close(idle.popitem()[1])


def _after_fork() -> None:
    global _forks
    _forks += 1
    for fd in list(_opened):
        os.close(fd)
    _opened.clear()
    _changing.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_after_fork)
