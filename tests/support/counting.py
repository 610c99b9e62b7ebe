"""A backend that counts what is asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import IO, Any, Self

from trialstore.blobs.protocol import BlobInfo, Blobs


class CountingBlobs:
    """Passes every call on to `inner`.

    Attributes:
        calls: How often each method was called. A `read_many` of n keys counts as one call and n in `blobs_read`.
        bytes_read: By `read`, `read_many`, and what is read from `open`.
        bytes_written: By `create`, `write` and `write_stream`.
        keys: The keys of each method, in order.
    """

    def __init__(self, inner: Blobs) -> None:
        self.inner = inner
        self.reset()

    def reset(self) -> None:
        self.calls: Counter[str] = Counter()
        self.keys: dict[str, list[str]] = {}
        self.blobs_read = 0
        self.bytes_read = 0
        self.bytes_written = 0

    def _count(self, method: str, *keys: str) -> None:
        self.calls[method] += 1
        self.keys.setdefault(method, []).extend(keys)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.inner,)

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def filesystem(self) -> Any:
        return self.inner.filesystem

    def engine_path(self, key: str) -> str:
        return self.inner.engine_path(key)

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        self._count("read", key)
        data = self.inner.read(key, start, end)
        self.blobs_read += 1
        self.bytes_read += len(data)
        return data

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self._count("read_many", *keys)
        found = self.inner.read_many(keys)
        self.blobs_read += sum(data is not None for data in found)
        self.bytes_read += sum(len(data) for data in found if data is not None)
        return found

    def create(self, key: str, data: bytes) -> bool:
        self._count("create", key)
        created = self.inner.create(key, data)
        self.bytes_written += len(data) if created else 0
        return created

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        self._count("write", key)
        self.inner.write(key, data, durable=durable)
        self.bytes_written += len(data)

    def write_stream(self, key: str, source: IO[bytes], *, name: Callable[[], str] | None = None) -> int:
        self._count("write_stream", key)
        size = self.inner.write_stream(key, source, name=name)
        self.bytes_written += size
        return size

    def open(self, key: str) -> IO[bytes]:
        self._count("open", key)
        return _CountingReader(self, self.inner.open(key))  # type: ignore[return-value]

    def info(self, key: str) -> BlobInfo | None:
        self._count("info", key)
        return self.inner.info(key)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        self._count("list", prefix)
        return self.inner.list(prefix)

    def wait(self, key: str, patience_s: float) -> None:
        self.inner.wait(key, patience_s)

    def delete(self, keys: Iterable[str], *, durable: bool = True) -> None:
        keys = [*keys]
        self._count("delete", *keys)
        self.inner.delete(keys, durable=durable)

    def guard(self, name: str, *, patience_s: float = 1.0) -> AbstractContextManager[bool]:
        self._count("guard", name)
        return self.inner.guard(name, patience_s=patience_s)


class _CountingReader:
    def __init__(self, counts: CountingBlobs, file: IO[bytes]) -> None:
        self._counts = counts
        self._file = file

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._counts.bytes_read += len(data)
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
