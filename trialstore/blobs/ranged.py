"""A seekable file over something that can only be read in ranges."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Protocol, cast

__all__ = ["open_ranges", "read_fully"]

_AHEAD_BYTES = 1 << 20


def open_ranges(read: Callable[[int, int], bytes], size_bytes: int) -> IO[bytes]:
    """A reader of `size_bytes` bytes that asks `read(start, end)` for what it needs, a mebibyte ahead."""
    return cast("IO[bytes]", io.BufferedReader(_Ranges(read, size_bytes), _AHEAD_BYTES))


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


def read_fully(source: _Readable, size_bytes: int) -> bytes:
    """`size_bytes` bytes of a file, fewer only at its end, although a single read may return less."""
    data = source.read(size_bytes) or b""
    while len(data) < size_bytes and (more := source.read(size_bytes - len(data))):
        data += more
    return data


class _Ranges(io.RawIOBase):
    def __init__(self, read: Callable[[int, int], bytes], size_bytes: int) -> None:
        self._read = read
        self._size = size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError("negative position")
        self._at = origin + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = self._read(self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
