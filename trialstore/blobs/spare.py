"""Small files that are left for another process to delete, without a new inode for each.

A file system that has just deleted many files may be slow to make new ones: ext4 passes over the inodes that were
freed in the last minutes, one by one, for each file that it makes near them (measured: 4 µs a file, and 100 to
300 after some thousands of deletions). So a process keeps a few files of its own under hidden names. Leaving one gives
it a second name; whoever takes it deletes that name, and the file is free to be written and left again.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import cache

from trialstore.model.identity import new_ulid

__all__ = ["SpareFiles"]

_KEPT = 4
_IN_ATTRIB = 0x4
_MASK = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


class SpareFiles:
    """The hidden files of one process, by folder. Safe to use from many threads, and in a forked child."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._by_folder: dict[str, list[_Spare]] = {}
        self._process = os.getpid()
        weakref.finalize(self, _remove, self._by_folder, self._process)

    def leave(self, folder: str, name: str, data: bytes) -> bool:
        """Have a file of this name and content in a folder that exists; False when no hidden file can be used for it.

        Guarantees: whoever sees the name finds the content whole. Whoever opened an earlier file of this process, and
        reads it after it was deleted, may find this content in it.
        """
        if self._process != os.getpid():
            self._forget()
        with self._lock:
            try:
                spare = self._free(folder)
                if spare is None:
                    return False
                spare.skip_events()  # before it has the name: the end of the name may come at once
                spare.become(data)
                spare.name = name
                os.link(spare.path, f"{folder}/{name}")
            except FileExistsError:
                return False
            except OSError:
                self._drop(folder)
                return False
            return True

    def wait(self, folder: str, name: str, patience_s: float) -> None:
        """Return when the file of this name was deleted, or after so long."""
        with self._lock:
            spare = next((s for s in self._by_folder.get(folder, ()) if s.name == name), None)
        if spare is not None and spare.wait(name, patience_s):
            return
        if os.path.lexists(f"{folder}/{name}"):
            time.sleep(patience_s)

    def _free(self, folder: str) -> _Spare | None:
        spares = self._by_folder.setdefault(folder, [])
        for spare in spares:
            if not spare.is_left():
                return spare
        if len(spares) >= _KEPT:
            return None
        spares.append(_Spare(folder))
        return spares[-1]

    def _drop(self, folder: str) -> None:
        for spare in self._by_folder.pop(folder, ()):
            spare.remove()

    def _forget(self) -> None:
        """A forked child has files of its own, and locks that no thread of its parent holds."""
        inherited = [spare for spares in self._by_folder.values() for spare in spares]
        self._start()
        for spare in inherited:
            spare.let_go()


class _Spare:
    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/.{new_ulid()}.tmp"
        self.name = ""
        self._is_closed = False
        self._fd = os.open(self.path, _MASK, 0o666)
        self._watch = _watching(self.path)
        self._in_use = threading.Lock()

    def skip_events(self) -> None:
        """Forget what happened to its names until now."""
        if self._watch is not None:
            try:
                os.read(self._watch, 4096)
            except BlockingIOError:
                pass  # nothing did, or another thread has seen it

    def is_left(self) -> bool:
        """Whether it still has its second name."""
        return os.fstat(self._fd).st_nlink > 1

    def become(self, data: bytes) -> None:
        """Have this content and no other."""
        done = os.pwrite(self._fd, data, 0)
        while done < len(data):
            done += os.pwrite(self._fd, memoryview(data)[done:], done)
        os.ftruncate(self._fd, len(data))

    def wait(self, name: str, patience_s: float) -> bool:
        """Wait for the end of this second name; False when that cannot be watched here."""
        if self._watch is None:
            return False
        give_up_at = time.monotonic() + patience_s
        poll = select.poll()
        poll.register(self._watch, select.POLLIN)
        while self.name == name:  # else it was taken, and another thread has left the file again
            left_s = give_up_at - time.monotonic()
            with self._in_use:
                if self._is_closed or not self.is_left():
                    break
                if left_s <= 0 or not poll.poll(left_s * 1000):
                    break
                self.skip_events()
        return True

    def close(self) -> None:
        """Give the descriptors back, once nobody waits on them."""
        with self._in_use:
            self.let_go()

    def let_go(self) -> None:
        """Give the descriptors back."""
        self._is_closed = True
        os.close(self._fd)
        if self._watch is not None:
            os.close(self._watch)

    def remove(self) -> None:
        """Give all back, the hidden name too."""
        self.close()
        try:
            os.unlink(self.path)
        except OSError:
            pass


def _remove(by_folder: dict[str, list[_Spare]], process: int) -> None:
    if process == os.getpid():
        for spares in by_folder.values():
            for spare in spares:
                spare.remove()


def _watching(path: str) -> int | None:
    """A descriptor that can be read when the file gets or loses a name; None where there is none."""
    calls = _inotify()
    if calls is None:
        return None
    start, add = calls
    fd = start(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        return None
    if add(fd, os.fsencode(path), _IN_ATTRIB) < 0:
        os.close(fd)
        return None
    return fd


@cache
def _inotify() -> tuple[Callable[[int], int], Callable[[int, bytes, int], int]] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        start, add = libc.inotify_init1, libc.inotify_add_watch
    except (AttributeError, OSError):
        return None
    start.argtypes = [ctypes.c_int]
    add.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
    return start, add
