"""One flush instead of two for a new file, where the file system's own journal makes that safe.

To be durable, a new file needs its content, its inode and its name on the disk. In general that takes two flushes: of
the file, and then, when it has its name, of the folder. ext4 with a journal commits metadata in order: flushing the
folder after the name was given commits the transaction with the name and all before it, the inode among them, and
flushes the device's cache. What is missing is that the content was written to the device before, which
``sync_file_range`` with all three of its flags does, without a flush: it allocates the blocks, writes them, and
waits for the end, after which the inode's size is in the journal's running transaction too.

The content is on its way before the name exists, so whatever makes the name durable, be it another process's flush,
finds the content in the device's cache and flushes it with it. Everywhere else there are two flushes.

Measured on a virtual disk: 0.25 to 0.30 ms a file instead of 0.6 to 1.15.

Source: Linux, ``fs/sync.c`` and ``fs/ext4/fsync.c``; ``man 2 sync_file_range``.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

__all__ = ["begin", "names_flush_content", "push"]

_WRITE = 2
_WAIT_WRITE_WAIT = 7


def names_flush_content(folder: str) -> bool:
    """Whether flushing this folder makes a file durable there whose content was pushed before it got its name."""
    if _sync_file_range() is None:
        return False
    try:
        device = os.stat(folder).st_dev
        name = os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
        return os.path.exists(f"/sys/fs/ext4/{name}/journal_task")
    except OSError:
        return False


def begin(fd: int, start: int, size_bytes: int) -> None:
    """Have a range of a file begin its way to the device, so that a later flush has less to wait for; a mere hint."""
    call = _sync_file_range()
    if call is not None:
        call(fd, start, size_bytes, _WRITE)


def push(fd: int) -> None:
    """Have the content of a file written to the device, and wait; nothing is flushed there.

    Raises:
        OSError: the disk is full or broken; the content must not be believed.
    """
    call = _sync_file_range()
    if call is None or call(fd, 0, 0, _WAIT_WRITE_WAIT) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (AttributeError, OSError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    call.restype = ctypes.c_int
    checked: Callable[[int, int, int, int], int] = call
    return checked
