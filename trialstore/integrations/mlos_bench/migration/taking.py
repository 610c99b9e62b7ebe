"""From a database of mlos_bench into a store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from sqlalchemy import Engine

from trialstore.experiment import Experiment
from trialstore.imports import take_in
from trialstore.integrations.mlos_bench.migration.address import opened, shown
from trialstore.integrations.mlos_bench.migration.database import Database
from trialstore.integrations.mlos_bench.migration.journaled import PROGRESS, noted, reopened, samples_table
from trialstore.integrations.mlos_bench.migration.renewing import renew
from trialstore.integrations.mlos_bench.migration.rows import ExperimentRow, TrialRow, ranges
from trialstore.integrations.mlos_bench.migration.stored import (
    COLUMNS,
    CONFIG_HASH,
    ORIGIN,
    WEIGHTS,
    Stored,
)
from trialstore.integrations.mlos_bench.migration.texts import split, typed
from trialstore.integrations.mlos_bench.migration.verifying import Migrated, Tell, chosen_rows, silent, verify
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.model.codec import pack_dict
from trialstore.model.errors import ConflictError, DamagedError, DuplicateExperimentError
from trialstore.model.identity import check_name, packed_hash
from trialstore.model.metric import Metric
from trialstore.model.part import Part
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import format_time
from trialstore.store import Store

__all__ = ["import_database"]


def import_database(
    store: Store,
    database: str | os.PathLike[str] | Engine,
    *,
    experiments: Iterable[str] | None = None,
    zone: tzinfo = UTC,
    progress: Tell | None = None,
) -> list[Migrated]:
    """Take experiments of an mlos_bench database in, and see that the store then holds the same.

    Experiments, objectives, trials with their ids, times, status, runner, metadata and results, the history of
    statuses, and telemetry. A text that spells a number, as mlos_bench reads it, becomes the number. Where it is not
    spelled as Python would (``1.50``), a result is kept both ways, and anything else as text: every text comes back as
    it was. Configurations keep their numbers in a store that has none, where these are 1, 2, 3 ….

    Nothing comes in twice. A call after one that was killed goes on where it stopped; one after mlos_bench went on in
    the database brings its new trials, and what became of those that had not ended.

    Args:
        store: Where to.
        database: An address of SQLAlchemy, a path of a SQLite file (or of DuckDB, ``.duckdb``), or an engine. Nobody
            should write to it meanwhile.
        experiments: Names of those to take; all by default.
        zone: Which zone the beginnings and ends of trials are in where the database holds them without one: mlos_bench
            reads them as UTC, although PostgreSQL and DuckDB wrote them in the zone of their session.
        progress: Told what is done, how much of it, and of how much.

    Returns:
        For each experiment how many rows of each table it has, with a checksum that both sides share.

    Raises:
        DuplicateExperimentError: the store has an experiment of this name that was not imported from there.
        ConflictError: the store does not hold what the database does, since somebody wrote to either meanwhile, or
            both went on with one trial; names the tables.
        StoreNotFoundError: there is no such database.

    Cost: some 40 microseconds of the processor for a sample of telemetry and half a millisecond for a trial, of which
        the comparison takes more than half.
    """
    source = Database(opened(database, there=True), zone)
    rows = chosen_rows(source.experiments(), experiments)
    taken = Taking(store, source, progress or silent)
    return [taken.experiment(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Interned:
    """A configuration as the store has it."""

    id: int
    hash: str
    params: dict[str, Any]
    packed: dict[str, Any]
    params_id: str


class Taking:
    """One import, of any number of experiments.

    Args:
        store: Where to.
        source: Where from.
        tell: Told what is done, how much of it, and of how much.
    """

    def __init__(self, store: Store, source: Database, tell: Tell) -> None:
        self._store = store
        self._source = source
        self._tell = tell
        self._configurations = dict(self._interned())

    def experiment(self, row: ExperimentRow) -> Migrated:
        """Take one experiment in, or the rest of it, and verify it."""
        experiment = self._created(row)
        ledger = experiment._ledger
        state = self._set_aside(experiment, row)
        stored = Stored(self._store)
        renew(experiment, self._source, stored, state)
        done = len(experiment)
        for batch in self._source.trials(row.exp_id, state["trials"]):
            state["trials"] = batch[-1].id
            self._take_trials(ledger, batch, state)
            done += len(batch)
            self._tell(f"{row.exp_id}: trials", done, row.trials)
        self._take_samples(experiment, row, state)
        tables = verify(self._source, stored, row, stored.row(experiment), self._tell, "the store")
        kept = all(number == found.id for number, found in self._configurations.items())
        return Migrated(row.exp_id, tables, kept)

    # Configurations

    def _interned(self) -> Iterator[tuple[int, Interned]]:
        """The configurations by mlos_bench's number, in whose order the store numbers those it does not know."""
        for batch in self._source.configurations():
            values = [{check_name(name, "parameter"): typed(value) for name, value in c.values.items()} for c in batch]
            ids = self._store.intern_many(values)
            for found, params, number in zip(batch, values, ids, strict=True):
                packed = pack_dict(params, "params")
                yield found.id, Interned(number, found.hash, params, packed, packed_hash(params, packed))

    # The experiment

    def _created(self, row: ExperimentRow) -> Experiment:
        metadata: dict[str, Any] = {name: str(row.columns.get(name) or "") for name in ORIGIN}
        more = {name: value for name, value in row.columns.items() if name not in ORIGIN and value is not None}
        weights = {each.metric: each.weight for each in row.objectives if each.weight is not None}
        if more:
            metadata[COLUMNS] = {name: _plain(value) for name, value in more.items()}
        if weights:
            metadata[WEIGHTS] = weights
        metrics = [Metric(each.metric, minimize=each.direction == "min") for each in row.objectives]
        return self._store.create_experiment(row.exp_id, metrics=metrics, metadata=metadata, exist_ok=True)

    def _set_aside(self, experiment: Experiment, row: ExperimentRow) -> dict[str, Any]:
        """How far the experiment is; the numbers of its trials are set aside, so that no other trial gets one.

        Raises:
            DuplicateExperimentError: it is from elsewhere.
            ConflictError: it has got further trials since it was imported, and so has the database.
        """
        ledger = experiment._ledger
        _, state = experiment.document(PROGRESS)
        address = shown(self._source.engine)
        with ledger.journal.view() as folded:
            following = folded.next_number
        if (state is None and following) or (state is not None and state["source"] != address):
            raise DuplicateExperimentError(
                "store has an experiment of this name that is not from this database",
                hint="import into another store",
                experiment=row.exp_id,
                source=None if state is None else state["source"],
            )
        state = state or {"source": address, "set_aside": 0, "trials": 0, "samples": 0}
        more = row.last_trial - state["set_aside"]
        if more <= 0:
            return dict(state)
        first = following
        if following == state["set_aside"]:
            grown = {**state, "set_aside": row.last_trial}
            first = ledger.execute(noted(grown), Draft("allocate", {"count": more}))[-1].value
            if first == following:
                return grown
            ledger.execute_one(noted(state))
        raise ConflictError(
            "experiment and database have both got further trials",
            hint="import into another store",
            experiment=row.exp_id,
            trials=first,
            imported=state["set_aside"],
            in_database=row.last_trial,
        )

    # Trials

    def _take_trials(self, ledger: Ledger, batch: Sequence[TrialRow], state: Mapping[str, Any]) -> None:
        """Commit trials, and that they are in, at once."""
        now = datetime.now(UTC)
        records = [self._record(row, now) for row in batch]
        steps = [(row.id - 1, 1, status, format_time(at), None, None) for row in batch for at, status in row.steps]
        # mlos_bench's id is a key of its own: however often a trial is handed in, it comes in once.
        keys = [hashlib.blake2b(f"mlos_bench:{row.id}".encode(), digest_size=16).hexdigest() for row in batch]
        unfinished = [pair for pair in zip(batch, records, strict=True) if not Status.parse(pair[0].status).is_final]

        def then(part: Part) -> list[Draft]:
            drafts = [noted(state)]
            for row, record in unfinished:
                drafts.append(Draft("revive", {"record": record.to_json(), "part": part.id}))
                drafts.append(reopened(row))
            return drafts

        take_in(ledger, records, steps, keys, then)

    def _record(self, row: TrialRow, now: datetime) -> TrialRecord:
        """The trial; one that has not ended counts as canceled until the same commit reopens it."""
        found = self._configurations.get(row.config)
        if found is None:
            raise DamagedError(
                "a trial has a configuration that the database has not", trial=row.id, configuration=row.config
            )
        status = Status.parse(row.status)
        begins = format_time(row.starts_at)
        numbers, texts = split(row.results)
        return TrialRecord(
            number=row.id - 1,
            id=found.params_id,
            params=found.packed,
            status=status if status.is_final else Status.CANCELED,
            submitted_at=format_time(min(row.starts_at, now)),
            seq=-1,
            attempt=int(status.is_final),
            started_at=begins if status.is_final else None,
            ended_at=None if row.ended_at is None else format_time(row.ended_at),
            ready_at=begins,
            metrics=pack_dict(numbers, "metrics"),
            summary=pack_dict(texts, "summary") or None,
            attributes=pack_dict({name: typed(value) for name, value in row.params.items()}, "config") or None,
            extras={CONFIG_HASH: found.hash},
            runner=row.runner,
        )

    # Telemetry

    def _take_samples(self, experiment: Experiment, row: ExperimentRow, state: dict[str, Any]) -> None:
        """Log samples as tables; of equal ones the first counts, so that those that are in already change nothing."""
        ledger = experiment._ledger
        counts = self._source.sample_counts(row.exp_id)
        total = sum(count for _, count in counts)
        done = sum(count for trial, count in counts if trial <= state["samples"])
        for first, last, _ in ranges([each for each in counts if each[0] > state["samples"]]):
            for batch in self._source.samples(row.exp_id, first, last):
                ledger.log_telemetry(samples_table(batch))
                done += len(batch)
                self._tell(f"{row.exp_id}: telemetry", done, total)
            state["samples"] = last
            ledger.execute_one(noted(state))


def _plain(value: Any) -> Any:
    """What of a column of a later version the store can hold."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return value if isinstance(value, bool | int | float | str) else str(value)
