"""Blobs in the memory of this process, shared by name: for tests and for trying things out."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from trialstore.blobs.keys import check_key, check_prefix
from trialstore.blobs.protocol import BlobInfo
from trialstore.model.errors import BlobNotFoundError, UsageError

__all__ = ["MemoryBlobs"]


class MemoryBlobs:
    """Blobs in fsspec's global ``memory://`` store; see `Blobs` for what every backend guarantees.

    Two of the same name in one process are one store, and other users of fsspec see its files. Another
    process, also a forked child, has its own copy.

    Args:
        name: The folder in ``memory://``; may be empty and may have ``/`` in it.
    """

    def __init__(self, name: str) -> None:
        self._name = name.strip("/")
        self._base = f"/{self._name}/" if self._name else "/"
        self._fs = _IndependentReaders()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._name,)

    @property
    def url(self) -> str:
        """``memory://`` and the name."""
        return f"memory://{self._name}"

    @property
    def filesystem(self) -> Any:
        """The fsspec filesystem, whose files may be read by many threads at once."""
        return self._fs

    def engine_path(self, key: str) -> str:
        """The blob's ``memory://`` URL."""
        return f"memory:/{self._base}{check_key(key)}"

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a blob, or of the range `[start, end)` of it."""
        if (start or 0) < 0 or (end is not None and end < (start or 0)):
            raise UsageError("not a range of bytes", hint="use 0 <= start <= end", key=key, start=start, end=end)
        data = self._get(key)
        if data is None:
            raise BlobNotFoundError("no such blob", key=key, url=self.url)
        return data if start is None and end is None else data[start:end]

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes of several blobs; None where there is none."""
        return [self._get(key) for key in keys]

    def _get(self, key: str) -> bytes | None:
        file = MemoryFileSystem.store.get(self._base + check_key(key))
        return None if file is None else file.getvalue()

    def create(self, key: str, data: bytes) -> bool:
        """Write a blob if there is none of this key; True for exactly one caller."""
        path = self._base + check_key(key)
        file = MemoryFile(self._fs, path, data)
        return MemoryFileSystem.store.setdefault(path, file) is file

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Write a blob, replacing the one there may be in one step."""
        path = self._base + check_key(key)
        MemoryFileSystem.store[path] = MemoryFile(self._fs, path, data)

    def write_stream(self, key: str, source: IO[bytes], *, name: Callable[[], str] | None = None) -> int:
        """Write a blob from an open file; returns its size in bytes. Memory: the blob itself."""
        data = b"".join(iter(lambda: source.read(1 << 20), b""))
        self.write(key if name is None else check_prefix(key) + name(), data)
        return len(data)

    def open(self, key: str) -> IO[bytes]:
        """A seekable reader of a blob."""
        return io.BytesIO(self.read(key))

    def info(self, key: str) -> BlobInfo | None:
        """Size and time of a blob, None when there is none."""
        file = MemoryFileSystem.store.get(self._base + check_key(key))
        return None if file is None else BlobInfo(key, len(file.getvalue()), file.modified)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All blobs under the folder `prefix`, by key, as they were at the call."""
        start = self._base + check_prefix(prefix)
        cut = len(self._base)
        found = [(path, file) for path, file in MemoryFileSystem.store.copy().items() if path.startswith(start)]
        found.sort(key=lambda pair: pair[0])
        return (BlobInfo(path[cut:], len(file.getvalue()), file.modified) for path, file in found)

    def wait(self, key: str, patience_s: float) -> None:
        """Return after so long."""
        time.sleep(patience_s)

    def delete(self, keys: Iterable[str], *, durable: bool = True) -> None:
        """Remove blobs; a key that does not exist is no error."""
        for key in keys:
            MemoryFileSystem.store.pop(self._base + check_key(key), None)

    def guard(self, name: str, *, patience_s: float = 1.0) -> AbstractContextManager[bool]:
        """Excludes nobody: there is no other process, and no work to save."""
        return nullcontext(True)


class _IndependentReaders(MemoryFileSystem):  # type: ignore[misc]
    """The global memory filesystem, except that each open file has its own position.

    fsspec's own hands the stored object itself to every reader, so that readers in two threads move each other.
    """

    cachable = False

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb":
            file = self.store.get(self._strip_protocol(path))
            if file is None:
                raise FileNotFoundError(path)
            return io.BytesIO(file.getvalue())
        return super()._open(path, mode, **options)
