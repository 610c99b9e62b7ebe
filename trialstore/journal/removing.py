"""Trials that are taken out of an experiment: their numbers stay used, and no table shows a row of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialstore.journal.commit import Command
from trialstore.journal.machine import Outcome, accepted
from trialstore.journal.repeating import repeat_key

if TYPE_CHECKING:
    from trialstore.journal.experiment import ExperimentState

__all__ = ["remove"]


def remove(state: ExperimentState, command: Command) -> Outcome:
    """Take out trials that are in no part: all of them, or none when one is not there."""
    numbers = dict.fromkeys(command["trials"])
    for number in numbers:
        record, refusal = state._live(number)
        if record is None:
            return refusal
    for number in numbers:
        record = state.trials.pop(number)
        state.counts[record.status] -= 1
        state.active.discard(number)
        state.finished_live -= record.status.is_final
        state._known.discard(repeat_key({"id": record.id, "fidelity": record.fidelity}))
        state.manifest.removed_trials.add(number)
    return accepted(len(numbers))
