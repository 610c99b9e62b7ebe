"""The records of an experiment's trials, wherever they lie."""

from __future__ import annotations

from collections.abc import Collection

from trialstore.ledger import Ledger
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status

__all__ = ["records_of"]


def records_of(ledger: Ledger, statuses: Collection[Status] | None = None) -> list[TrialRecord]:
    """All trials, or those of some statuses, by number.

    Cost: of trials that have not ended, no more than a look at the journal; else a read of all parts of trials.
    """
    with ledger.journal.view() as state:
        numbers = set(state.trials)
        live = {
            number: record.decoded()
            for number, record in state.trials.items()
            if statuses is None or record.status in statuses
        }
        parts = [part for part in state.manifest.parts.values() if part.table == "trials"]
        superseded = {part: set(gone) for part, gone in state.manifest.superseded.items()}
    if parts and (statuses is None or any(status.is_final for status in statuses)):
        from trialstore.tables.parts import read_records

        for part in parts:
            gone = superseded.get(part.id, set())
            for record in read_records(ledger.blobs, ledger.key, part):
                here = record.number not in gone and record.number not in numbers
                if here and (statuses is None or record.status in statuses):
                    live[record.number] = record
    return [live[number] for number in sorted(live)]
