"""A database that mlos_bench's own storage wrote, read in batches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any

from mlos_bench.storage.sql.schema import DbSchema
from sqlalchemy import Column, Connection, Engine, Table, and_, func, literal_column, select
from sqlalchemy.exc import SQLAlchemyError

from trialstore.integrations.mlos_bench.migration.address import shown
from trialstore.integrations.mlos_bench.migration.rows import (
    SAMPLES_AT_ONCE,
    Configuration,
    ExperimentRow,
    Objective,
    Sample,
    Texts,
    TrialRow,
)
from trialstore.model.errors import StoreNotFoundError, StoreUnavailableError

__all__ = ["Database"]

_AT_ONCE = 1000


class Database:
    """Reads a database by the schema of the installed mlos_bench.

    A column that the database does not have, because an older version made it, reads as None.

    Args:
        engine: Of SQLAlchemy.
        zone: Which zone the times are in that the database holds without one: when trials begin and end. mlos_bench
            reads them as UTC, though PostgreSQL and DuckDB wrote them in the zone of their session.

    Raises:
        StoreNotFoundError: the database has no tables of mlos_bench.
        StoreUnavailableError: it cannot be reached.
    """

    def __init__(self, engine: Engine, zone: tzinfo = UTC) -> None:
        self.engine = engine
        self.schema = DbSchema(engine)
        self._zone = zone
        self._missing: dict[str, set[str]] = {}
        self._more: dict[str, list[str]] = {}
        try:
            with engine.connect():
                pass
        except (SQLAlchemyError, ImportError) as error:
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise StoreUnavailableError(
                "database cannot be read",
                hint="check the address, and that the server runs",
                database=shown(engine),
                reason=reason,
            ) from None
        with engine.connect() as connection:
            for table in self.schema.meta.tables.values():
                self._learn(connection, table)

    def _learn(self, connection: Connection, table: Table) -> None:
        """See which columns there are, of a query without rows: not every dialect can be asked for them."""
        try:
            there = set(connection.execute(select(literal_column("*")).select_from(table).limit(0)).keys())
        except SQLAlchemyError:
            raise StoreNotFoundError(
                "database has no tables of mlos_bench",
                hint="give the address of a database that mlos_bench wrote",
                database=shown(self.engine),
                table=table.name,
            ) from None
        declared = {column.name for column in table.columns}
        self._missing[table.name] = declared - there
        self._more[table.name] = sorted(there - declared)

    def _columns(self, table: Table) -> list[Any]:
        known = [column for column in table.columns if column.name not in self._missing[table.name]]
        return [*known, *map(literal_column, self._more[table.name])]

    def _time(self, at: datetime) -> datetime:
        return at.replace(tzinfo=self._zone).astimezone(UTC) if at.tzinfo is None else at.astimezone(UTC)

    # What there is

    def experiments(self) -> list[ExperimentRow]:
        """All experiments, by name."""
        trial, experiment, objective = self.schema.trial, self.schema.experiment, self.schema.objectives
        spans = select(trial.c.exp_id, func.count(), func.max(trial.c.trial_id)).group_by(trial.c.exp_id)
        with self.engine.connect() as connection:
            span_of = {name: (count, last) for name, count, last in connection.execute(spans)}
            objectives: dict[str, list[Objective]] = {}
            for row in connection.execute(select(*self._columns(objective))).mappings():
                found = Objective(row["optimization_target"], row["optimization_direction"], row.get("weight"))
                objectives.setdefault(row["exp_id"], []).append(found)
            rows = connection.execute(select(*self._columns(experiment))).mappings().all()
        return [
            ExperimentRow(
                row["exp_id"],
                {name: value for name, value in row.items() if name != "exp_id"},
                tuple(sorted(objectives.get(row["exp_id"], ()), key=lambda each: (-(each.weight or 0.0), each.metric))),
                *span_of.get(row["exp_id"], (0, 0)),
            )
            for row in sorted(rows, key=lambda row: str(row["exp_id"]))
        ]

    def configurations(self) -> Iterator[list[Configuration]]:
        """The configurations of all experiments by number, in batches."""
        config, param = self.schema.config, self.schema.config_param
        after = 0
        while True:
            heads = select(config.c.config_id, config.c.config_hash).where(config.c.config_id > after)
            with self.engine.connect() as connection:
                found = connection.execute(heads.order_by(config.c.config_id).limit(_AT_ONCE)).all()
                if not found:
                    return
                first, after = found[0].config_id, found[-1].config_id
                values = _pairs(connection, param, param.c.config_id, "param", param.c.config_id.between(first, after))
            yield [Configuration(row.config_id, row.config_hash, values.get(row.config_id, {})) for row in found]

    def trials(self, exp_id: str, after: int = 0) -> Iterator[list[TrialRow]]:
        """See `Side`."""
        trial = self.schema.trial
        while True:
            heads = select(*self._columns(trial)).where(trial.c.exp_id == exp_id, trial.c.trial_id > after)
            with self.engine.connect() as connection:
                rows = connection.execute(heads.order_by(trial.c.trial_id).limit(_AT_ONCE)).mappings().all()
                if not rows:
                    return
                first, after = rows[0]["trial_id"], rows[-1]["trial_id"]
                batch = self._trials(connection, rows, exp_id, first, after)
            yield batch

    def _trials(self, connection: Connection, rows: Any, exp_id: str, first: int, last: int) -> list[TrialRow]:
        schema = self.schema
        trial, param, config = schema.trial, schema.trial_param, schema.config_param

        def within(table: Table) -> Any:
            return and_(table.c.exp_id == exp_id, table.c.trial_id.between(first, last))

        chosen = config.c.config_id.in_(select(trial.c.config_id).where(within(trial)))
        tunables = _pairs(connection, config, config.c.config_id, "param", chosen)
        params = _pairs(connection, param, param.c.trial_id, "param", within(param))
        result, status = schema.trial_result, schema.trial_status
        results = _pairs(connection, result, result.c.trial_id, "metric", within(result))
        steps: dict[int, list[tuple[datetime, str]]] = {}
        history = select(status.c.trial_id, status.c.ts, status.c.status).where(within(status))
        for number, at, name in connection.execute(history.order_by(status.c.trial_id, status.c.ts)):
            steps.setdefault(number, []).append((_utc(at), name))
        return [
            TrialRow(
                id=row["trial_id"],
                config=row["config_id"],
                status=row["status"],
                runner=row.get("trial_runner_id"),
                starts_at=self._time(row["ts_start"]),
                ended_at=None if row["ts_end"] is None else self._time(row["ts_end"]),
                tunables=tunables.get(row["config_id"], {}),
                params=params.get(row["trial_id"], {}),
                results=results.get(row["trial_id"], {}),
                steps=steps.get(row["trial_id"], []),
            )
            for row in rows
        ]

    def sample_counts(self, exp_id: str) -> list[tuple[int, int]]:
        """See `Side`."""
        table = self.schema.trial_telemetry
        counts = select(table.c.trial_id, func.count()).where(table.c.exp_id == exp_id).group_by(table.c.trial_id)
        with self.engine.connect() as connection:
            return sorted((number, count) for number, count in connection.execute(counts))

    def samples(self, exp_id: str, first: int, last: int) -> Iterator[list[Sample]]:
        """See `Side`."""
        table = self.schema.trial_telemetry
        columns = (table.c.trial_id, table.c.ts, table.c.metric_id, table.c.metric_value)
        key = and_(table.c.exp_id == exp_id, table.c.trial_id.between(first, last))
        query = select(*columns).where(key).order_by(*columns[:3])
        with self.engine.connect() as connection:
            rows = connection.execution_options(stream_results=True, yield_per=SAMPLES_AT_ONCE).execute(query)
            for batch in rows.partitions():
                yield [(number, _utc(at), name, value) for number, at, name, value in batch]


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _pairs(connection: Connection, table: Table, number: Column[Any], kind: str, key: Any) -> dict[int, Texts]:
    """Names and values of a table that has a row for each, by the number of whose they are."""
    found: dict[int, Texts] = {}
    query = select(number, table.c[f"{kind}_id"], table.c[f"{kind}_value"]).where(key)
    for owner, name, value in connection.execute(query):
        found.setdefault(owner, {})[name] = value
    return found
