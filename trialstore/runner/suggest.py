"""Where the next trial comes from: the queue, then whoever is asked, then chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from trialstore.ledger import Ledger
from trialstore.model.errors import UsageError
from trialstore.model.metric import Metric
from trialstore.model.sampling import sample
from trialstore.model.space import Space
from trialstore.model.times import now_text
from trialstore.registering import register, trial_body
from trialstore.trial import Trial

__all__ = ["RETRY", "Ask", "Source"]

Ask: TypeAlias = Callable[[], Mapping[str, Any] | None]
"""Gives the parameters of one more trial; None when there are no more, or none yet."""

RETRY = "retry"
"""The attribute of a trial that repeats its parent: which try it is, from 1."""


class Source:
    """The trials of an experiment that may be run next.

    Args:
        ledger: Of the experiment.
        metrics: The experiment's.
        space: The experiment's.
        ask: Asked when nothing is pending; by default parameters are drawn from the space.
        seed: Of the drawing. The n-th trial of the experiment is drawn alike whenever its turn comes.
    """

    def __init__(self, ledger: Ledger, metrics: tuple[Metric, ...], space: Space, ask: Ask | None, seed: int) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._space = space
        self._ask = ask
        self._seed = seed

    @property
    def can_suggest(self) -> bool:
        """Whether there are more trials than are pending."""
        return self._ask is not None or bool(self._space)

    def pending(self) -> list[int]:
        """Numbers of the trials that can be claimed now, in order."""
        now = now_text()
        with self._ledger.journal.view() as state:
            return sorted(
                number
                for number, record in state.trials.items()
                if record.status.is_claimable and (record.ready_at is None or record.ready_at <= now)
            )

    def trial(self, number: int) -> Trial | None:
        """A trial as it is now."""
        record = self._ledger.record(number)
        return None if record is None else Trial(self._ledger, self._metrics, record)

    def suggest(self) -> Trial | None:
        """Register one more trial; None when whoever is asked has none."""
        fidelity = None
        if self._ask is not None:
            params = self._ask()
            if params is None:
                return None
            if not isinstance(params, Mapping):
                raise UsageError("ask must return a mapping of parameters, or None", returned=params)
        else:
            with self._ledger.journal.view(refresh=False) as state:
                number = state.next_number
            params, fidelity = sample(self._space, random.Random(f"{self._seed}/{number}"))
        return register(self._ledger, self._metrics, [trial_body(self._space, params, fidelity)])[0]

    def retry(self, trial: Trial, number_of_try: int) -> Trial:
        """Register a trial again: equal parameters, seed and fidelity, and the first as its parent."""
        attributes = {**trial.attributes, RETRY: number_of_try}
        body = trial_body(
            self._space,
            trial.params,
            trial.fidelity,
            name=trial._held.record.name,
            seed=trial.seed,
            parent=trial.number,
            attributes=attributes,
        )
        return register(self._ledger, self._metrics, [body])[0]
