"""An advisory lock among the processes of one machine, that never makes anybody wait for long."""

from __future__ import annotations

import os
import threading
import time
from contextlib import AbstractContextManager
from random import uniform

from trialstore.model.identity import escape

try:
    import fcntl
except ImportError:  # no such locks on this system: every guard is a no-op
    fcntl = None  # type: ignore[assignment]

__all__ = ["FolderGuards"]

_PAUSE_S = 0.0002
_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_held: set[int] = set()
"""Descriptors of locks held by this process. A forked child closes its copies, which would keep the lock."""

_changing = threading.Lock()
"""Held while a descriptor is open and not in `_held`, or the other way about: no fork happens in between."""


class FolderGuards:
    """Locks by name, each a file in a hidden folder of the store.

    No more time is spent waiting than the caller has patience for: a holder that was suspended, or a file server that
    lost the lock, slows others down and stops nobody.

    Args:
        folder: Where the lock files are; made when first used.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._paths: dict[str, str] = {}

    def hold(self, name: str, patience_s: float) -> AbstractContextManager[bool]:
        """Hold the lock of this name, or get False when somebody else does; True where there are no locks."""
        return _Hold(self, name, patience_s)

    def acquire(self, name: str, patience_s: float) -> tuple[int | None, bool]:
        """A descriptor that holds the lock, if it was had, and whether the caller may go ahead."""
        if fcntl is None:
            return None, True
        path = self._paths.get(name)
        if path is None:
            if os.path.islink(self._folder):
                return None, True  # whoever put it there shall not have files made elsewhere
            path = self._paths[name] = f"{self._folder}/{escape(name)}"
        try:
            try:
                fd = _open(path)
            except FileNotFoundError:
                os.makedirs(self._folder, exist_ok=True)
                fd = _open(path)
        except OSError:
            return None, True
        locked = _lock(fd, patience_s)
        if locked:
            return fd, True
        _close(fd)
        return None, locked is None


class _Hold:
    """One with-block around a lock. A class, since it is entered for every commit."""

    __slots__ = ("_fd", "_guards", "_name", "_patience_s")

    def __init__(self, guards: FolderGuards, name: str, patience_s: float) -> None:
        self._guards = guards
        self._name = name
        self._patience_s = patience_s
        self._fd: int | None = None

    def __enter__(self) -> bool:
        self._fd, free = self._guards.acquire(self._name, self._patience_s)
        return free

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            _close(self._fd)


def _open(path: str) -> int:
    with _changing:
        fd = os.open(path, _LOCK_FILE, 0o666)
        _held.add(fd)
    return fd


def _close(fd: int) -> None:
    with _changing:
        if fd in _held:  # not in a child of a fork inside the with-block
            _held.discard(fd)
            os.close(fd)


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


def _forget_held() -> None:
    for fd in list(_held):
        os.close(fd)
    _held.clear()
    _changing.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_forget_held)
