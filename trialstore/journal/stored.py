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

_BATCH = 64


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
        start = self._start(now)
        return [info for info in self.log.commits() if Log.seq_of(info.key) < start], start

    def truncate(self, now: datetime, most: int) -> int:
        """Delete some of the commits that `expired` names, oldest first, without listing them; returns how many.

        Cost: a listing of the checkpoints and a look, where nothing has expired. Else two reads of checkpoints, a look
        for each factor of two of what is there, and the deletions.

        Args:
            now: The time by the backend's clock.
            most: How many to delete at the most.
        """
        aged = truncation_points(self.checkpoints.aged(now), self.retention_s)
        if len(aged) < 2 or not self._is_there(aged[1].seq - 1):
            return 0
        start = self._start(now)
        first = self._first(start)
        end = min(start, first + most)
        # Of a batch that somebody was killed in some may be left over before the first that is followed by all others.
        for seq in range(max(0, first - _BATCH), end, _BATCH):
            self.blobs.delete([self.log.blob(number) for number in range(seq, min(seq + _BATCH, end))])
        return end - first

    def _is_there(self, seq: int) -> bool:
        return seq >= 0 and self.blobs.info(self.log.blob(seq)) is not None

    def _first(self, start: int) -> int:
        """The oldest commit, where all from it to `start` are there; `start` when that is."""
        gone, there = start - 1, start
        step = 1
        while gone >= 0 and self._is_there(gone):
            there, gone, step = gone, gone - step, step * 2
        gone = max(gone, -1)
        while there - gone > 1:
            middle = (there + gone) // 2
            there, gone = (middle, gone) if self._is_there(middle) else (there, middle)
        return there

    def _start(self, now: datetime) -> int:
        """The sequence number before which all commits may be deleted."""
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
            return 0
        return readable[1].seq
