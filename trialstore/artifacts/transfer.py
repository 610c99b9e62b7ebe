"""Large bytes on their way in and out: hashed beside the transfer, in bounded memory."""

from __future__ import annotations

import hashlib
import io
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Any

from xxhash import xxh3_64

from trialstore.artifacts.kernel import Alongside, copy_file, is_plain_file, recall, remember
from trialstore.blobs.oserrors import from_oserror
from trialstore.blobs.protocol import Blobs
from trialstore.model.errors import UsageError
from trialstore.model.identity import new_ulid

__all__ = ["Digest", "HashingReader", "chunks", "copy_checked", "opened", "write_file"]

_CHUNK_BYTES = 1 << 20
_REQUEST_BYTES = 4 << 20
_REQUESTS = 4
_WAITING = 8


class Digest:
    """SHA-256 of bytes that are given piece by piece, computed in a thread of its own from the second piece on.

    Guarantees: holds on to 9 pieces at most. Hashing lets other threads run, so it costs no time where another core
    is idle.

    Attributes:
        sha256: Of what was hashed so far.
    """

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self._queue: queue.Queue[bytes | None] | None = None
        self._thread: threading.Thread | None = None
        self._first = True

    def update(self, data: bytes) -> None:
        """Take the next piece."""
        if self._first:
            self._first = False
            self.sha256.update(data)
            return
        if self._queue is None:
            self._queue = queue.Queue(_WAITING)
            self._thread = threading.Thread(target=self._run, args=(self._queue,), name="trialstore-hash", daemon=True)
            self._thread.start()
        self._queue.put(data)

    def _run(self, pieces: queue.Queue[bytes | None]) -> None:
        while (data := pieces.get()) is not None:
            self.sha256.update(data)

    def close(self) -> None:
        """End the thread."""
        if self._queue is not None and self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._queue = self._thread = None

    def hexdigest(self) -> str:
        """64 hexadecimal digits, of all that was given."""
        self.close()
        return self.sha256.hexdigest()


class HashingReader(io.RawIOBase):
    """A reader that hashes what passes through it.

    Attributes:
        digest: Of what was read so far.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = Digest()

    def readable(self) -> bool:
        """It only reads."""
        return True

    @property
    def pour(self) -> Callable[[int], Iterator[int]] | None:
        """What writes the source to a descriptor by itself; None where it is no plain file of this machine.

        It tells how many bytes are there as it goes, and keeps their XXH3 with them.
        """
        return self._pour if is_plain_file(self._file) else None

    def _pour(self, fd: int) -> Iterator[int]:
        quick = xxh3_64()
        alongside = Alongside(fd, self.digest.sha256, quick)
        try:
            for end in copy_file(self._file, fd):
                alongside.reach(end)
                yield end
            alongside.finish()
        finally:
            alongside.stop()
        remember(fd, quick.hexdigest())

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the source."""
        data = self._file.read(size)
        if not isinstance(data, bytes):
            raise UsageError("file must be open in binary mode", hint='open(path, "rb")')
        self.digest.update(data)
        return data

    def close(self) -> None:
        """End the hashing; the source stays open."""
        self.digest.close()
        super().close()


@contextmanager
def opened(source: Any) -> Iterator[IO[bytes]]:
    """The open file itself, which stays open, or the file at a path, which is closed afterwards."""
    if isinstance(source, os.PathLike):
        try:
            file = open(source, "rb")  # noqa: SIM115 - only its opening is this block's to explain
        except OSError as error:
            raise UsageError(
                f"file cannot be read: {error.strerror}", hint="check the path", path=os.fspath(source)
            ) from None
        with file:
            yield file
    else:
        yield source


def chunks(blobs: Blobs, key: str) -> Iterator[bytes]:
    """The bytes of a blob, piece by piece. Memory: 20 MiB at most; on a bucket four requests are under way at a time.

    Raises:
        BlobNotFoundError: there is no such blob.
    """
    if blobs.filesystem is None:
        with blobs.open(key) as file:
            while data := file.read(_CHUNK_BYTES):
                yield data
        return
    info = blobs.info(key)
    if info is None or info.size_bytes <= _REQUEST_BYTES:
        yield blobs.read(key)
        return
    starts = iter(range(0, info.size_bytes, _REQUEST_BYTES))
    with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="trialstore-read") as threads:
        waiting: deque[Future[bytes]] = deque()
        try:
            while True:
                while len(waiting) < _REQUESTS and (start := next(starts, None)) is not None:
                    end = min(start + _REQUEST_BYTES, info.size_bytes)
                    waiting.append(threads.submit(blobs.read, key, start, end))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for request in waiting:
                request.cancel()


def copy_checked(blobs: Blobs, key: str, target: IO[bytes]) -> bool:
    """Write a blob of a local disk to an empty file, if it is what was stored by the XXH3 that was kept with it.

    Returns:
        False, and the file is empty again, where nothing was kept, or where it tells of other bytes.
    """
    if blobs.filesystem is not None:
        return False
    with blobs.open(key) as source:
        kept = recall(source.fileno()) if is_plain_file(source) else None
        if kept is None:
            return False
        quick = xxh3_64()
        alongside = Alongside(source.fileno(), quick)
        try:
            alongside.reach(os.fstat(source.fileno()).st_size)
            for _ in copy_file(source, target.fileno()):
                pass
            alongside.finish()
        finally:
            alongside.stop()
    if quick.hexdigest() == kept:
        return True
    target.seek(0)
    target.truncate()
    return False


@contextmanager
def write_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new file that takes its name, in the place of one that may have it, when the block ends without an error."""
    target = os.path.abspath(os.fspath(path))
    temporary = os.path.join(os.path.dirname(target), f".{new_ulid()}.tmp")
    try:
        file = open(temporary, "xb")  # noqa: SIM115 - as above
    except OSError as error:
        raise UsageError(
            f"file cannot be written: {error.strerror}", hint="name a file in a folder that exists", path=target
        ) from None
    try:
        with file:
            yield file
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise from_oserror(error, "write a file", path=target) from error
        raise
