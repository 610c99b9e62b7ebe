"""A store: one folder or bucket of experiments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from trialstore.access import limited
from trialstore.amendments import check_limit
from trialstore.blobs.protocol import Blobs
from trialstore.blobs.resolve import BlobsSpec, open_blobs
from trialstore.branching import Branches
from trialstore.description import describe, retention_s
from trialstore.experiment import Experiment
from trialstore.interning import interning_of
from trialstore.journal.catalog import ExperimentEntry
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger, catalog_of, ledger_of
from trialstore.model.codec import pack, pack_dict, unpack
from trialstore.model.errors import (
    ConflictError,
    DuplicateExperimentError,
    ExperimentNotFoundError,
    StaleRevisionError,
    UsageError,
    nearest,
)
from trialstore.model.identity import check_name, packed_hash
from trialstore.model.metric import Metric, problems_of
from trialstore.model.space import Dimension, Space
from trialstore.model.times import parse_time
from trialstore.past import AsOf, same_moment, store_as_of
from trialstore.provenance import remembered
from trialstore.render.page import Page
from trialstore.render.rendered import Rendered
from trialstore.session import Options, Session
from trialstore.upkeep import Maintained, Upkeep

if TYPE_CHECKING:
    import polars as pl

    from trialstore.maintenance.compact import Compaction
    from trialstore.query.result import Result
    from trialstore.query.snapshot import Snapshot

__all__ = ["Store", "open"]


def open(  # noqa: A001 - `trialstore.open` is what users write
    url: str | os.PathLike[str] | Blobs,
    *,
    mode: str = "rw",
    storage_options: Mapping[str, Any] | None = None,
    retention: timedelta | None = None,
    **options: Any,
) -> Store:
    """Open a store, and create it when there is none and `mode` allows.

    Cheap: it reads one small blob. The store may be used from many threads, pickled, and used after a fork.

    Args:
        url: A path, or a URL of ``file://``, ``memory://``, ``s3://``, ``gs://`` or ``az://``; or blobs of your own,
            which must keep what `trialstore.blobs.protocol.Blobs` promises (see ``docs/TESTING.md``).
        mode: ``"rw"``, or ``"r"`` to never write.
        storage_options: For fsspec's filesystem: credentials, endpoint, and so on.
        retention: For a store that is created now: how long `vacuum` leaves history, at least a minute, 7 days by
            default. A store keeps the one that it was created with.
        options: See `trialstore.session.Options`: durability, lease_s, linger_s, maintenance.

    Raises:
        UsageError: an unknown scheme or option, or the place holds something else.
        StoreNotFoundError: there is no store and mode is ``"r"``.
        MissingExtraError: the scheme needs a package; the extra that brings it is named.
        UnsafeBackendError: the backend does not exclude two writers of one name.
        FormatTooNewError: a newer trialstore wrote the store.

    Example:
        >>> import trialstore as ts
        >>> with ts.open("memory://example") as store:
        ...     experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")], exist_ok=True)
        ...     trial = experiment.register_trial({"lr": 0.1})
        >>> trial.status.name
        'PENDING'
    """
    try:
        chosen = Options(mode=mode, **options)
    except ValidationError as error:
        raise UsageError(f"not an option of a store: {problems_of(error)}") from None
    blobs = open_blobs(url, durability=chosen.durability, storage_options=storage_options)
    place = BlobsSpec(blobs if blobs is url else blobs.url, chosen.durability, storage_options)
    about = describe(blobs, writable=chosen.mode == "rw", retention=retention)
    return Store(Session(place, blobs, chosen, retention_s(about), str(about["store"])), about)


class Store(Branches, Maintained, Rendered):
    """All experiments under one root, and SQL and frames over them. `open` gives one.

    Attributes:
        url: Canonical address of the root.
        id: A ULID that a copy of the store shares.
        created_at: When it was created, aware UTC.
    """

    def __init__(self, session: Session, about: Mapping[str, Any]) -> None:
        self._session = session
        self._blobs = session.blobs
        self._about = dict(about)
        session.store = self.id
        self._catalog = catalog_of(session)
        self._ledgers: dict[int, Ledger] = {}
        self._attached: dict[str, Store] = {}
        self._snapshot: tuple[object, Snapshot] | None = None

    @property
    def url(self) -> str:
        """Canonical address of the root."""
        return self._blobs.url

    @property
    def id(self) -> str:
        """A ULID that a copy of the store shares."""
        return str(self._about["store"])

    @property
    def created_at(self) -> datetime:
        """When it was created, aware UTC."""
        return parse_time(self._about["created_at"])

    @property
    def options(self) -> Options:
        """How this process uses the store."""
        return self._session.options

    def __repr__(self) -> str:
        return f"<Store {self.url}>"

    def _page(self) -> Page:
        from trialstore.facts import experiment_facts
        from trialstore.render.store_page import store_page

        experiments = self.experiments()
        shown = [experiment_facts(experiment) for experiment in experiments[-50:]]
        return store_page(self.url, self.created_at, shown, len(experiments))

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self._session, self._about)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit what is buffered, and stop the heartbeats. A closed store can still be read."""
        self.flush()
        self._session.close()

    def flush(self) -> None:
        """Commit what all experiments of this object have buffered."""
        for ledger in list(self._ledgers.values()):
            ledger.commit_buffered()
        self._catalog.flush()

    # Experiments

    def create_experiment(
        self,
        name: str,
        *,
        metrics: Sequence[Metric] = (),
        space: Mapping[str, Dimension] | None = None,
        max_trials: int | None = None,
        max_broken: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        repeats: bool = True,
        version: int | None = 1,
        exist_ok: bool = False,
        working_dir: str | os.PathLike[str] | None = None,
        algorithms: Any = None,
        refers: Mapping[str, Any] | None = None,
    ) -> Experiment:
        """Add an experiment; durable when it returns.

        Args:
            name: Any text of 1 to 1,024 characters.
            metrics: What every successful trial reports; the first is the objective by default.
            space: What each parameter may be; without it any parameters are allowed.
            max_trials: How many trials shall succeed.
            max_broken: How many may break before the experiment counts as broken.
            metadata: Anything to remember; by default who creates it from what, as `trialstore.provenance` says.
            repeats: Whether several trials may have equal parameters and fidelity.
            version: 1, 2, 3 …; None takes the next one of this name.
            exist_ok: Return the experiment when there is one of this name and version, as it is.
            working_dir: Folder for the files of its trials; nothing makes it.
            algorithms: Configuration of the algorithm that suggests its trials: any value that can be stored.
            refers: Where it was branched from: ``parent_id``, ``root_id``, ``adapter``; see `build_experiment`.

        Raises:
            DuplicateExperimentError: there is one of this name and version.
        """
        self._session.require_writable()
        if len({metric.name for metric in metrics}) < len(metrics):
            raise UsageError("two metrics have one name", metrics=[metric.name for metric in metrics])
        for limit_name, limit in (("max_trials", max_trials), ("max_broken", max_broken), ("version", version)):
            check_limit(limit_name, limit)
        with suppress(ExperimentNotFoundError):
            if exist_ok and version is not None:
                return self.experiment(name, version)
        config: dict[str, Any] = {
            "metrics": [metric.to_json() for metric in metrics],
            "space": Space(space or {}).to_json(),
            "max_trials": max_trials,
            "max_broken": max_broken,
            "metadata": pack_dict(remembered() if metadata is None else metadata, "metadata"),
            "repeats": repeats,
        }
        if working_dir is not None:
            config["working_dir"] = os.path.abspath(working_dir)
        if algorithms is not None:
            config["algorithms"] = pack(algorithms, "algorithms")
        if refers is not None:
            config["refers"] = {"parent_id": None, "root_id": None, "adapter": [], **refers}
        fields = {"name": check_name(name, "experiment"), "version": version, "config": config}
        outcome = self._catalog.execute(Draft("create_experiment", fields))[-1]
        if outcome.reason == "exists":
            if not exist_ok:
                raise DuplicateExperimentError(
                    "experiment exists already",
                    hint="pass exist_ok=True to use it, or version=None for a new version",
                    experiment=name,
                    version=outcome.value["version"],
                )
            return self.experiment(name, outcome.value["version"])
        with self._catalog.view(refresh=False) as catalog:
            return self._open_experiment(catalog.experiments[outcome.value])

    def experiment(self, name: str, version: int | None = None, *, mode: str | None = None) -> Experiment:
        """The experiment of a name: the newest version, or the one asked for.

        Args:
            name: Its name.
            version: 1, 2, 3 …
            mode: What its handle may do: ``"r"`` reads, ``"w"`` registers and changes trials too, ``"x"`` claims and
                finishes them too; by default whatever the store may.

        Raises:
            ExperimentNotFoundError: there is none; near names are given.
        """
        with self._catalog.view() as catalog:
            entry = catalog.find(name, version)
            if entry is not None:
                experiment = self._open_experiment(entry)
                return experiment if mode is None else Experiment(limited(experiment._ledger, mode))
            versions = catalog.versions(name)
            near = nearest(str(name), {entry.name for entry in catalog.experiments.values()})
        if versions:
            hint = f"it has version {', '.join(map(str, versions))}"
        elif near:
            hint = f"did you mean {' or '.join(map(repr, near))}?"
        else:
            hint = "store.experiments() lists those there are"
        raise ExperimentNotFoundError(
            "store has no such experiment", hint=hint, experiment=name, version=version, url=self.url
        )

    def experiments(self) -> list[Experiment]:
        """All experiments, in the order of their creation."""
        with self._catalog.view() as catalog:
            return [self._open_experiment(entry) for entry in catalog.experiments.values()]

    def __getitem__(self, name: str) -> Experiment:
        return self.experiment(name)

    def __contains__(self, name: str) -> bool:
        with self._catalog.view() as catalog:
            return catalog.find(name) is not None

    def __iter__(self) -> Iterator[Experiment]:
        return iter(self.experiments())

    def __len__(self) -> int:
        with self._catalog.view() as catalog:
            return len(catalog.experiments)

    def update_experiment(
        self, name: str, version: int | None = None, *, revision: int | None = None, **changes: Any
    ) -> Experiment:
        """Change what may be changed of an experiment; durable when it returns.

        Args:
            name: Its name.
            version: Its version, the newest by default.
            revision: The revision it must have now; None changes it whatever it has.
            changes: New values of ``max_trials``, ``max_broken`` or ``metadata``.

        Raises:
            StaleRevisionError: it has another revision; nothing was changed.
        """
        self._session.require_writable()
        unknown = sorted(changes.keys() - {"max_trials", "max_broken", "metadata"})
        if unknown:
            raise UsageError("cannot be changed", hint="create a new version", fields=unknown)
        for limit_name in changes.keys() & {"max_trials", "max_broken"}:
            check_limit(limit_name, changes[limit_name])
        if "metadata" in changes:
            changes["metadata"] = pack_dict(changes["metadata"], "metadata")
        experiment = self.experiment(name, version)
        fields = {"id": experiment.id, "revision": revision, "config": changes}
        outcome = self._catalog.execute(Draft("update_experiment", fields))[-1]
        self._check(outcome.reason, outcome.value)
        with self._catalog.view(refresh=False) as catalog:
            return self._open_experiment(catalog.experiments[experiment.id])

    def drop_experiment(self, name: str, version: int | None = None) -> None:
        """Remove an experiment from the store. Its name is free again; its id and its folder are never used again.

        The files stay where they are until a later clean-up.
        """
        self._session.require_writable()
        experiment = self.experiment(name, version)
        outcome = self._catalog.execute(Draft("drop_experiment", {"id": experiment.id}))[-1]
        self._check(outcome.reason, outcome.value)
        self._ledgers.pop(experiment.id, None)

    def _open_experiment(self, entry: ExperimentEntry) -> Experiment:
        ledger = self._ledgers.get(entry.id)
        if ledger is None:
            ledger = self._ledgers[entry.id] = ledger_of(self._session, entry)
        ledger.entry = entry
        return Experiment(ledger)

    # Configurations and documents

    def intern(self, params: Mapping[str, Any]) -> int:
        """The small integer that stands for these parameters in the whole store: 1, 2, 3 ….

        Equal parameters have one id, whoever asks first.
        """
        return self.intern_many([params])[0]

    def intern_many(self, params: Sequence[Mapping[str, Any]]) -> list[int]:
        """The small integers of several parameter sets, in one commit; none when all are known."""
        packed = [pack_dict(item, "params") for item in params]
        hashes = [packed_hash(item, values) for item, values in zip(params, packed, strict=True)]
        return interning_of(self._session).ids(hashes, packed)

    def configuration(self, number: int) -> dict[str, Any]:
        """The parameters that `intern` gave a number to.

        Raises:
            ExperimentNotFoundError: no parameters have this number.
        """
        with self._catalog.view() as catalog:
            packed = catalog.configurations.get(number)
        if packed is None:
            raise ExperimentNotFoundError("store has no such configuration", configuration=number)
        return {name: unpack(value) for name, value in packed.items()}

    def document(self, name: str) -> tuple[int, Any]:
        """A named value of the store and its revision, ``(0, None)`` when it was never set."""
        with self._catalog.view() as catalog:
            revision, value = catalog.documents.get(check_name(name, "document"), (0, None))
        return revision, unpack(value)

    def set_document(self, name: str, value: Any, *, revision: int | None = None) -> int:
        """Set a named value of the store and return its new revision; see `Experiment.set_document`."""
        self._session.require_writable()
        fields = {"name": check_name(name, "document"), "value": pack(value, name), "revision": revision}
        outcome = self._catalog.execute(Draft("document", fields))[-1]
        self._check(outcome.reason, outcome.value)
        new: int = outcome.value
        return new

    # Queries

    def snapshot(self, as_of: AsOf | None = None) -> Snapshot:
        """All experiments frozen as they are now, or as they were.

        Each experiment is shown as it was at one moment between the call and its return: whole commits, all that were
        made before the call, and none after a missing one. Two experiments have no common order: of commits that are
        made during the call, one may be in the snapshot and an earlier one of another experiment not.

        Args:
            as_of: What was committed before an aware time, or its text in ISO 8601, by the writers' clocks; the state
                that `Snapshot.id` named; or a sequence number by experiment name, the others as they are now.

        Raises:
            SnapshotNotFoundError: the store does not keep that any more, or never was in it; names what is missing.

        Cost: now, one read more than there are new commits in each journal. Of the past also a checkpoint and the
        commits after it, of each experiment that changed since.
        """
        if as_of is not None:
            return store_as_of(self._session, as_of)
        from trialstore.query.snapshot import Snapshot

        with self._catalog.view() as catalog:
            experiments = [self._open_experiment(entry) for entry in catalog.experiments.values()]
            changed = catalog.changed
        views = [experiment._ledger.snapshot() for experiment in experiments]
        signature = (changed, *((view.id, view.seq) for view in views))
        if self._snapshot is None or self._snapshot[0] != signature:
            self._snapshot = (signature, Snapshot(self._blobs, views, self.id, changed))
        return self._snapshot[1]

    def sql(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        as_of: AsOf | None = None,
        external: bool = False,
    ) -> Result:
        """DuckDB SQL over the tables trials, params, repeats, metrics, telemetry, status, artifacts and experiments.

        All tables show one snapshot, taken when this is called. NaN sorts above every number and null last. The query
        reads these tables, and makes tables of its own in memory; it reaches no other file, unless `external` says so.

        Args:
            query: DuckDB SQL.
            parameters: Values for ``?`` or ``$name`` in it.
            as_of: Look at the store as it was; see `snapshot`. Attached stores show the same time, where it is one, and
                else the present.
            external: Let the query do whatever this process may: read and write files, load extensions, change
                settings. Only for queries that you trust, and never of a store that was opened for reading.

        Returns:
            The result, with ``.pl()``, ``.arrow()``, ``.df()``, ``.fetchall()``.

        Raises:
            QueryError: DuckDB's message, and the tables and columns there are; or what the query may not do.
            ReadOnlyError: `external` was asked of a store that was opened for reading, or has one attached.
        """
        snapshot = self.snapshot(as_of)
        for name, other in self._attached.items():
            snapshot.attach(other.snapshot(same_moment(as_of)), name)
        return snapshot.sql(query, parameters, external=external)

    def frame(self, table: str) -> pl.LazyFrame:
        """One of the tables over all experiments, lazily."""
        return self.snapshot().frame(table)

    def attach(self, other: Store | str | os.PathLike[str], name: str, **options: Any) -> Store:
        """Make another store's tables known to `sql` as ``name.trials`` and so on; returns that store.

        Args:
            other: A store, or where one is; it is then opened for reading.
            name: The schema it appears under.
            options: For `open`.
        """
        check_name(name, "schema")
        store = other if isinstance(other, Store) else open(other, **{"mode": "r", **options})
        self._attached[name] = store
        return store

    def compact(self, *, grace: timedelta | None = None) -> dict[tuple[str, int], Compaction]:
        """Merge many small parts into few large ones, in every experiment; returns what it did by name and version.

        Args:
            grace: See `Experiment.compact`.
        """
        experiments = self.experiments()
        done = Upkeep(self._session, lambda: [experiment._ledger for experiment in experiments]).compact(grace)
        names = [(experiment.name, experiment.version) for experiment in experiments]
        return dict(zip(names, done, strict=True))

    def checkpoint(self) -> list[str]:
        """Write the folded state of every journal into the store; returns the blobs' keys."""
        return self._upkeep.checkpoint()

    @property
    def _upkeep(self) -> Upkeep:
        return Upkeep(self._session, lambda: [experiment._ledger for experiment in self.experiments()], self._catalog)

    def _check(self, reason: str | None, facts: Any) -> None:
        if reason == "stale revision":
            raise StaleRevisionError("somebody changed it first", hint="read it again", **facts)
        if reason == "no experiment":
            raise ExperimentNotFoundError("experiment was dropped", **facts)
        if reason is not None:
            raise ConflictError(reason, **facts)


def _store_of(session: Session) -> Store:
    """The store that a session is in."""
    return Store(session, describe(session.blobs, writable=False, retention=None))


Experiment._store_of = _store_of
