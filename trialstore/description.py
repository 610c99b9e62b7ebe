"""What a store says of itself: the blob that makes a folder or a bucket a store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic_core import from_json, to_json

from trialstore.blobs.probe import PROBES, probe
from trialstore.blobs.protocol import Blobs
from trialstore.journal.commit import FORMAT
from trialstore.journal.retention import RETENTION_S
from trialstore.model.errors import (
    BlobNotFoundError,
    DamagedError,
    FormatTooNewError,
    StoreNotFoundError,
    UsageError,
)
from trialstore.model.identity import new_ulid
from trialstore.model.times import format_time, now_text, parse_time

__all__ = ["MARKER", "describe", "retention_s"]

MARKER = "trialstore.json"
_SHORTEST_RETENTION_S = 60.0
_LONGEST_RETENTION_S = 100 * 366 * 86400.0


def describe(blobs: Blobs, *, writable: bool, retention: timedelta | None) -> dict[str, Any]:
    """What the store says of itself; it is created when there is none and `writable` allows.

    Raises:
        StoreNotFoundError, UsageError, UnsafeBackendError, FormatTooNewError: see `trialstore.open`.
        DamagedError: the description is not what was written.
    """
    try:
        data = blobs.read(MARKER)
    except BlobNotFoundError:
        data = _create(blobs, writable, retention)
    try:
        body: dict[str, Any] = from_json(data)
        version = body["format"]
        if type(version) is not int or version < 1:
            raise ValueError("no version of a format")
        if version <= FORMAT:
            format_time(parse_time(body["created_at"]))
            if type(body["store"]) is not str:
                raise TypeError("no identifier of a store")
    except (ValueError, KeyError, TypeError):
        raise DamagedError("store's description cannot be read", blob=MARKER, url=blobs.url) from None
    if version > FORMAT:
        raise FormatTooNewError(
            "store was written by a newer trialstore",
            hint="upgrade trialstore",
            url=blobs.url,
            format=version,
            known_format=FORMAT,
        )
    return body


def retention_s(about: Mapping[str, Any]) -> float:
    """How long the store keeps history."""
    seconds = about.get("retention_s", RETENTION_S)
    if not isinstance(seconds, int | float) or not _SHORTEST_RETENTION_S <= seconds <= _LONGEST_RETENTION_S:
        raise DamagedError("store's description names no length of time for its retention", blob=MARKER, found=seconds)
    return float(seconds)


def _create(blobs: Blobs, writable: bool, retention: timedelta | None) -> bytes:
    if not writable:
        raise StoreNotFoundError("there is no store here", hint='open it with mode="rw" to create one', url=blobs.url)
    other = next((info.key for info in blobs.list("") if not info.key.startswith(PROBES)), None)
    if other is not None:
        try:
            return blobs.read(MARKER)  # somebody created the store meanwhile
        except BlobNotFoundError:
            raise UsageError(
                "the place holds something else", hint="choose an empty folder", url=blobs.url, found=other
            ) from None
    probe(blobs)
    about: dict[str, Any] = {"format": FORMAT, "store": new_ulid(), "created_at": now_text()}
    if retention is not None:
        about["retention_s"] = retention.total_seconds()
        if about["retention_s"] < _SHORTEST_RETENTION_S:
            raise UsageError("retention is too short", hint="use at least a minute", retention=str(retention))
    data = to_json(about) + b"\n"
    return data if blobs.create(MARKER, data) else blobs.read(MARKER)
