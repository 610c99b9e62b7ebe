"""A command that changes one trial, wherever the trial's row is."""

from __future__ import annotations

from typing import Any

from trialstore.journal.journal import Draft
from trialstore.journal.machine import Outcome
from trialstore.ledger import Ledger

__all__ = ["settled"]


def settled(ledger: Ledger, draft: Draft, outcome: Outcome | None = None) -> Any:
    """Commit a command for a trial and return its value; a trial that lies in a part comes back into the state first.

    Args:
        ledger: Of the trial's experiment.
        draft: The command.
        outcome: What became of it where it was committed already, with others.

    Raises:
        ConflictError, TrialNotFoundError: the fold refused it.
    """
    if outcome is None:
        outcome = ledger.execute(draft)[-1]
    while outcome.reason == "finished":
        ledger.revive(draft.fields["trial"])  # a flush may be quicker, and move it into a part again
        outcome = ledger.execute(draft)[-1]
    if outcome.reason is not None:
        ledger.refuse(outcome)
    return outcome.value
