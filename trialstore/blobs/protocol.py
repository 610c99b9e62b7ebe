"""The seam to storage: what a backend must do, and nothing that only some can."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Protocol, cast

__all__ = ["BlobInfo", "Blobs", "DiskBlobs", "on_disk"]


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """What a backend tells of a blob without reading it.

    Attributes:
        key: The blob's key, relative to the root of the store.
        size_bytes: Its size.
        modified_at: When it was last written, aware UTC, by the backend's own clock.
    """

    key: str
    size_bytes: int
    modified_at: datetime


class Blobs(Protocol):
    """Blobs under one root. A key is a relative path with ``/`` between its parts.

    Guarantees of every backend: a blob is seen whole or not at all, by every process; what a returned
    call wrote is there for the next call of any process; all methods may be called from many threads.

    Errors of every backend: `AccessDeniedError`, `StorageFullError` and `StoreUnavailableError` when
    nothing was written; `OutcomeUnknownError` when a write may or may not have happened. No error of a
    lower layer comes through.
    """

    @property
    def url(self) -> str:
        """The canonical address of the root; two spellings of one place have one url."""
        ...

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a blob, or of the range `[start, end)` of it.

        Raises:
            BlobNotFoundError: there is no such blob.
        """
        ...

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes of several blobs, fetched side by side; None where there is none."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Write a blob if there is none of this key: of all callers in all processes one gets True.

        False means that a blob of this key exists. It can be the caller's own: an answer was lost on the
        way and the client tried again. A caller that must know reads it back.
        """
        ...

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Write a blob, replacing the one there may be in one step.

        Without `durable` a crash of the machine may lose it, or leave it damaged, and who has opened an earlier blob
        that was written so, and deleted since, may find this one in it: for what carries its own checksum.
        """
        ...

    def wait(self, key: str, patience_s: float) -> None:
        """Return when a blob that was written here without `durable` may have been deleted, or after so long.

        It saves looking again and again, and promises nothing.
        """
        ...

    def write_stream(self, key: str, source: IO[bytes], *, name: Callable[[], str] | None = None) -> int:
        """Write a blob of any size from an open file, in bounded memory; returns its size in bytes.

        With `name`, `key` is a folder that ends with ``/``, and the function gives the blob's name in it once the
        source was read to its end. Such a name stands for the bytes: a blob that has it already may stay as it is.
        """
        ...

    def open(self, key: str) -> IO[bytes]:
        """A seekable reader of a blob that fetches only what is read.

        Raises:
            BlobNotFoundError: there is no such blob.
        """
        ...

    def info(self, key: str) -> BlobInfo | None:
        """Size and time of a blob, None when there is none. Never from a cache."""
        ...

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All blobs whose key starts with the folder `prefix` (ends with ``/``, or is empty), by key."""
        ...

    def delete(self, keys: Iterable[str], *, durable: bool = True) -> None:
        """Remove blobs; a key that does not exist is no error.

        Without `durable` a crash of the machine may bring them back.
        """
        ...

    def guard(self, name: str, *, patience_s: float = 1.0) -> AbstractContextManager[bool]:
        """An advisory lock that saves wasted work among the processes of one machine.

        It may exclude nobody: correctness never rests on it. The block gets False when another process still
        held the lock after `patience_s`, and True when the caller may go ahead.
        """
        ...

    def engine_path(self, key: str) -> str:
        """How DuckDB and Polars name the blob: an absolute path on local disk, else a URL."""
        ...

    @property
    def filesystem(self) -> Any | None:
        """The fsspec filesystem that serves `engine_path` URLs, None on local disk.

        It is an instance of its own that may cache listings and contents: only for blobs that never change.
        """
        ...


class DiskBlobs(Blobs, Protocol):
    """Blobs on a disk of this machine, which can be seen before they are durable."""

    def create(self, key: str, data: bytes, *, force: bool = True) -> bool:
        """Write a blob if there is none of this key; True for exactly one caller.

        Args:
            key: Of the blob.
            data: What it holds.
            force: False where it is enough that it is durable before any blob is that is created in its folder after
                it was seen, or with `force`. The end of the process takes nothing back.
        """

    def force(self, folder: str) -> None:
        """Have all blobs on the disk that were created in a folder with ``force=False``."""

    def unfinished(self, folder: str) -> dict[str, bytes] | None:
        """What a crash of the machine may have taken or damaged of a folder's blobs: their names, and what they held.

        None when the machine did not crash. Where a blob is missing or damaged, whoever holds the folder's guard writes
        it again, then calls `finish`.
        """

    def finish(self, folder: str) -> None:
        """Have all blobs on the disk, and forget what was written ahead; for whoever holds the folder's guard."""


def on_disk(blobs: Blobs) -> DiskBlobs | None:
    """The blobs themselves, where they are such."""
    return cast("DiskBlobs", blobs) if hasattr(blobs, "unfinished") else None
