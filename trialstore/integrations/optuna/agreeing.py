"""Which distribution of a parameter came first in a study, decided for all processes by the journal."""

from __future__ import annotations

from collections.abc import Callable

from optuna.distributions import BaseDistribution

from trialstore.integrations.optuna.spaces import distribution_of_text, text_of
from trialstore.integrations.optuna.trials import DISTRIBUTION
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft, Journal
from trialstore.journal.machine import Outcome

__all__ = ["agree"]


def agree(
    journal: Journal[ExperimentState], commit: Callable[[Draft], Outcome], name: str, distribution: BaseDistribution
) -> BaseDistribution:
    """The distribution that all of a parameter must be compatible with: this one, unless another came before it.

    Guarantees: every process is told the same one, also where several ask at once.

    Args:
        journal: The study's.
        commit: Commits a command there.
        name: The parameter, which no trial has.
        distribution: What a trial is about to say of it.

    Cost: one commit. Trials that come later know it from those before them, and ask no more.
    """
    document, text = DISTRIBUTION + name, text_of(distribution)
    if commit(Draft("document", {"name": document, "value": [text], "revision": 0})).reason is not None:
        with journal.view(refresh=False) as state:
            _, said = state.documents[document]
        text = text if said is None else said[0]
    return distribution_of_text(text)
