"""From an address to its blobs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fsspec import available_protocols
from fsspec.registry import registry

from trialstore.blobs.anywhere import AnywhereBlobs
from trialstore.blobs.local import Durability, LocalBlobs
from trialstore.blobs.memory import MemoryBlobs
from trialstore.blobs.protocol import Blobs
from trialstore.blobs.remote import RemoteBlobs
from trialstore.blobs.sealed import Sealed, opened, seal
from trialstore.blobs.secrets import holds_secret, without_secrets
from trialstore.model.errors import UnsafeBackendError, UsageError, nearest

__all__ = ["BlobsSpec", "open_anywhere", "open_blobs"]

_BUCKETS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "adl": "az",
}
"""Schemes whose fsspec filesystem has a true conditional create, and the one name each goes by."""

_SCHEMES = ("file", "memory", *_BUCKETS)
_WORKING = "use a path, file://, memory://, s3://, gs:// or az://"


def open_blobs(
    url: str | os.PathLike[str] | Blobs,
    *,
    durability: Durability = "machine",
    storage_options: Mapping[str, Any] | None = None,
) -> Blobs:
    """The blobs under an address. Nothing is read or written, and nothing is connected to.

    Args:
        url: A path (``~`` is the home folder), ``file://``, ``memory://``, ``s3://``, ``gs://`` (``gcs://``),
            or ``az://`` (``abfs://``, ``abfss://``, ``adl://``). Blobs of another kind are returned as they are;
            they must keep what `Blobs` promises, which `trialstore.testing.BlobsContract` tests.
        durability: What a returned write to a local path survives: ``"machine"`` a crash of the machine,
            ``"process"`` only the end of the process. Buckets always give the first, memory neither.
        storage_options: Arguments of the fsspec filesystem: keys, endpoints; for buckets only.

    Raises:
        UsageError: the address has no such scheme, names no bucket, or is a file.
        UnsafeBackendError: the scheme is known, but its filesystem cannot create without a race.
        MissingExtraError: the package that serves the scheme is not installed; the hint names the extra.
    """
    if not isinstance(url, str | os.PathLike):
        return _given(url, storage_options)
    text = os.fspath(url)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise UsageError("not an address of a store", hint=_WORKING, url=url)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _open_path(os.path.expanduser(text), durability, storage_options)
    scheme = scheme.lower()
    if scheme in ("file", "local"):
        return _open_path(rest, durability, storage_options)
    if scheme == "memory":
        return MemoryBlobs(rest)
    if scheme in _BUCKETS:
        if holds_secret(text):
            raise UsageError(
                "an address holds no credentials", hint="pass them as storage_options", url=without_secrets(text)
            )
        return RemoteBlobs(f"{_BUCKETS[scheme]}://{rest}", storage_options or {})
    raise _refuse(scheme, text)


def open_anywhere(
    url: str | os.PathLike[str] | Blobs,
    *,
    durability: Durability = "machine",
    storage_options: Mapping[str, Any] | None = None,
) -> Blobs:
    """As `open_blobs`, and any other address that fsspec knows: its files can be read and written, but no store kept.

    Raises:
        UsageError: fsspec does not know the scheme either.
        MissingExtraError: the package that serves the scheme is not installed.
    """
    text = os.fspath(url) if isinstance(url, str | os.PathLike) else ""
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if "::" in scheme or (scheme and scheme not in (*_SCHEMES, "local") and _known_to_fsspec(scheme)):
        return AnywhereBlobs(text, storage_options or {})
    return open_blobs(url, durability=durability, storage_options=storage_options)


@dataclass(frozen=True, slots=True)
class BlobsSpec:
    """Where blobs are, as a value that can be pickled and sent to another process.

    Attributes:
        url: As for `open_blobs`. Blobs must be picklable, and have a `repr` that names their place.
        durability: As for `open_blobs`.
        storage_options: As for `open_blobs`. Not shown, since it may hold secrets.
    """

    url: str | os.PathLike[str] | Blobs
    durability: Durability = "machine"
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)

    def __reduce__(self) -> tuple[object, ...]:
        return _spec, (self.url, self.durability, seal(self.storage_options or {}))

    def open(self) -> Blobs:
        """The blobs, on connections of their own."""
        return open_blobs(self.url, durability=self.durability, storage_options=self.storage_options)


def _spec(url: Any, durability: Durability, options: Mapping[str, Any] | Sealed) -> BlobsSpec:
    return BlobsSpec(url, durability, opened(options) or None)


def _given(blobs: Blobs, storage_options: Mapping[str, Any] | None) -> Blobs:
    if not hasattr(blobs, "engine_path"):
        raise UsageError("not an address of a store", hint=_WORKING, url=blobs)
    if storage_options:
        raise UsageError("blobs that are open take no storage options", hint="leave them out", url=blobs.url)
    return blobs


def _open_path(path: str, durability: Durability, storage_options: Mapping[str, Any] | None) -> Blobs:
    if storage_options:
        raise UsageError(
            "a local path takes no storage options", hint="leave them out", path=path, options=sorted(storage_options)
        )
    if not path:
        raise UsageError("the address names no folder", hint="for example file:///data/results")
    return LocalBlobs(path, durability=durability)


def _known_to_fsspec(scheme: str) -> bool:
    return scheme in registry or scheme in available_protocols()


def _refuse(scheme: str, url: str) -> Exception:
    url = without_secrets(url)
    if _known_to_fsspec(scheme):
        return UnsafeBackendError(
            "this kind of storage cannot create a file without a race between writers",
            hint=_WORKING,
            scheme=scheme,
            url=url,
        )
    near = nearest(scheme, _SCHEMES)
    return UsageError(
        "unknown scheme", hint=f"did you mean {near[0]}://?" if near else _WORKING, scheme=scheme, url=url
    )
