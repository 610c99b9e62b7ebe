"""Which trial of an experiment is meant by a hash, without a look at every trial."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain

from trialstore.journal.changes import Changes
from trialstore.journal.experiment import ExperimentState
from trialstore.ledger import Ledger
from trialstore.life.typed_results import RESULTS
from trialstore.model.errors import BlobNotFoundError
from trialstore.model.record import TrialRecord
from trialstore.model.typed_trial import hash_of_values
from trialstore.trial import Trial

__all__ = ["Names", "names_of"]


class Names:
    """The trials of one experiment by `id` and by `hash_name`.

    Guarantees: says what the journal says when it is asked, whoever wrote it. Of several trials of a name it finds the
    first.

    Args:
        ledger: Of the experiment.

    Cost: the first question reads every trial once; later ones look at what changed since.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._changes = Changes()
        ledger.journal.watch(self._changes)
        self._numbers: dict[str, list[int]] = {}
        self._names: dict[int, tuple[str, str]] = {}

    def find(self, name: str) -> int | None:
        """Number of the first trial of an `id` or a `hash_name`, None when there is none."""
        with self._lock:
            while True:
                try:
                    with self._ledger.journal.view() as state, self._changes.following(state) as numbers:
                        self._follow(state, numbers)
                    return min(self._numbers.get(name, ()), default=None)
                except BlobNotFoundError:
                    continue  # a compaction replaced the part, and vacuum deleted it: look again

    def _follow(self, state: ExperimentState, numbers: set[int] | None) -> None:
        if numbers is None:
            self._numbers.clear()
            self._names.clear()
        else:
            for number in numbers:
                self._forget(number)
        for record in self._records(state, numbers):
            self._enter(record)

    def _records(self, state: ExperimentState, numbers: set[int] | None) -> Iterator[TrialRecord]:
        """The records of these trials, or of all, wherever they lie."""
        from trialstore.tables.parts import read_records

        live = state.trials.keys() if numbers is None else numbers & state.trials.keys()
        yield from (state.trials[number].decoded() for number in live)
        cold = None if numbers is None else numbers - live - set(state.manifest.removed_trials)
        parts = [part for part in state.manifest.parts.values() if part.table == "trials"]
        if cold is not None:
            holders = {number: state.manifest.part_of(number) for number in cold}
            wanted = {part.id for part in holders.values() if part is not None}
            parts = [part for part in parts if part.id in wanted]
        for part in parts:
            gone = state.manifest.superseded.get(part.id, ())
            some = None if cold is None else sorted(cold)
            for record in read_records(self._ledger.blobs, self._ledger.key, part, some):
                if record.number not in gone and record.number not in state.trials:
                    yield record

    def _enter(self, record: TrialRecord) -> None:
        names = (record.id, self._hash_name(record))
        self._names[record.number] = names
        for name in names:
            self._numbers.setdefault(name, []).append(record.number)

    def _hash_name(self, record: TrialRecord) -> str:
        """What `Trial.hash_name` says, without the objects that it makes of every parameter."""
        if any(kind == "lie" for _, kind, _ in (record.extras or {}).get(RESULTS, ())):
            return Trial(self._ledger, (), record).hash_name
        return hash_of_values(chain(record.params.items(), (record.fidelity or {}).items()), record.parent)

    def _forget(self, number: int) -> None:
        for name in self._names.pop(number, ()):
            here = self._numbers[name]
            here.remove(number)
            if not here:
                del self._numbers[name]


def names_of(ledger: Ledger) -> Names:
    """The one index that a session has of an experiment."""
    names: Names = ledger.session.writer(f"names={ledger.key}", lambda: Names(ledger))
    return names
