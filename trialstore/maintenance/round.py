"""A round of maintenance: what processes do beside their work, so that a store stays small without anybody's care.

Whoever's commit makes the sequence number of a journal round does it, in the background. A round deletes the oldest
commits that checkpoints have made up for during the retention, a limited number of them. The first round in a stretch
of time, which is the one that creates the stretch's marker, also cleans up what processes left that were killed.

Cost of a round: 15 requests, and where commits have expired about 15 more, two reads of checkpoints and the
deletions. Cost of cleaning up, once in a seventh of the retention: a listing of each folder of the experiment, and what
is deleted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from trialstore.blobs.protocol import Blobs
from trialstore.journal.catalog import Catalog
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft, Journal
from trialstore.journal.stored import StoredJournal
from trialstore.maintenance.compact import SESSION_MEMORY
from trialstore.maintenance.vacuum import Vacuum
from trialstore.maintenance.waste import time_of
from trialstore.model.times import format_time, now_text, parse_time

__all__ = ["MARKERS", "Round"]

MARKERS = "upkeep"
"""The folder of the markers."""

MOST_COMMITS = 4096
"""So many commits of a journal a round deletes at the most: several times what came since the round before it."""

MOST_FILES = 1024
"""So many files of each kind a round deletes at the most when it cleans up."""

_GRACE = timedelta(days=1)
_STRETCHES = 7
_SHORTEST_S = 3600.0
_BUDGET_S = 20.0


def _silent(step: str) -> None:
    pass


@dataclass(slots=True)
class Round:
    """One round.

    Safe beside live and suspended writers and readers, and to be killed at any instant: it deletes by the rules of
    `Vacuum` and of `StoredJournal.expired`, and stops between two steps when it has taken too long.

    Attributes:
        blobs: The store's blobs.
        retention_s: How long the store keeps history.
    """

    blobs: Blobs
    retention_s: float
    _until: float = field(default_factory=lambda: time.monotonic() + _BUDGET_S)

    def experiment(self, key: str, stored: StoredJournal[ExperimentState], journal: Journal[ExperimentState]) -> None:
        """Keep up with one experiment's journal, and now and then clean up after it."""
        now = time_of(self.blobs, writable=True)
        stored.truncate(now, MOST_COMMITS)
        if self._is_over() or not self._is_first(f"experiment={key}", now):
            return
        self._forget_sessions(journal)
        run = self._vacuum(now)
        run.garbage(key, journal)
        run.posted(stored)

    def catalog(self, stored: StoredJournal[Catalog], catalog: Journal[Catalog]) -> None:
        """The same of the catalog, and now and then of experiments that were dropped and of what belongs to none."""
        now = time_of(self.blobs, writable=True)
        stored.truncate(now, MOST_COMMITS)
        if self._is_over() or not self._is_first("catalog", now):
            return
        self._forget_sessions(catalog)
        run = self._vacuum(now)
        run.store(catalog)
        run.posted(stored)

    def _vacuum(self, now: datetime) -> Vacuum:
        history = timedelta(seconds=self.retention_s)
        return Vacuum(self.blobs, now, _GRACE, history, False, _silent, [], most=MOST_FILES, stop=self._is_over)

    def _is_over(self) -> bool:
        return time.monotonic() >= self._until

    def _is_first(self, name: str, now: datetime) -> bool:
        """Whether nobody else has begun to clean up in this stretch of time."""
        stretch = int(now.timestamp() // max(self.retention_s / _STRETCHES, _SHORTEST_S))
        folder = f"{MARKERS}/{name}/"
        mine = f"{folder}{stretch:010d}"
        if self.blobs.info(mine) is not None or not self.blobs.create(mine, b""):
            return False
        self.blobs.delete([info.key for info in self.blobs.list(folder) if info.key < mine])
        return True

    def _forget_sessions(self, journal: Journal[Any]) -> None:
        before = format_time(parse_time(now_text()) - SESSION_MEMORY)
        with journal.view(refresh=False) as state:
            if not any(at < before for _, at in state.sessions.values()):
                return
        journal.execute(Draft("retire_sessions", {"before": before}))
