"""What Ax's analyses found, each as a document of the experiment."""

from __future__ import annotations

from typing import Any

from ax.core.analysis_card import AnalysisCardBase
from ax.core.experiment import Experiment as AxExperiment

from trialstore.integrations.ax.coder import Coder, coder_of
from trialstore.integrations.ax.saving import found
from trialstore.store import Store

__all__ = ["load_analysis_cards", "save_card"]

_CARDS = "ax_cards"


def save_card(store: Store, experiment: AxExperiment, card: AnalysisCardBase, coder: Coder) -> None:
    """Save a card, after those that were saved before."""
    kept = found(store, experiment)
    coded = coder.encode(card)
    revision, count = kept.document(_CARDS)
    number = (count or 0) + 1
    kept.set_document(_CARDS, number, revision=revision)  # the number is this card's alone from here on
    kept.set_document(f"{_CARDS}/{number}", coded)


def load_analysis_cards(store: Store, name: str, *, registry_bundle: Any = None) -> list[AnalysisCardBase]:
    """The cards of an experiment, in the order in which they were saved.

    Raises:
        ExperimentNotFoundError: there is none of the name.
    """
    kept, coder = store.experiment(name), coder_of(registry_bundle)
    _, count = kept.document(_CARDS)
    coded = [kept.document(f"{_CARDS}/{number}")[1] for number in range(1, (count or 0) + 1)]
    return [coder.decode(card) for card in coded if card is not None]
