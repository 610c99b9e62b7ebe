"""From a store into a database of mlos_bench."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from mlos_bench.storage.sql.schema import DbSchema
from sqlalchemy import Connection, Engine, Table, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from trialstore.integrations.mlos_bench.migration.address import opened, shown
from trialstore.integrations.mlos_bench.migration.database import Database
from trialstore.integrations.mlos_bench.migration.rows import ExperimentRow, Sample, TrialRow, ranges
from trialstore.integrations.mlos_bench.migration.stored import ORIGIN, Stored
from trialstore.integrations.mlos_bench.migration.tally import trial_tallies
from trialstore.integrations.mlos_bench.migration.verifying import Migrated, Tell, chosen_rows, silent, until, verify
from trialstore.model.errors import DuplicateExperimentError, UnsupportedError
from trialstore.model.status import Status
from trialstore.store import Store

__all__ = ["export_database"]

_WHOLE_SECONDS = ("mysql", "mariadb")
"""Databases in which mlos_bench's columns of times hold whole seconds."""


def export_database(
    store: Store,
    database: str | os.PathLike[str] | Engine,
    *,
    experiments: Iterable[str] | None = None,
    progress: Tell | None = None,
) -> list[Migrated]:
    """Write experiments into a database as mlos_bench's own storage would have, and see that it then holds the same.

    The tables are made where there are none, and what else is in them stays. A call after one that was killed goes on
    where it stopped; one after the store went on brings its new trials, and what became of those that had not ended,
    as long as mlos_bench has not gone on with them itself. Configurations that the database knows, by their hash, keep
    its numbers.

    Args:
        store: Where from.
        database: See `import_database`; a file is made where there is none.
        experiments: Names of those to write; all by default, and of several versions of one the newest.
        progress: Told what is done, how much of it, and of how much.

    Returns:
        For each experiment how many rows of each table it has, with a checksum that both sides share. MySQL keeps whole
        seconds: of samples in one second the first is written, and the others are counted in `joined_samples`.

    Raises:
        DuplicateExperimentError: the database has an experiment of this name with other trials.
        ConflictError: the database does not hold what the store does, since somebody wrote to either meanwhile.
        UnsupportedError: the database cannot hold a value, such as a result of more than 255 characters.
    """
    engine = opened(database, there=False)
    with _refusals(engine):
        _make_tables(engine)
    giving = Giving(store, engine, progress or silent)
    return [giving.experiment(row) for row in chosen_rows(Stored(store).experiments(), experiments)]


class Giving:
    """One export, of any number of experiments.

    Args:
        store: Where from.
        engine: Of the database.
        tell: Told what is done, how much of it, and of how much.
    """

    def __init__(self, store: Store, engine: Engine, tell: Tell) -> None:
        self._source = Stored(store, whole_seconds=engine.dialect.name in _WHOLE_SECONDS)
        self._target = Database(engine)
        self._schema = self._target.schema
        self._engine = engine
        self._tell = tell

    def experiment(self, row: ExperimentRow) -> Migrated:
        """Write one experiment, or the rest of it, and verify it."""
        with _refusals(self._engine):
            there = self._begin(row)
            kept = self._write_trials(row, there)
            self._write_samples(row)
        (copy,) = chosen_rows(self._target.experiments(), [row.exp_id])
        tables = verify(self._source, self._target, row, copy, self._tell, "the database")
        return Migrated(row.exp_id, tables, kept, self._source.joined_samples(row.exp_id))

    def _begin(self, row: ExperimentRow) -> int:
        """Write the experiment's own row, and say which trial of it is the last in the database.

        Raises:
            DuplicateExperimentError: what the database has of it is not from here.
        """
        schema, name = self._schema, row.exp_id
        found = next((each for each in self._target.experiments() if each.exp_id == name), None)
        if found is None:
            columns = {each.name for each in schema.experiment.columns}
            with self._engine.begin() as connection:
                told = {key: value for key, value in row.columns.items() if key in columns}
                connection.execute(insert(schema.experiment).values(exp_id=name, **told))
                _insert(
                    connection,
                    schema.objectives,
                    [
                        {
                            "exp_id": name,
                            "optimization_target": each.metric,
                            "optimization_direction": each.direction,
                            "weight": each.weight,
                        }
                        for each in row.objectives
                    ],
                )
            return 0
        self._go_on(name)
        ours = trial_tallies(until(self._source, name, found.last_trial))
        if ours != trial_tallies(self._target.trials(name)) or any(
            str(found.columns.get(key) or "") != str(row.columns.get(key) or "") for key in ORIGIN
        ):
            raise DuplicateExperimentError(
                "database has an experiment of this name with other trials",
                hint="export into another database",
                experiment=name,
                database=shown(self._engine),
            )
        return found.last_trial

    # Trials

    def _go_on(self, name: str) -> None:
        """Write what became of the trials that have not ended in the database, a batch in a transaction."""
        rows = (row for batch in self._target.trials(name) for row in batch)
        open_rows = {row.id: row for row in rows if not Status.parse(row.status).is_final}
        if not open_rows:
            return
        for batch in self._source.trials(name, min(open_rows) - 1):
            pairs = [(open_rows[row.id], row) for row in batch if row.id in open_rows]
            pairs = [(before, row) for before, row in pairs if _follows(before, row)]
            samples = [sample for _, row in pairs for sample in self._missing_samples(name, row.id)]
            with self._engine.begin() as connection:
                for before, row in pairs:
                    self._update(connection, name, before, row)
                _insert(connection, self._schema.trial_telemetry, list(self._points(name, samples)))
            if batch[-1].id >= max(open_rows):
                break

    def _update(self, connection: Connection, name: str, before: TrialRow, row: TrialRow) -> None:
        """Write a trial over what the database has of it, and what belongs to it beside what is there."""
        schema, trial = self._schema, self._schema.trial
        key = {"exp_id": name, "trial_id": row.id}
        its_own = (trial.c.exp_id == name, trial.c.trial_id == row.id)
        connection.execute(update(trial).where(*its_own).values(**_head(row)))
        params = {each: value for each, value in row.params.items() if each not in before.params}
        _insert(connection, schema.trial_param, _values("param", params, **key))
        _insert(connection, schema.trial_result, _values("metric", row.results, **key))
        steps = [
            {**key, "ts": self._zoned(at), "status": status}
            for at, status in row.steps
            if (at, status) not in before.steps
        ]
        _insert(connection, schema.trial_status, steps)

    def _missing_samples(self, name: str, trial: int) -> list[Sample]:
        """The samples of a trial that the database does not have."""
        there = {sample[1:3] for batch in self._target.samples(name, trial, trial) for sample in batch}
        batches = self._source.samples(name, trial, trial)
        return [sample for batch in batches for sample in batch if sample[1:3] not in there]

    def _write_trials(self, row: ExperimentRow, after: int) -> bool:
        """Write trials above an id, a batch in a transaction; returns whether all configurations kept their numbers."""
        hashes = self._source.hashes(row.exp_id)
        numbers: dict[str, int] = {}
        kept = True
        done = row.trials - sum(len(batch) for batch in self._source.trials(row.exp_id, after))
        for batch in self._source.trials(row.exp_id, after):
            with self._engine.begin() as connection:
                for trial in batch:
                    digest = hashes[trial.id]
                    if digest not in numbers:
                        numbers[digest] = self._configuration(connection, digest, trial)
                    kept = kept and numbers[digest] == trial.config
                self._write_batch(connection, row.exp_id, batch, [numbers[hashes[trial.id]] for trial in batch])
            done += len(batch)
            self._tell(f"{row.exp_id}: trials", done, row.trials)
        return kept

    def _configuration(self, connection: Connection, digest: str, trial: TrialRow) -> int:
        """The database's number of a configuration: the store's own where that is free."""
        config = self._schema.config
        known = select(config.c.config_id).where(config.c.config_hash == digest)
        number = connection.execute(known).scalar_one_or_none()
        if number is not None:
            return int(number)
        taken = select(func.count()).select_from(config).where(config.c.config_id == trial.config)
        if trial.config > 0 and not connection.execute(taken).scalar_one():
            number = trial.config
        else:
            number = (connection.execute(select(func.max(config.c.config_id))).scalar_one() or 0) + 1
        connection.execute(insert(config).values(config_id=number, config_hash=digest))
        _count_on(connection, int(number))
        _insert(connection, self._schema.config_param, _values("param", trial.tunables, config_id=number))
        return int(number)

    def _write_batch(self, connection: Connection, name: str, batch: Sequence[TrialRow], configs: list[int]) -> None:
        schema = self._schema
        heads = [
            {
                "exp_id": name,
                "trial_id": trial.id,
                "config_id": config,
                **_head(trial),
            }
            for trial, config in zip(batch, configs, strict=True)
        ]
        _insert(connection, schema.trial, heads)
        for table, kind, member in (
            (schema.trial_param, "param", "params"),
            (schema.trial_result, "metric", "results"),
        ):
            rows: list[dict[str, Any]] = []
            for trial in batch:
                rows += _values(kind, getattr(trial, member), exp_id=name, trial_id=trial.id)
            _insert(connection, table, rows)
        steps = [
            {"exp_id": name, "trial_id": trial.id, "ts": self._zoned(at), "status": status}
            for trial in batch
            for at, status in trial.steps
        ]
        _insert(connection, schema.trial_status, steps)

    # Telemetry

    def _write_samples(self, row: ExperimentRow) -> None:
        """Write the samples of trials that have none in the database, some trials in a transaction."""
        there = {trial for trial, _ in self._target.sample_counts(row.exp_id)}
        counts = self._source.sample_counts(row.exp_id)
        total = sum(count for _, count in counts)
        done = sum(count for trial, count in counts if trial in there)
        for first, last, _ in ranges([each for each in counts if each[0] not in there]):
            with self._engine.begin() as connection:
                for batch in self._source.samples(row.exp_id, first, last):
                    missing = [sample for sample in batch if sample[0] not in there]
                    _insert(connection, self._schema.trial_telemetry, list(self._points(row.exp_id, missing)))
                    done += len(missing)
                    self._tell(f"{row.exp_id}: telemetry", done, total)

    def _points(self, name: str, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
        for trial, at, metric, value in samples:
            yield {
                "exp_id": name,
                "trial_id": trial,
                "ts": self._zoned(at),
                "metric_id": metric,
                "metric_value": value,
            }

    def _zoned(self, at: datetime) -> datetime:
        """A time for a column with a zone, which MySQL and SQLite keep without."""
        return at.replace(tzinfo=None) if self._engine.dialect.name in (*_WHOLE_SECONDS, "sqlite") else at


def _head(row: TrialRow) -> dict[str, Any]:
    """The columns of a trial's own row that change while it lives."""
    return {
        "trial_runner_id": row.runner,
        "ts_start": row.starts_at.replace(tzinfo=None),
        "ts_end": None if row.ended_at is None else row.ended_at.replace(tzinfo=None),
        "status": row.status,
    }


def _follows(before: TrialRow, row: TrialRow) -> bool:
    """Whether a trial may have come from what the database has of it: nothing that stands there is left out."""
    steps, params = set(row.steps), row.params.items()
    return not before.results and steps.issuperset(before.steps) and params >= before.params.items()


def _make_tables(engine: Engine) -> None:
    schema = DbSchema(engine)
    if engine.dialect.name == "duckdb":
        schema.meta.create_all(engine)  # the rest, a stamp for later updates, fails on the driver of this dialect
    else:
        schema.create()


def _count_on(connection: Connection, number: int) -> None:
    """Let the database number the next configurations after this one, where it does not see to that itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT setval(pg_get_serial_sequence('config', 'config_id'), max(config_id)) FROM config")
        )
    elif connection.dialect.name == "duckdb":
        last = text("SELECT last_value FROM duckdb_sequences() WHERE sequence_name = 'seq_config_id'")
        for _ in range(connection.execute(last).scalar() or 0, number):
            connection.execute(text("SELECT nextval('seq_config_id')"))


def _values(kind: str, values: dict[str, str | None], **key: Any) -> list[dict[str, Any]]:
    return [{**key, f"{kind}_id": name, f"{kind}_value": value} for name, value in values.items()]


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


@contextmanager
def _refusals(engine: Engine) -> Iterator[None]:
    """Tell what the database refused; the transaction that was open has not taken place."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise UnsupportedError(
            "database refuses what is to be written",
            hint="mlos_bench's tables limit names to 512 and results to 255 characters; SQLite does not",
            database=shown(engine),
            reason=reason,
        ) from None
