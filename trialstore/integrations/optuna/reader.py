"""Artifacts as they are read: compared with their checksum where they are read from their beginning to their end."""

from __future__ import annotations

import hashlib
import io
from typing import IO

from trialstore.artifacts.store import Artifact, compare

__all__ = ["checked"]

_BUFFER_BYTES = 1 << 20


def checked(source: IO[bytes], artifact: Artifact) -> IO[bytes]:
    """A reader of an artifact's bytes that closes its source with itself.

    Raises:
        DamagedError: on the read that reaches the end, when all was read in order and is not what was stored.
    """
    return io.BufferedReader(_Checked(source, artifact), _BUFFER_BYTES)


class _Checked(io.RawIOBase):
    def __init__(self, source: IO[bytes], artifact: Artifact) -> None:
        self._source = source
        self._artifact = artifact
        self._digest = hashlib.sha256()
        self._hashed_bytes = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        at = self._source.tell()
        data = self._source.read(len(buffer))
        if at == self._hashed_bytes:
            self._digest.update(data)
            self._hashed_bytes += len(data)
            if not data and len(buffer):
                compare(self._artifact, self._digest.hexdigest())
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()
