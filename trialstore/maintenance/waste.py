"""A blob that nobody needs, as a value; and the clock that its age is measured by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from trialstore.blobs.probe import PROBES
from trialstore.blobs.protocol import BlobInfo, Blobs
from trialstore.model.identity import new_ulid

__all__ = ["IN_WORK", "Waste", "time_of"]

IN_WORK = timedelta(hours=2)
"""So long what nothing names yet may be in work: twice the longest time that a session may hold back its rows."""


@dataclass(frozen=True, slots=True)
class Waste:
    """A blob that may be deleted.

    Attributes:
        blob: Its key.
        size_bytes: Its size.
        reason: Why nobody needs it.
    """

    blob: str
    size_bytes: int
    reason: str

    @classmethod
    def of(cls, info: BlobInfo, reason: str) -> Waste:
        """The blob that a listing told of."""
        return cls(info.key, info.size_bytes, reason)


def time_of(blobs: Blobs, *, writable: bool) -> datetime:
    """The time now by the backend's clock; by this machine's where nothing may be written."""
    if not writable:
        return datetime.now(UTC)
    key = f"{PROBES}{new_ulid()}/time"
    blobs.write(key, b"")
    try:
        info = blobs.info(key)
    finally:
        blobs.delete([key])
    return datetime.now(UTC) if info is None else info.modified_at
