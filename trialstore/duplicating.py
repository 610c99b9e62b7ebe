"""What is pending in the relatives of an experiment, registered in it as well, so that it can be run there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from trialstore.claiming import Claims
from trialstore.family import Relative, key_of, relatives, seen_through
from trialstore.ledger import Ledger, catalog_of
from trialstore.model.errors import InvalidParamsError, StaleRevisionError
from trialstore.model.metric import Metric
from trialstore.model.record import TrialRecord
from trialstore.model.space import Fidelity, Space
from trialstore.model.status import Status
from trialstore.model.times import parse_time
from trialstore.recalling import records_of
from trialstore.registering import register, trial_body
from trialstore.trial import Trial

__all__ = ["Duplicates"]

_PENDING = frozenset(status for status in Status if status.is_claimable)


class Duplicates:
    """Copies into one experiment of what parents and children have pending.

    Guarantees: a trial of a relative is copied once, however many workers of all processes look at once. Where there is
    nothing to copy, nothing is written.

    Args:
        ledger: Of the experiment that gets the copies.
        metrics: The experiment's.
        space: The experiment's.

    Cost: of an experiment without relatives a look at the catalog. Else one more at the journal of each relative; the
    experiment's own trials are read when there is something pending that this process has not seen before.
    """

    def __init__(self, ledger: Ledger, metrics: Sequence[Metric], space: Space) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._space = space
        self._fidelities = frozenset(name for name, dimension in space.items() if isinstance(dimension, Fidelity))
        self._catalog_seq = -2
        self._kin: list[Relative] = []
        self._known: dict[int, set[int]] = {}
        self._next_lost = 0.0

    def make(self) -> list[Trial]:
        """Register what is not here yet; returns the new trials.

        Raises:
            ReadOnlyError: the handle may not write.
        """
        self._ledger.require_writable()
        while True:
            pending = list(self._pending())
            if not pending:
                return []
            with self._ledger.journal.view() as state:
                first = state.next_number
            bodies = list(self._bodies(pending))
            try:
                made = list(register(self._ledger, self._metrics, bodies, first=first)) if bodies else []
            except StaleRevisionError:
                continue  # somebody registered trials meanwhile, perhaps these
            for relative, record in pending:
                self._known.setdefault(relative.ledger.entry.id, set()).add(record.number)
            return made

    def fix_lost(self) -> None:
        """Take lost trials from the workers of relatives, five times a lease at most."""
        if time.monotonic() >= self._next_lost:
            self._next_lost = time.monotonic() + self._ledger.session.options.lease_s / 5
            for relative in self._relatives():
                Claims(relative.ledger, ()).fix_lost()

    def _relatives(self) -> list[Relative]:
        with catalog_of(self._ledger.session).view() as catalog:
            seq = catalog.seq
        if seq != self._catalog_seq:
            self._kin = relatives(self._ledger)
            self._catalog_seq = seq
        return self._kin

    def _pending(self) -> Iterator[tuple[Relative, TrialRecord]]:
        """What relatives have pending and this process has not compared yet."""
        for relative in self._relatives():
            known = self._known.get(relative.ledger.entry.id, ())
            for record in records_of(relative.ledger, _PENDING):
                if record.number not in known:
                    yield relative, record

    def _bodies(self, pending: Sequence[tuple[Relative, TrialRecord]]) -> Iterator[dict[str, Any]]:
        """What the journal says of the copies of those that are not here."""
        here = {key_of(record) for record in records_of(self._ledger)}
        for relative, record in pending:
            adapted = seen_through(relative, record, self._fidelities)
            if adapted is None or key_of(adapted) in here:
                continue
            here.add(key_of(adapted))
            try:
                yield trial_body(
                    self._space,
                    adapted.params,
                    adapted.fidelity,
                    name=record.name,
                    seed=record.seed,
                    ready_at=None if record.ready_at is None else parse_time(record.ready_at),
                    attributes={"duplicate_of": [relative.ledger.entry.id, record.number]},
                    info=record.info,
                )
            except InvalidParamsError:
                continue  # what the space here does not allow is nothing here
