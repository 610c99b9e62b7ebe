"""Claiming trials, and taking them from workers that are gone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.model.errors import TransitionError, TrialNotFoundError
from trialstore.model.metric import Metric
from trialstore.model.record import TrialRecord
from trialstore.model.times import now_text
from trialstore.trial import Trial

__all__ = ["Claims"]


class Claims:
    """Hands out the trials of an experiment to this session, and looks for lost ones now and then.

    Args:
        ledger: Of the experiment.
        metrics: The experiment's.
    """

    def __init__(self, ledger: Ledger, metrics: Sequence[Metric]) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._next_idle_look = 0.0
        self._next_look = time.monotonic() + ledger.session.options.lease_s * random.uniform(0.1, 0.3)

    def reserve(self) -> Trial | None:
        """See `Experiment.reserve_trial`."""
        if time.monotonic() >= self._next_look:
            self.fix_lost()
        trial = self._claim()
        if trial is None and time.monotonic() >= self._next_idle_look and self.fix_lost():
            trial = self._claim()
        if trial is None:
            self._ledger.maintain(0)  # a worker that only asks for work makes commits as well
        return trial

    def reserve_best(self, score: Callable[[Trial], float]) -> Trial | None:
        """Claim the pending trial of the highest score that nobody else was quicker to claim."""
        self._ledger.require_writable()
        self.fix_lost()
        now = now_text()
        with self._ledger.journal.view() as state:
            pending = [
                record.decoded()
                for record in state.trials.values()
                if record.status.is_claimable and (record.ready_at is None or record.ready_at <= now)
            ]
        trials = [Trial(self._ledger, self._metrics, record) for record in sorted(pending, key=lambda r: r.number)]
        for trial in sorted(trials, key=score, reverse=True):
            try:
                trial._held.claim()
            except (TransitionError, TrialNotFoundError):
                continue  # another worker has it, or it is gone
            return trial
        return None

    def lost(self) -> list[TrialRecord]:
        """Trials whose worker's lease ran out, by number."""
        with self._ledger.journal.view() as state:
            active = [state.trials[number].decoded() for number in sorted(state.active)]
        self._plan_looks(len({record.session for record in active}))
        return self._ledger.session.leases.lost(self._ledger.key, active)

    def fix_lost(self) -> list[int]:
        """Take lost trials from their workers; returns the numbers of those that were taken."""
        self._ledger.require_writable()
        lost = self.lost()
        if not lost:
            return []
        drafts = [Draft("expire", {"trial": record.number, "attempt": record.attempt}) for record in lost]
        outcomes = self._ledger.execute(*drafts)
        return [record.number for record, outcome in zip(lost, outcomes, strict=True) if outcome.reason is None]

    def _claim(self) -> Trial | None:
        self._ledger.require_writable()
        session = self._ledger.session
        while self._is_something_pending():
            session.lease(self._ledger.key)
            claimed = self._ledger.execute_one(Draft("claim", {"worker": session.worker}))
            if claimed is None:
                return None
            number, attempt = claimed
            with self._ledger.journal.view(refresh=False) as state:
                record = state.trials.get(number)
                if record is not None and record.attempt == attempt and record.status.is_active:
                    return Trial(self._ledger, self._metrics, record.decoded(), owned=True)
            # The process stood still for longer than its lease: the trial is another's by now.
        return None

    def _is_something_pending(self) -> bool:
        """Look before the claim when there is nothing by what this process knows: whoever waits writes nothing."""
        for refresh in (False, True):
            with self._ledger.journal.view(refresh=refresh) as state:
                at = state.next_claim_at()
            if at is not None and (not at or at <= now_text()):
                return True
        return False

    def _plan_looks(self, sessions: int) -> None:
        """Look five times a lease when idle; when there is work, all sessions together look as often."""
        period = self._ledger.session.options.lease_s / 5
        self._next_idle_look = time.monotonic() + period
        self._next_look = time.monotonic() + period * max(1, sessions) * random.uniform(0.5, 1.5)
