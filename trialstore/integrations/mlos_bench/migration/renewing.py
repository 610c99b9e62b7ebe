"""Trials that had not ended when they were imported, and what became of them in the database since."""

from __future__ import annotations

from typing import Any

from trialstore.experiment import Experiment
from trialstore.integrations.mlos_bench.life import open_records
from trialstore.integrations.mlos_bench.migration.journaled import noted, samples_table, updated
from trialstore.integrations.mlos_bench.migration.rows import Side, TrialRow
from trialstore.integrations.mlos_bench.migration.stored import Stored
from trialstore.model.status import Status

__all__ = ["renew"]

_AGAIN = "again"
"""The member of an import's state that names the trials that have ended since, and whose last samples are missing."""


def renew(experiment: Experiment, source: Side, stored: Stored, state: dict[str, Any]) -> None:
    """Bring trials up to date that are in the store and have not ended there: status, times, results, telemetry.

    What is there already is not written again. A trial that somebody ended in the store stays as it is, and the
    comparison that follows tells of it.

    Args:
        experiment: Into which they were imported.
        source: The database.
        stored: The store, as the database would have it.
        state: How far the import is; it is kept up to date, and committed together with what it says.

    Raises:
        TransitionError: somebody took one of the trials up in the store meanwhile.
    """
    name, ledger = experiment.name, experiment._ledger
    records = {record.number + 1: record for record in open_records(ledger) if record.number < state["trials"]}
    behind = records.keys() | set(state.get(_AGAIN, ()))
    if not behind:
        return
    before = stored.rows(name, list(records.values()))
    for batch in source.trials(name, min(behind) - 1):
        changed = [row for row in batch if row.id in records and _told(row) != _told(before[row.id])]
        if changed:
            ended = {row.id for row in changed if Status.parse(row.status).is_final}
            state[_AGAIN] = sorted(ended | set(state.get(_AGAIN, ())))
            drafts = [draft for row in changed for draft in updated(row, before[row.id], records[row.id].status)]
            for outcome in ledger.execute(noted(state), *drafts):
                if outcome.reason is not None:
                    ledger.refuse(outcome)
        if batch[-1].id >= max(behind):
            break
    _samples(experiment, source, stored, [number for number in sorted(behind) if number <= state["samples"]])
    if state.pop(_AGAIN, None) is not None:
        ledger.execute_one(noted(state))


def _told(row: TrialRow) -> tuple[Any, ...]:
    """What a database may say of a trial otherwise than before."""
    return row.status, row.runner, row.starts_at, row.ended_at, row.params, row.results, row.steps


def _samples(experiment: Experiment, source: Side, stored: Stored, numbers: list[int]) -> None:
    """Log the samples of trials that the store does not have; durable when it returns."""
    name, ledger = experiment.name, experiment._ledger
    theirs, ours = (dict(side.sample_counts(name)) for side in (source, stored))
    for number in numbers:
        if theirs.get(number, 0) == ours.get(number, 0):
            continue
        known = {(at, metric) for batch in stored.samples(name, number, number) for _, at, metric, _ in batch}
        for batch in source.samples(name, number, number):
            fresh = [sample for sample in batch if (sample[1], sample[2]) not in known]
            if fresh:
                ledger.log_telemetry(samples_table(fresh))
    ledger.commit_buffered()
