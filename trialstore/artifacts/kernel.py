"""Files copied by the operating system, checked beside the copying, in two mebibytes of memory.

A file of a local disk goes to another one without passing through this process. Its bytes are hashed from the disk's
cache by another thread meanwhile: with SHA-256, which names an artifact, when it is stored; with XXH3, which is several
times quicker, when it is read back. The XXH3 is kept in an extended attribute of the blob's file. It is a hint: where
the attribute is absent, because a file system has none or a copy left it behind, SHA-256 tells.
"""

from __future__ import annotations

import errno
import io
import os
import queue
import stat
import threading
from collections.abc import Iterator
from typing import IO, Any, Protocol

__all__ = ["Alongside", "copy_file", "is_plain_file", "recall", "remember"]

_ATTRIBUTE = "user.trialstore.xxh3"
_PIECE_BYTES = 8 << 20
_READ_BYTES = 1 << 20
_NO_KERNEL_COPY = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF})


class _Hash(Protocol):
    def update(self, data: Any, /) -> None: ...


def is_plain_file(file: object) -> bool:
    """Whether the bytes of an open file are those of its descriptor, from where it stands."""
    if not isinstance(file, io.BufferedReader | io.FileIO | io.BufferedRandom) or not hasattr(os, "sendfile"):
        return False
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def copy_file(source: IO[bytes], fd: int) -> Iterator[int]:
    """Append what is left of a plain file to `fd`, telling after each piece how many bytes were written in all."""
    start = source.tell()
    done = 0
    while True:
        try:
            count = os.sendfile(fd, source.fileno(), start + done, _PIECE_BYTES)
        except OSError as error:
            if done or error.errno not in _NO_KERNEL_COPY:
                raise
            yield from _copy_by_hand(source, fd)
            return
        if not count:
            break
        done += count
        yield done
    source.seek(start + done)


def _copy_by_hand(source: IO[bytes], fd: int) -> Iterator[int]:
    done = 0
    while data := source.read(_READ_BYTES):
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        done += len(data)
        yield done


class Alongside:
    """Hashes of a file's first bytes, computed in a thread as they become known to be there.

    Args:
        fd: The file, open for reading; what is hashed does not change any more.
        hashes: What is given each byte, in order.
    """

    def __init__(self, fd: int, *hashes: _Hash) -> None:
        self._fd = fd
        self._hashes = hashes
        self._ends: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="trialstore-hash", daemon=True)
        self._thread.start()

    def reach(self, end: int) -> None:
        """The bytes up to here are there."""
        self._ends.put(end)

    def finish(self) -> None:
        """Wait until all are hashed; raises what stopped it."""
        self._ends.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Give up; does nothing after `finish`."""
        self._stopped = True
        self._ends.put(None)
        self._thread.join()

    def _run(self) -> None:
        buffer = bytearray(_READ_BYTES)
        view = memoryview(buffer)
        done = 0
        try:
            while (end := self._ends.get()) is not None:
                while done < end and not self._stopped:
                    count = os.preadv(self._fd, [view[: min(_READ_BYTES, end - done)]], done)
                    if not count:
                        raise OSError(errno.EIO, "the file became shorter while it was copied")
                    for hashed in self._hashes:
                        hashed.update(view[:count])
                    done += count
        except BaseException as error:
            self._error = error


def remember(fd: int, digest: str) -> None:
    """Keep the XXH3 of a file with it, where the file system can."""
    try:
        os.setxattr(fd, _ATTRIBUTE, digest.encode())
    except OSError:
        pass


def recall(fd: int) -> str | None:
    """The XXH3 that was kept with a file."""
    try:
        return os.getxattr(fd, _ATTRIBUTE).decode(errors="replace")
    except OSError:
        return None
