"""What both directions of a migration share: which experiments, and whether both sides hold the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from trialstore.integrations.mlos_bench.migration.rows import ExperimentRow, Side, TrialRow
from trialstore.integrations.mlos_bench.migration.tally import Tally, head_tally, sample_tally, trial_tallies
from trialstore.model.errors import ConflictError, ExperimentNotFoundError, nearest

__all__ = ["Migrated", "Tell", "chosen_rows", "silent", "until", "verify"]

Tell: TypeAlias = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """An experiment that is on both sides.

    Attributes:
        experiment: Its name.
        tables: By mlos_bench's name of a table, how many rows both sides have and the checksum that they share.
        kept_configurations: Whether its configurations have the same numbers on both sides.
        joined_samples: Samples that were left out because the database keeps whole seconds, and has one of that second.
    """

    experiment: str
    tables: Mapping[str, Tally]
    kept_configurations: bool = True
    joined_samples: int = 0


def chosen_rows(rows: Sequence[ExperimentRow], names: Iterable[str] | None) -> list[ExperimentRow]:
    """The experiments of these names, or all.

    Raises:
        ExperimentNotFoundError: there is none of a name.
    """
    if names is None:
        return list(rows)
    by_name = {row.exp_id: row for row in rows}
    wanted = list(names)
    for name in wanted:
        if name not in by_name:
            near = nearest(name, by_name)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else None
            raise ExperimentNotFoundError("there is no such experiment", hint=hint, experiment=name)
    return [by_name[name] for name in wanted]


def verify(
    source: Side, target: Side, row: ExperimentRow, there: ExperimentRow, tell: Tell, what: str
) -> dict[str, Tally]:
    """The tables of an experiment, which both sides have alike.

    Raises:
        ConflictError: they have not; names the tables.
    """
    name, last = row.exp_id, row.last_trial
    label = f"{name}: verifying"
    found = []
    for step, (side, head) in enumerate(((source, row), (target, there))):
        tell(label, 2 * step, 4)
        tables = {"experiment": head_tally(head), **trial_tallies(until(side, name, last))}
        tell(label, 2 * step + 1, 4)
        found.append({**tables, "trial_telemetry": sample_tally(side, name, last)})
    tell(label, 4, 4)
    ours, theirs = found
    differing = [table for table in ours if ours[table] != theirs[table]]
    if differing:
        raise ConflictError(
            f"{what} does not hold what it was made from",
            hint="nobody may write to either side meanwhile: start again, into an empty place",
            experiment=name,
            tables={table: (ours[table].rows, theirs[table].rows) for table in differing},
        )
    return ours


def until(side: Side, name: str, last: int) -> Iterator[list[TrialRow]]:
    """The trials up to an id: a target may have got more since."""
    for batch in side.trials(name):
        yield [row for row in batch if row.id <= last]


def silent(what: str, done: int, total: int) -> None:
    """Is told of progress, and does nothing."""
