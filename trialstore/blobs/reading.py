"""Blobs through which nothing can be written, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any, NoReturn

from trialstore.blobs.protocol import BlobInfo, Blobs
from trialstore.model.errors import ReadOnlyError

__all__ = ["ReadingBlobs"]


class ReadingBlobs:
    """Other blobs, without the verbs that change them: what ``mode="r"`` rests on.

    Args:
        inner: The blobs that are read. Attributes that only some backends have are theirs too.
    """

    def __init__(self, inner: Blobs) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    def __reduce__(self) -> tuple[type[ReadingBlobs], tuple[Blobs]]:
        return type(self), (self.inner,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def url(self) -> str:
        """The address of the inner blobs."""
        return self.inner.url

    @property
    def filesystem(self) -> Any | None:
        """The inner blobs' filesystem for engines."""
        return self.inner.filesystem

    def engine_path(self, key: str) -> str:
        """How engines name the blob."""
        return self.inner.engine_path(key)

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a blob, or of a range of it."""
        return self.inner.read(key, start, end)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes of several blobs; None where there is none."""
        return self.inner.read_many(keys)

    def open(self, key: str) -> IO[bytes]:
        """A seekable reader of a blob."""
        return self.inner.open(key)

    def info(self, key: str) -> BlobInfo | None:
        """Size and time of a blob, None when there is none."""
        return self.inner.info(key)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All blobs under a folder, by key."""
        return self.inner.list(prefix)

    def guard(self, name: str, *, patience_s: float = 1.0) -> AbstractContextManager[bool]:
        """Excludes nobody, since a lock may be a file."""
        return nullcontext(True)

    def create(self, key: str, data: bytes) -> bool:
        """Refused."""
        self._refuse(key)

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Refused."""
        self._refuse(key)

    def write_stream(self, key: str, source: IO[bytes], *, name: Callable[[], str] | None = None) -> int:
        """Refused."""
        self._refuse(key)

    def wait(self, key: str, patience_s: float) -> None:
        """Return when a blob may have been deleted, or after so long."""
        self.inner.wait(key, patience_s)

    def finish(self, folder: str) -> None:
        """Refused."""
        self._refuse(folder)

    def delete(self, keys: Iterable[str], *, durable: bool = True) -> None:
        """Refused, unless there is nothing to delete."""
        for key in keys:
            self._refuse(key)

    def _refuse(self, key: str) -> NoReturn:
        raise ReadOnlyError("store was opened for reading", hint='open it with mode="rw"', url=self.inner.url, blob=key)
