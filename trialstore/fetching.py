"""Lists of an experiment's trials: by status, lost, pending."""

from __future__ import annotations

from trialstore.claiming import Claims
from trialstore.ledger import Ledger
from trialstore.reading import Readable
from trialstore.trial import Trial

__all__ = ["Fetched"]


class Fetched(Readable):
    """The verbs of an experiment that fetch trials."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._claims = Claims(ledger, self.declared_metrics)

    def fetch_lost_trials(self) -> list[Trial]:
        """Trials whose worker's lease ran out, by number."""
        return [Trial(self._ledger, self.declared_metrics, record) for record in self._claims.lost()]

    def fix_lost_trials(self) -> list[Trial]:
        """Take trials from workers whose lease ran out, so that others can claim them; returns those it took.

        A worker that comes back finds that the trial is no longer its own; what it reports is kept as a late result.

        Source: Oríon, `Experiment.fix_lost_trials`.
        """
        return [self.trial(number) for number in self._claims.fix_lost()]
