"""Snapshots: experiments as they were at one sequence number, for SQL and for frames."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from trialstore.blobs.protocol import Blobs
from trialstore.blobs.reading import ReadingBlobs
from trialstore.journal.arrival import arrival
from trialstore.model.citation import Citation, Mark
from trialstore.model.errors import ExperimentNotFoundError, ReadOnlyError, UsageError, nearest
from trialstore.model.part import Part
from trialstore.tables.schema import STRUCTS, Fields, fields_of, unify_fields

if TYPE_CHECKING:
    import polars as pl

    from trialstore.query.diff import SnapshotDiff
    from trialstore.query.engine import Engine
    from trialstore.query.result import Result

__all__ = ["ExperimentSnapshot", "Snapshot"]


@dataclass(frozen=True, slots=True)
class ExperimentSnapshot:
    """One experiment at one sequence number of its journal.

    Attributes:
        id: Number of the experiment in the store.
        name: Its name.
        version: Its version.
        key: Its folder.
        metadata: What the catalog says of it, and ``counts`` of trials by status: JSON values.
        seq: The sequence number.
        parts: Live parts of all tables.
        superseded: By part, the trials whose row there no longer counts.
        removed_artifacts: Ids of artifacts that were deleted; their rows are not shown.
        removed_trials: Trials that were taken out; no row of theirs is shown.
        live: By table, the rows that are in no part, in the order they came. A trial here is in no part, unless
            superseded there.
        live_after: How many telemetry rows rode the journal before those in `live`.
        changed: The last commit at or before `seq` that changed any of this.
        described: Sequence number of the catalog's commit that wrote what it says of the experiment.
    """

    id: int
    name: str
    version: int
    key: str
    metadata: Mapping[str, Any]
    seq: int
    parts: tuple[Part, ...] = ()
    superseded: Mapping[str, frozenset[int]] = field(default_factory=dict)
    removed_artifacts: frozenset[str] = frozenset()
    removed_trials: frozenset[int] = frozenset()
    live: Mapping[str, pa.Table] = field(default_factory=dict)
    live_after: int = 0
    changed: Mark = (-1, 0)
    described: int = -1

    def table_parts(self, table: str) -> list[Part]:
        """The parts of a table that have rows, in the order in which their rows came."""
        return sorted((p for p in self.parts if p.table == table and p.rows), key=arrival)

    def struct_fields(self, column: str) -> list[Fields]:
        """The fields of a struct column in each part and among the live rows; no footer is read."""
        fields: list[Fields] = [(part.schema or {}).get(column, {}) for part in self.table_parts("trials")]
        live = self.live.get("trials")
        if live is not None and live.num_rows:
            fields.append(fields_of(live.schema.field(column).type))
        return fields


class Snapshot:
    """Experiments that never change under the reader: SQL and frames over the same rows.

    Guarantees: the same query gives the same answer for as long as the files of its parts exist. May be used from
    many threads.

    NaN sorts above every number, infinity included, and null comes last, in SQL and in Polars with
    ``nulls_last=True``.

    Args:
        blobs: Where the parts are.
        experiments: What is in the snapshot.
        store: The store's id.
        catalog: The last commit of the catalog that counts, when these are all experiments there were.
    """

    def __init__(
        self,
        blobs: Blobs,
        experiments: Sequence[ExperimentSnapshot],
        store: str = "",
        catalog: Mark | None = None,
    ) -> None:
        self.blobs = blobs
        self.store = store
        self.catalog = catalog
        self.experiments = tuple(experiments)
        self.structs: dict[str, dict[str, str]] = {
            column: unify_fields(
                fields for experiment in self.experiments for fields in experiment.struct_fields(column)
            )
            for column in STRUCTS
        }
        self._attached: dict[str, Snapshot] = {}
        self._engines: dict[bool, Engine] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.blobs, self.experiments, self.store, self.catalog)

    @property
    def id(self) -> str:
        """A short text that names exactly this state, to cite it.

        Equal histories have equal ids, and no other state has it: rows that were moved between files since do not
        change it, a trial that was changed and changed back does. ``store.snapshot(id)`` gives the state back, on any
        machine and in any copy of the store: for ever while nothing was changed since, and otherwise as long as
        the store keeps history. 17 characters, and 2 to 5 more for each further experiment. Nothing is written.

        Example:
            >>> import trialstore as ts
            >>> store = ts.open("memory://doctest-cite")
            >>> experiment = store.create_experiment("tune", exist_ok=True)
            >>> _ = experiment.register_trial({"lr": 0.1})
            >>> cited = store.snapshot().id
            >>> _ = experiment.register_trial({"lr": 0.2})
            >>> store.sql("SELECT count(*) FROM trials", as_of=cited).fetchone()
            (1,)
        """
        marks = [(experiment.id, experiment.changed) for experiment in self.experiments]
        if self.catalog is not None:
            return str(Citation.of(self.store, self.catalog, marks))
        if len(self.experiments) == 1:
            (one,) = self.experiments
            return str(Citation.of(self.store, (one.described, 0), marks, only=one.id))
        raise UsageError("only a snapshot of a store, or of one experiment, has an id", hint="call store.snapshot()")

    def __repr__(self) -> str:
        names = ", ".join(f"{experiment.name!r} at {experiment.seq}" for experiment in self.experiments[:5])
        more = f", … {len(self.experiments)} in all" if len(self.experiments) > 5 else ""
        return f"Snapshot({names}{more})"

    def sql(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None, *, external: bool = False
    ) -> Result:
        """Run DuckDB SQL over trials, params, repeats, metrics, telemetry, status, artifacts and experiments.

        Guarantees: nothing but the rows of this snapshot, and of those attached, is read; no file is written, no
        extension loaded, no setting changed. Tables, views and macros that a query makes are in memory. See
        ``docs/SECURITY.md``.

        Args:
            query: DuckDB SQL that reads.
            parameters: Values for ``?`` or ``$name`` in it.
            external: Run any DuckDB statement with all that this process may do, such as reading a CSV file or ``COPY``
                to one. Only for queries that you trust.

        Raises:
            QueryError: DuckDB's message, and the tables and columns there are; or what the query may not do.
            ReadOnlyError: `external` was asked, and this store or an attached one was opened for reading.
        """
        if external:
            for snapshot in (self, *self._attached.values()):
                if isinstance(snapshot.blobs, ReadingBlobs):
                    raise ReadOnlyError(
                        "a query over a store that was opened for reading may not reach other files",
                        hint='open it with mode="rw", or join in your program',
                        url=snapshot.blobs.url,
                    )
        return self._opened(external).run(query, parameters)

    def frame(self, table: str, experiment: str | None = None, trial: int | None = None) -> pl.LazyFrame:
        """The same table as a Polars LazyFrame: columns, row groups and files are pruned when it is collected.

        Args:
            table: trials, params, repeats, metrics, telemetry, status, artifacts or experiments.
            experiment: Only this experiment, in all its versions.
            trial: Only rows of the trial of this number; files without it are not touched.

        Raises:
            ExperimentNotFoundError: no experiment of the snapshot has this name.
            UsageError: there is no such table.
        """
        from trialstore.query.frames import FRAMES, frame

        if table not in FRAMES:
            near = nearest(table, FRAMES)
            hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(FRAMES)}"
            raise UsageError("there is no such table", hint=hint, table=table)
        return frame(self, table, self._chosen(experiment), trial)

    def _chosen(self, name: str | None) -> tuple[ExperimentSnapshot, ...]:
        if name is None:
            return self.experiments
        chosen = tuple(experiment for experiment in self.experiments if experiment.name == name)
        if not chosen:
            names = [experiment.name for experiment in self.experiments]
            near = nearest(name, names)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {len(names)} experiments"
            raise ExperimentNotFoundError("there is no such experiment", hint=hint, experiment=name)
        return chosen

    def attach(self, other: Snapshot, name: str) -> None:
        """Make another snapshot's tables known to `sql` as ``name.trials`` and so on.

        Attaching again under the same name replaces what was there.

        Raises:
            UsageError: the name cannot be one of an attached store.
        """
        self._opened(False).attach(other, name)
        with self._lock:
            self._attached[name] = other
            engine = self._engines.get(True)
        if engine is not None:
            engine.attach(other, name)

    def only(self, name: str) -> Snapshot:
        """The same moment of one experiment alone, in its newest version.

        Raises:
            ExperimentNotFoundError: the snapshot does not have it.
        """
        return Snapshot(self.blobs, [max(self._chosen(name), key=lambda one: one.version)], self.store)

    def diff(self, other: Snapshot) -> SnapshotDiff:
        """What it takes to come from this snapshot to another one of the store; print it, or use its frames.

        Example:
            >>> import trialstore as ts
            >>> store = ts.open("memory://doctest-diff")
            >>> experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")], exist_ok=True)
            >>> trial = experiment.register_trial({"lr": 0.1}, reserve=True)
            >>> before = store.snapshot()
            >>> report = trial.success(loss=0.5)
            >>> fields = before.diff(store.snapshot()).fields.collect()
            >>> fields.filter(fields["field"] == "metrics.loss")["after"].to_list()
            ['0.5']

        Raises:
            UsageError: it is a snapshot of another store.
        """
        from trialstore.query.diff import SnapshotDiff

        return SnapshotDiff(self, other)

    def close(self) -> None:
        """Give back memory and temporary files; results that were not read end here."""
        with self._lock:
            engines, self._engines = self._engines, {}
        for engine in engines.values():
            engine.close()

    def _opened(self, external: bool) -> Engine:
        with self._lock:
            engine = self._engines.get(external)
            if engine is None:
                from trialstore.query.engine import Engine

                engine = self._engines[external] = Engine(self, external=external)
                for name, other in self._attached.items():
                    engine.attach(other, name)
            return engine
