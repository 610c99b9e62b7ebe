"""A journal as it lies in storage, for those who check it or clean up after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from trialstore.blobs.protocol import BlobInfo, Blobs
from trialstore.journal.checkpoint import Checkpoints
from trialstore.journal.journal import Journal
from trialstore.journal.log import Log
from trialstore.journal.machine import Machine
from trialstore.journal.retention import truncation_points
from trialstore.journal.session import SessionId
from trialstore.model.errors import BlobNotFoundError, DamagedError

__all__ = ["StoredJournal"]

MachineT = TypeVar("MachineT", bound=Machine)


@dataclass(frozen=True, slots=True)
class StoredJournal(Generic[MachineT]):
    """Where the commits and checkpoints of one journal are.

    Attributes:
        blobs: The store's blobs.
        name: ``catalog``, or ``experiment=<key>``.
        make: Makes the empty state.
        retention_s: The store's retention time.
    """

    blobs: Blobs
    name: str
    make: Callable[[], MachineT]
    retention_s: float

    @property
    def log(self) -> Log:
        """Its commits."""
        return Log(self.blobs, self.name)

    @property
    def checkpoints(self) -> Checkpoints:
        """Its checkpoints."""
        return Checkpoints(self.blobs, f"checkpoints/{self.name}", self.retention_s)

    def open(self) -> Journal[MachineT]:
        """The journal, to be read by somebody who has not looked at it before."""
        return Journal(self.log, self.checkpoints, self.make, SessionId(), writable=False)

    def expired(self, now: datetime) -> tuple[list[BlobInfo], int]:
        """The commits that may be deleted, oldest first, and the sequence number that history then starts at.

        Safe beside live and suspended writers; see `trialstore.journal.retention`.

        Args:
            now: The time by the backend's clock.
        """
        readable = []
        checkpoints = self.checkpoints
        for checkpoint in truncation_points(checkpoints.aged(now), self.retention_s):
            try:
                checkpoints.read(checkpoint.key, self.make)
            except (DamagedError, BlobNotFoundError):
                continue
            readable.append(checkpoint)
            if len(readable) == 2:
                break
        else:
            return [], 0
        start = readable[1].seq
        return [info for info in self.log.commits() if Log.seq_of(info.key) < start], start
