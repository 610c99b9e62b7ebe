"""The results of a trial by what they are."""

from __future__ import annotations

from typing import Protocol

from trialstore.model.typed import Result

__all__ = ["Evaluated"]


class _HasResults(Protocol):
    @property
    def results(self) -> list[Result]: ...


class Evaluated:
    """Properties of whatever has typed `results`."""

    __slots__ = ()

    @property
    def objective(self: _HasResults) -> Result | None:
        """The objective, None before the trial was evaluated."""
        return _first(self, "objective")

    @property
    def lie(self: _HasResults) -> Result | None:
        """What stands in for the objective, None when nothing does."""
        return _first(self, "lie")

    @property
    def gradient(self: _HasResults) -> Result | None:
        """The gradient, None when there is none."""
        return _first(self, "gradient")

    @property
    def constraints(self: _HasResults) -> list[Result]:
        """Results of type ``constraint``."""
        return _all(self, "constraint")

    @property
    def statistics(self: _HasResults) -> list[Result]:
        """Results of type ``statistic``."""
        return _all(self, "statistic")


def _first(trial: _HasResults, kind: str) -> Result | None:
    return next((result for result in trial.results if result.type == kind), None)


def _all(trial: _HasResults, kind: str) -> list[Result]:
    return [result for result in trial.results if result.type == kind]
