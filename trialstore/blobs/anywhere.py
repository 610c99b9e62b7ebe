"""Files of any filesystem that fsspec knows: enough for a bucket of objects, not for a store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import IO, Any, cast

import fsspec

from trialstore.blobs.keys import check_key, check_prefix
from trialstore.blobs.oserrors import from_oserror
from trialstore.blobs.protocol import BlobInfo
from trialstore.blobs.sealed import Sealed, opened, seal
from trialstore.blobs.secrets import without_secrets
from trialstore.model.errors import (
    BlobNotFoundError,
    MissingExtraError,
    StoreUnavailableError,
    TrialStoreError,
    UnsafeBackendError,
    UsageError,
)
from trialstore.model.identity import new_ulid

__all__ = ["AnywhereBlobs"]

_CHUNK_BYTES = 1 << 20
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class AnywhereBlobs:
    """Blobs under any fsspec address: SFTP, FTP, HDFS, WebDAV, a chain such as ``simplecache::https://…``.

    What `Blobs` promises holds, except that nothing is created on condition, which `create` refuses, and that a write
    is in one step only as far as the filesystem moves files in one step. Times are this machine's where it tells none.

    Args:
        url: The folder.
        options: Arguments of the fsspec filesystem.

    Raises:
        UsageError: fsspec does not know the scheme, or the options do not fit.
        MissingExtraError: the package that serves the scheme is not installed.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url.rstrip("/")
        self._options = dict(options)
        try:
            self._fs, root = fsspec.core.url_to_fs(
                self._url, use_listings_cache=False, skip_instance_cache=True, **self._options
            )
        except ImportError as error:
            raise MissingExtraError(
                "the scheme needs a package that is not installed", hint="install it", url=self.url, reason=str(error)
            ) from None
        except (ValueError, TypeError) as error:
            raise UsageError("not an address of a bucket", hint="see fsspec", url=self.url, reason=str(error)) from None
        self._base = root.rstrip("/") + "/"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (type(self), self._url, seal(self._options))

    @property
    def url(self) -> str:
        """The address as it was given, without a slash at the end, and without a password in it."""
        return without_secrets(self._url)

    @property
    def filesystem(self) -> Any:
        """The fsspec filesystem."""
        return self._fs

    def engine_path(self, key: str) -> str:
        """The blob's address."""
        return str(self._fs.unstrip_protocol(self._base + check_key(key)))

    @contextmanager
    def _doing(self, doing: str, **facts: object) -> Iterator[None]:
        try:
            yield
        except TrialStoreError:
            raise
        except OSError as error:
            raise from_oserror(error, doing, **facts, url=self.url) from error
        except Exception as error:  # each filesystem has errors of its own
            raise StoreUnavailableError(
                f"failed to {doing}", hint="check the address", **facts, url=self.url, reason=str(error)
            ) from error

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a blob, or of the range `[start, end)` of it."""
        if (start or 0) < 0 or (end is not None and end < (start or 0)):
            raise UsageError("not a range of bytes", hint="use 0 <= start <= end", key=key, start=start, end=end)
        path = self._base + check_key(key)
        with self._doing("read a blob", key=key):
            try:
                return cast("bytes", self._fs.cat_file(path, start=start, end=end))
            except _ABSENT:
                raise BlobNotFoundError("no such blob", key=key, url=self.url) from None

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes of several blobs; None where there is none."""
        return [None if self.info(key) is None else self.read(key) for key in keys]

    def create(self, key: str, data: bytes) -> bool:
        """Refuses: this filesystem may let two writers win."""
        raise UnsafeBackendError("this kind of storage cannot create a file without a race", url=self.url, key=key)

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Write a blob, replacing the one there may be."""
        self._write(key, lambda temporary: self._fs.pipe_file(temporary, data))

    def write_stream(self, key: str, source: IO[bytes], *, name: Callable[[], str] | None = None) -> int:
        """Write a blob of any size from an open file, a mebibyte at a time; returns its size in bytes."""
        size = 0

        def copy(temporary: str) -> None:
            nonlocal size
            with self._fs.open(temporary, "wb") as file:
                while chunk := source.read(_CHUNK_BYTES):
                    file.write(chunk)
                    size += len(chunk)

        self._write(key, copy, name)
        return size

    def _write(self, key: str, fill: Callable[[str], object], name: Callable[[], str] | None = None) -> None:
        folder = self._base + (check_key(key) if name is None else check_prefix(key)).rpartition("/")[0]
        temporary = os.path.join(folder, f".{new_ulid()}.tmp")
        with self._doing("write a blob", key=key):
            try:
                self._fs.makedirs(folder, exist_ok=True)
                fill(temporary)
                path = self._base + check_key(key if name is None else key + name())
                if self._fs.exists(path):
                    self._fs.rm_file(path)  # not every filesystem moves over a file
                self._fs.mv(temporary, path)
            except BaseException:
                with suppress(Exception):
                    self._fs.rm_file(temporary)
                raise

    def open(self, key: str) -> IO[bytes]:
        """A seekable reader of a blob."""
        path = self._base + check_key(key)
        with self._doing("read a blob", key=key):
            try:
                return cast("IO[bytes]", self._fs.open(path, "rb"))
            except _ABSENT:
                raise BlobNotFoundError("no such blob", key=key, url=self.url) from None

    def info(self, key: str) -> BlobInfo | None:
        """Size and time of a blob, None when there is none."""
        path = self._base + check_key(key)
        with self._doing("look at a blob", key=key):
            try:
                found = self._fs.info(path)
            except _ABSENT:
                return None
            return self._told(found) if found["type"] == "file" else None

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All blobs under the folder `prefix`, by key."""
        start = self._base + check_prefix(prefix)
        with self._doing("list a folder", prefix=prefix):
            found = self._fs.find(start.rstrip("/"), detail=True, withdirs=False)
        infos = (self._told(item) for item in found.values() if item["type"] == "file")
        return iter(sorted((i for i in infos if "/." not in f"/{i.key}"), key=lambda info: info.key))

    def _told(self, found: Mapping[str, Any]) -> BlobInfo:
        at = found.get("mtime") or found.get("modified") or found.get("LastModified")
        if isinstance(at, (int, float)):
            at = datetime.fromtimestamp(at, UTC)
        if not isinstance(at, datetime):
            at = datetime.now(UTC)
        name = self._fs._strip_protocol(found["name"])
        key = name.lstrip("/").removeprefix(self._base.lstrip("/"))
        return BlobInfo(key, found["size"], at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC))

    def wait(self, key: str, patience_s: float) -> None:
        """Return after so long."""
        time.sleep(patience_s)

    def delete(self, keys: Iterable[str], *, durable: bool = True) -> None:
        """Remove blobs; a key that does not exist is no error."""
        for key in keys:
            path = self._base + check_key(key)
            with self._doing("delete a blob", key=key):
                try:
                    self._fs.rm_file(path)
                except _ABSENT:
                    pass

    def guard(self, name: str, *, patience_s: float = 1.0) -> AbstractContextManager[bool]:
        """Excludes nobody."""
        return nullcontext(True)


def _reopen(kind: type[AnywhereBlobs], url: str, options: Mapping[str, Any] | Sealed) -> AnywhereBlobs:
    return kind(url, opened(options))
