"""What mlos_bench keeps of experiments, as both sides of a migration give it: values are texts, times aware UTC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

__all__ = ["Configuration", "ExperimentRow", "Objective", "Sample", "Side", "Texts", "TrialRow", "ranges"]

Texts: TypeAlias = "dict[str, str | None]"
"""Values by name as mlos_bench spells them."""

Sample: TypeAlias = "tuple[int, datetime, str, str | None]"
"""A trial's id, a time, the name of a metric and its value."""

SAMPLES_AT_ONCE = 1 << 17
"""About so many samples are read and written at once."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric to optimise: `direction` is ``min`` or ``max``."""

    metric: str
    direction: str
    weight: float | None


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """An experiment.

    Attributes:
        exp_id: Its name.
        columns: ``description``, ``root_env_config``, ``git_repo`` and ``git_commit``, and what other columns a later
            version of mlos_bench has.
        objectives: Those of the greatest weight first, else by name.
        trials: How many there are.
        last_trial: The highest id, 0 where there is none.
    """

    exp_id: str
    columns: Mapping[str, Any]
    objectives: tuple[Objective, ...]
    trials: int
    last_trial: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """Values of tunable parameters, with the number and the hash that mlos_bench gave them."""

    id: int
    hash: str
    values: Texts


@dataclass(slots=True)
class TrialRow:
    """A trial with all that belongs to it but telemetry.

    Attributes:
        id: 1, 2, 3 … in the experiment, perhaps with gaps.
        config: Number of its configuration.
        status: The name of an mlos_bench status.
        runner: Id of the trial runner that has it.
        starts_at, ended_at: When it began or is to begin, and when it ended.
        tunables: The values of its configuration.
        params: What else was given to it: its metadata.
        results: Values of metrics.
        steps: Its statuses with their times, in order.
    """

    id: int
    config: int
    status: str
    runner: int | None
    starts_at: datetime
    ended_at: datetime | None
    tunables: Texts = field(default_factory=dict)
    params: Texts = field(default_factory=dict)
    results: Texts = field(default_factory=dict)
    steps: list[tuple[datetime, str]] = field(default_factory=list)


class Side(Protocol):
    """A database or a store, as a migration reads it."""

    def trials(self, exp_id: str, after: int = 0) -> Iterator[list[TrialRow]]:
        """The trials of an experiment with an id above `after`, by id, in batches."""

    def sample_counts(self, exp_id: str) -> list[tuple[int, int]]:
        """The trials of an experiment that have telemetry, by id, and how many samples each has."""

    def samples(self, exp_id: str, first: int, last: int) -> Iterator[list[Sample]]:
        """The samples of trials with an id from `first` to `last`, by trial, time and name, in batches."""


def ranges(counts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """First and last trial of stretches that have about `SAMPLES_AT_ONCE` samples, one trial at least, and how many.

    Example:
        >>> list(ranges([(1, 100_000), (2, 20_000), (5, 500_000), (6, 1)]))
        [(1, 2, 120000), (5, 5, 500000), (6, 6, 1)]
    """
    first = last = total = 0
    for trial, count in counts:
        if total and total + count > SAMPLES_AT_ONCE:
            yield first, last, total
            total = 0
        if not total:
            first = trial
        last, total = trial, total + count
    if total:
        yield first, last, total
