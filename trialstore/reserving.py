"""The verbs that hand out what is pending in an experiment, and in its relatives."""

from __future__ import annotations

from collections.abc import Callable

from trialstore.duplicating import Duplicates
from trialstore.fetching import Fetched
from trialstore.ledger import Ledger
from trialstore.trial import Trial

__all__ = ["Reserving"]


class Reserving(Fetched):
    """Claiming trials: those of the experiment, then copies of what its parents and children have pending."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._duplicates = Duplicates(ledger, self.declared_metrics, self.space)

    def reserve_trial(self, score_handle: Callable[[Trial], float] | None = None) -> Trial | None:
        """Claim the next pending trial for this session.

        No two sessions ever hold the same attempt of a trial, on any backend, under any number of workers. Trials
        are handed out by number; a trial that was interrupted, suspended, or lost by its worker counts as pending.
        When none is left here, what is pending in parents and children comes: see `duplicate_pending_trials`.

        Args:
            score_handle: Given each pending trial, those of parents and children included; the one with the highest
                score is claimed, of equal ones the first.

        Returns:
            The claimed trial, running, or None when nothing is pending.

        Raises:
            StoreUnavailableError: the backend did not answer in time; nothing was claimed.
            OutcomeUnknownError: an answer was lost; a trial may be this session's, and others get it when the session
                ends and its lease runs out.

        Cost: one conditional put; on a lost race one read more for each commit that won. When nothing is pending, a
        look at the journal and at the catalog, and at the journal of each relative.

        Source: Oríon, `Experiment.reserve_trial`.
        """
        if score_handle is not None:
            self._duplicates.make()
            return self._claims.reserve_best(score_handle)
        trial = self._claims.reserve()
        while trial is None:
            self._duplicates.fix_lost()
            if not self._duplicates.make():
                return None
            trial = self._claims.reserve()
        return trial

    def duplicate_pending_trials(self) -> list[Trial]:
        """Register here what is pending in parents and children, as the adapters show it; returns the new trials.

        Trials are executed in the experiment that they are registered in, so that all of them ran under the same code.
        The others keep their own copies, and neither sees the other's. Parameters that are here already are left
        out, and what several workers copy at once is registered once. The attribute ``duplicate_of`` of a new trial
        names the experiment's id and the trial's number.

        Source: Oríon, `Experiment.duplicate_pending_trials`.
        """
        return self._duplicates.make()
