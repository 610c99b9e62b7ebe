"""Blobs in a bucket: S3 and what speaks it, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import IO, Any, cast

from trialstore.blobs.connection import Connection, Failed
from trialstore.blobs.faults import Fault
from trialstore.blobs.keys import check_key, check_prefix
from trialstore.blobs.oserrors import from_oserror
from trialstore.blobs.protocol import BlobInfo
from trialstore.blobs.ranged import open_ranges, read_fully
from trialstore.blobs.retry import Retry
from trialstore.blobs.sealed import Sealed, opened, seal
from trialstore.model.errors import BlobNotFoundError, StoreUnavailableError, UsageError

__all__ = ["RemoteBlobs"]

_CREATE_LIMIT_BYTES = 32 << 20
_WHOLE_BYTES = 16 << 20
_READ_OPTIONS: dict[str, dict[str, Any]] = {"s3": {"max_concurrency": 1}, "gs": {}, "az": {"max_concurrency": 1}}
"""One request a read: s3fs asks for the size first unless told not to split."""
_UPLOAD_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"max_concurrency": 2},
    "gs": {},
    "az": {"max_concurrency": 2, "overwrite": True},
}
_WRITE_OPTIONS: dict[str, dict[str, Any]] = {"s3": {}, "gs": {}, "az": {"overwrite": True}}


class RemoteBlobs:
    """Blobs under a prefix of a bucket; see `Blobs` for what every backend guarantees.

    `create` is the bucket's own conditional write, so it excludes between all writers anywhere. Nothing is
    answered from a cache. May be pickled, and used in a forked child.

    Args:
        url: ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
        options: Arguments of the fsspec filesystem: keys, endpoint, region.
        retry: How often a request is sent that was not answered or turned away.

    Raises:
        UsageError: the address names no bucket, or its prefix is not a key.
        MissingExtraError: the package that serves the scheme is not installed.
    """

    def __init__(self, url: str, options: Mapping[str, Any], *, retry: Retry | None = None) -> None:
        self._scheme, _, rest = url.partition("://")
        place, *parts = [part for part in rest.split("/") if part] or [""]
        if not place:
            raise UsageError("the address names no bucket", hint=f"for example {self._scheme}://bucket/path", url=url)
        if parts:
            check_key("/".join(parts))
        self._url = "/".join([f"{self._scheme}://{place}", *parts])
        self._options = dict(options)
        self._retry = retry or Retry()
        self._connection = Connection(self._scheme, self._url, options, self._retry)
        self._base = f"{self._connection.kind._strip_protocol(self._url)}/"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (type(self), self._url, seal(self._options), self._retry)

    @property
    def url(self) -> str:
        """The scheme's one name, the bucket and the prefix, without a slash at the end."""
        return self._url

    @property
    def filesystem(self) -> Any:
        """An fsspec filesystem for engines; it caches, so only for blobs that never change."""
        return self._connection.engine_filesystem()

    def engine_path(self, key: str) -> str:
        """The blob's URL."""
        return f"{self._scheme}://{self._base}{check_key(key)}"

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a blob, or of the range `[start, end)` of it. Cost: one request."""
        data = self._read(key, start, end)
        if data is None:
            raise BlobNotFoundError("no such blob", key=key, url=self._url)
        return data

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes of several blobs, fetched side by side; None where there is none."""
        if len(keys) == 1:
            return [self._read(keys[0])]
        return self._connection.side_by_side(self._read, keys)

    def _read(self, key: str, start: int | None = None, end: int | None = None) -> bytes | None:
        path = self._base + check_key(key)
        options = dict(_READ_OPTIONS[self._scheme])
        if start is not None or end is not None:
            first = start or 0
            if first < 0 or (end is not None and end < first):
                raise UsageError("not a range of bytes", hint="use 0 <= start <= end", key=key, start=start, end=end)
            if end == first:
                return None if self.info(key) is None else b""
            options |= {"start": first, "end": end}
        try:
            return cast("bytes", self._connection.call("read a blob", lambda fs: fs.cat_file(path, **options), key=key))
        except Failed as failed:
            return b"" if failed.fault is Fault.BEYOND else None

    def create(self, key: str, data: bytes) -> bool:
        """Write a blob if there is none of this key; True for exactly one caller.

        Raises:
            UsageError: more than 32 MiB; some servers ignore the condition on an upload in parts.
        """
        path = self._base + check_key(key)
        if len(data) > _CREATE_LIMIT_BYTES:
            raise UsageError(
                "too large to be created on condition", hint="use write", key=key, limit_bytes=_CREATE_LIMIT_BYTES
            )
        try:
            self._connection.call(
                "create a blob", lambda fs: fs.pipe_file(path, data, mode="create"), writes=True, key=key
            )
        except Failed as failed:
            if failed.fault is Fault.TAKEN:
                return False
            raise self._connection.no_bucket() from failed
        return True

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Write a blob, replacing the one there may be in one step."""
        path = self._base + check_key(key)
        options = _WRITE_OPTIONS[self._scheme]
        try:
            self._connection.call("write a blob", lambda fs: fs.pipe_file(path, data, **options), writes=True, key=key)
        except Failed as failed:
            raise self._connection.no_bucket() from failed

    def write_stream(self, key: str, source: IO[bytes], *, name: Callable[[], str] | None = None) -> int:
        """Write a blob of any size from an open file; returns its size in bytes.

        What is larger than 16 MiB goes through a temporary file, so that an upload can be sent again, and one
        that breaks off never appears as a shorter blob. With `name`, what is there already is not sent.
        """
        if name is None:
            check_key(key)
        else:
            check_prefix(key)
        head = read_fully(source, _WHOLE_BYTES)
        if len(head) < _WHOLE_BYTES:
            self.write(key if name is None else key + name(), head)
            return len(head)
        options = _UPLOAD_OPTIONS[self._scheme]
        with tempfile.NamedTemporaryFile() as whole:
            try:
                whole.write(head)
                shutil.copyfileobj(source, whole, 1 << 20)
                whole.flush()
            except OSError as error:
                raise from_oserror(error, "keep a copy to upload", key=key, path=whole.name) from error
            if name is not None:
                key += name()
                known = self.info(key)
                if known is not None and known.size_bytes == whole.tell():
                    return known.size_bytes
            path = self._base + check_key(key)
            try:
                self._connection.call(
                    "write a blob", lambda fs: fs.put_file(whole.name, path, **options), writes=True, key=key
                )
            except Failed as failed:
                raise self._connection.no_bucket() from failed
            return whole.tell()

    def open(self, key: str) -> IO[bytes]:
        """A seekable reader of a blob that fetches only what is read, a mebibyte ahead."""
        found = self.info(key)
        if found is None:
            raise BlobNotFoundError("no such blob", key=key, url=self._url)
        return open_ranges(lambda start, end: self.read(key, start, end), found.size_bytes)

    def info(self, key: str) -> BlobInfo | None:
        """Size and time of a blob, None when there is none. Never from a cache."""
        path = self._base + check_key(key)
        try:
            found = self._connection.call("look at a blob", lambda fs: fs.info(path), key=key)
        except Failed:
            return None
        return None if found["type"] != "file" else BlobInfo(key, found["size"], _modified_at(found))

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All blobs under the folder `prefix`, by key. Cost: a request a thousand blobs; memory for all of them."""
        start = self._base + check_prefix(prefix)
        try:
            found = self._connection.call(
                "list a folder", lambda fs: fs.find(start, detail=True, withdirs=False), prefix=prefix
            )
        except Failed:
            return iter(())
        if not isinstance(found, dict):  # adlfs, where a blob has the folder's own name
            return iter(())
        cut = len(self._base)
        return (
            BlobInfo(path[cut:], found[path]["size"], _modified_at(found[path]))
            for path in sorted(found)
            if found[path]["type"] == "file" and path.startswith(start) and path[-1] != "/" and "/." not in path
        )

    def wait(self, key: str, patience_s: float) -> None:
        """Return after so long: looking whether the blob is there costs a request."""
        time.sleep(patience_s)

    def delete(self, keys: Iterable[str], *, durable: bool = True) -> None:
        """Remove blobs, side by side; a key that does not exist is no error. Cost: a request a blob."""
        self._connection.side_by_side(self._delete, [check_key(key) for key in keys])

    def _delete(self, key: str) -> None:
        path = self._base + key
        try:
            self._connection.call("delete a blob", lambda fs: fs.rm_file(path), writes=True, key=key)
        except Failed:
            pass

    def guard(self, name: str, *, patience_s: float = 1.0) -> AbstractContextManager[bool]:
        """Excludes nobody."""
        return nullcontext(True)


def _reopen(kind: type[RemoteBlobs], url: str, options: Mapping[str, Any] | Sealed, retry: Retry) -> RemoteBlobs:
    return kind(url, opened(options), retry=retry)


def _modified_at(found: Mapping[str, Any]) -> datetime:
    for name in ("LastModified", "mtime", "last_modified"):  # s3fs, gcsfs, adlfs
        time = found.get(name)
        if isinstance(time, datetime):
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    raise StoreUnavailableError(
        "the bucket did not say when a blob was written", hint="check the endpoint", blob=found.get("name")
    )
