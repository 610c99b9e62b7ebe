"""An experiment: trials are registered, claimed, finished and read here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from trialstore.claiming import Claims
from trialstore.imports import import_trials
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.model.codec import pack_dict, unpack
from trialstore.model.damage import as_damage
from trialstore.model.errors import (
    TrialNotFoundError,
    UsageError,
    nearest,
)
from trialstore.model.identity import check_name
from trialstore.model.metric import Metric
from trialstore.model.space import Space
from trialstore.model.status import Status
from trialstore.past import AsOf, experiment_as_of
from trialstore.registering import register, trial_bodies, trial_body
from trialstore.render.page import Page
from trialstore.render.rendered import Rendered
from trialstore.report import Report
from trialstore.runner.runs import Runs
from trialstore.stats import ExperimentStats
from trialstore.trial import Trial
from trialstore.upkeep import Maintained, Upkeep

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from trialstore.maintenance.compact import Compaction
    from trialstore.query.result import Result
    from trialstore.query.snapshot import Snapshot

__all__ = ["Experiment"]


class Experiment(Maintained, Rendered, Runs):
    """A named set of trials with one parameter space and one list of metrics.

    `Store.create_experiment` and `Store.experiment` give one. It may be used from many threads, and pickled.

    Attributes:
        name: Unique in the store, together with the version.
        version: 1, 2, 3 …
        id: A small integer that is never used again in the store.
        declared_metrics: The metrics, the first of which is the objective by default.
        space: The parameter space; empty when any parameters are allowed.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        config = ledger.entry.config
        with as_damage("the experiment's configuration", experiment=ledger.entry.name, url=ledger.blobs.url):
            self.declared_metrics = tuple(Metric.from_json(body) for body in config["metrics"])
            self.space = Space.from_json(config["space"])
        self._claims = Claims(ledger, self.declared_metrics)

    @property
    def name(self) -> str:
        """Unique in the store, together with the version."""
        return self._ledger.entry.name

    @property
    def version(self) -> int:
        """1, 2, 3 … among the experiments of this name."""
        return self._ledger.entry.version

    @property
    def id(self) -> int:
        """A small integer that is never used again in the store."""
        return self._ledger.entry.id

    @property
    def config(self) -> Mapping[str, Any]:
        """What the experiment was created with, as the store holds it."""
        return dict(self._ledger.entry.config)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the creator wanted remembered."""
        return {name: unpack(value) for name, value in self._ledger.entry.config["metadata"].items()}

    @property
    def max_trials(self) -> int | None:
        """How many trials shall succeed, None for no limit."""
        limit: int | None = self._ledger.entry.config["max_trials"]
        return limit

    @property
    def max_broken(self) -> int | None:
        """How many trials may break before the experiment counts as broken, None for no limit."""
        limit: int | None = self._ledger.entry.config["max_broken"]
        return limit

    def __repr__(self) -> str:
        return f"<Experiment {self.name!r} version {self.version} in {self._ledger.blobs.url}>"

    def _page(self) -> Page:
        from trialstore.facts import experiment_facts, newest_numbers, trial_facts
        from trialstore.render.experiment_page import experiment_page

        best = self._best_numbers(5)
        newest = [number for number in newest_numbers(self, 10) if number not in best][:5]
        trials = {
            name: [trial_facts(self.trial(n)) for n in some] for name, some in (("best", best), ("newest", newest))
        }
        return experiment_page({**experiment_facts(self), **trials})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Experiment):
            return NotImplemented
        return (self._ledger.blobs.url, self.id) == (other._ledger.blobs.url, other.id)

    def __hash__(self) -> int:
        return hash((self._ledger.blobs.url, self.id))

    def __reduce__(self) -> tuple[Any, ...]:
        return Experiment, (self._ledger,)

    # Registering and claiming

    def register_trial(
        self,
        params: Mapping[str, Any],
        *,
        name: str | None = None,
        seed: int | None = None,
        fidelity: Mapping[str, Any] | None = None,
        parent: int | None = None,
        ready_at: datetime | None = None,
        attributes: Mapping[str, Any] | None = None,
        info: Any = None,
        reserve: bool = False,
    ) -> Trial:
        """Add a pending trial; durable when it returns.

        Args:
            params: A value for each parameter of the space; defaults are filled in.
            name: For people to read; need not be unique.
            seed: Kept with the trial.
            fidelity: How much effort the trial shall spend. It is not part of the trial's id.
            parent: Number of the trial it was made from.
            ready_at: Not to be claimed before this aware time.
            attributes: Anything else to remember.
            info: What the optimiser wants back with the trial: any value that `trialstore.model.codec` encodes.
            reserve: Claim it for this session in the same commit, so that it is returned running.

        Raises:
            InvalidParamsError: names all that does not fit the space; nothing was registered.
            DuplicateTrialError: the experiment was created with ``repeats=False`` and has these parameters.

        Cost: one conditional put.
        """
        body = trial_body(
            self.space,
            params,
            fidelity,
            name=name,
            seed=seed,
            parent=parent,
            ready_at=ready_at,
            attributes=attributes,
            info=info,
        )
        if reserve and "ready_at" in body:
            raise UsageError("a trial that is not ready yet cannot be reserved", ready_at=ready_at)
        return register(self._ledger, self.declared_metrics, [body], reserve=reserve)[0]

    def register_trials(
        self,
        params: Iterable[Mapping[str, Any]],
        *,
        seeds: Sequence[int] | None = None,
        fidelity: Mapping[str, Any] | None = None,
    ) -> Sequence[Trial]:
        """Add many pending trials in one commit: all of them, or none when one does not fit.

        Args:
            params: Parameters of each trial.
            seeds: A seed for each trial.
            fidelity: The same for all of them.
        """
        bodies = trial_bodies(self.space, list(params), fidelity, seeds)
        return register(self._ledger, self.declared_metrics, bodies) if bodies else []

    def import_trials(
        self,
        rows: pl.DataFrame | pa.Table | Iterable[Mapping[str, Any] | Report],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> range:
        """Take in finished trials from elsewhere, as Parquet parts; returns their numbers.

        Args:
            rows: A Polars frame, an Arrow table, reports, or mappings, with ``params`` and ``metrics`` (structs,
                mappings, or flat columns such as ``params.lr``; null means absent), and any of status (SUCCEEDED by
                default, and always a final one), name, seed, fidelity, parent, submitted_at, started_at, ended_at
                (aware times), exception, traceback, worker, runner, info, summary, attributes, extras, storage,
                profiles (by name, or as the column has them), sem and n. A metric may also be an `Observation`. A
                report brings all that it says but its number and its attempts; of artifacts it brings the names alone.
            progress: Told how many rows are in after every 131,072.

        Raises:
            InvalidParamsError: names the rows that do not fit. The chunks before theirs are in.

        Cost: two commits and two files for every 131,072 rows. Numbers of a chunk that failed are not used again.
        """
        describe = partial(trial_body, self.space)
        return import_trials(self._ledger, self.declared_metrics, describe, rows, progress)

    def reserve_trial(self) -> Trial | None:
        """Claim the next pending trial for this session.

        No two sessions ever hold the same attempt of a trial, on any backend, under any number of workers. Trials
        are handed out by number; a trial that was interrupted, suspended, or lost by its worker counts as pending.

        Returns:
            The claimed trial, running, or None when nothing is pending.

        Raises:
            StoreUnavailableError: the backend did not answer in time; nothing was claimed.
            OutcomeUnknownError: an answer was lost; a trial may be this session's, and others get it when the session
                ends and its lease runs out.

        Cost: one conditional put; on a lost race one read more for each commit that won.

        Source: Oríon, `Experiment.reserve_trial`.
        """
        return self._claims.reserve()

    def fetch_lost_trials(self) -> list[Trial]:
        """Trials whose worker's lease ran out, by number."""
        return [Trial(self._ledger, self.declared_metrics, record) for record in self._claims.lost()]

    def fix_lost_trials(self) -> list[Trial]:
        """Take trials from workers whose lease ran out, so that others can claim them; returns those it took.

        A worker that comes back finds that the trial is no longer its own; what it reports is kept as a late result.

        Source: Oríon, `Experiment.fix_lost_trials`.
        """
        return [self.trial(number) for number in self._claims.fix_lost()]

    # Reading

    def trial(self, number: int | str) -> Trial:
        """A trial by its number, or the first one with an id.

        Raises:
            TrialNotFoundError: there is none.
        """
        if isinstance(number, str):
            from trialstore.query.collect import collected

            found = collected(self.history().filter(_column("id") == number).select("trial").head(1))
            if found.is_empty():
                raise TrialNotFoundError("experiment has no trial of this id", experiment=self.name, id=number)
            number = int(found.item())
        record = self._ledger.record(number)
        if record is None:
            with self._ledger.journal.view(refresh=False) as state:
                last = state.next_number - 1
            raise TrialNotFoundError(
                "experiment has no such trial",
                hint=f"numbers go from 0 to {last}" if last >= 0 else "no trial was registered yet",
                experiment=self.name,
                trial=number,
            )
        return Trial(self._ledger, self.declared_metrics, record)

    def trials(self, status: Status | str | None = None) -> Iterator[Trial]:
        """All trials, or those of a status, by number. For analysis, `history` is much faster."""
        wanted = None if status is None else Status.parse(status)
        with self._ledger.journal.view() as state:
            live = {number: record.decoded() for number, record in state.trials.items()}
            parts = [part for part in state.manifest.parts.values() if part.table == "trials"]
            superseded = {part: set(numbers) for part, numbers in state.manifest.superseded.items()}
        if parts:
            from trialstore.tables.parts import read_records

            for part in parts:
                for record in read_records(self._ledger.blobs, self._ledger.key, part):
                    if record.number not in superseded.get(part.id, ()):
                        live[record.number] = record
        for number in sorted(live):
            if wanted is None or live[number].status is wanted:
                yield Trial(self._ledger, self.declared_metrics, live[number])

    def report(self, number: int | str) -> Report:
        """The report of a trial that has ended, by the trial's number or id.

        Raises:
            TrialNotFoundError: there is no such trial.
            TransitionError: it has not ended.
        """
        return self.trial(number)._report()

    def reports(self, status: Status | str | None = None) -> Iterator[Report]:
        """The reports of all trials that have ended, or of those of a status, by number.

        For analysis of many, `history` is much faster.
        """
        stored: dict[int, set[str]] = {}
        from trialstore.query.collect import collected

        for number, name in collected(self.artifacts().select("trial", "name")).iter_rows():
            stored.setdefault(number, set()).add(name)
        for trial in self.trials(status):
            if trial.status.is_final:
                yield trial._report({*stored.get(trial.number, ()), *(trial._held.record.storage or ())})

    def __len__(self) -> int:
        with self._ledger.journal.view() as state:
            return sum(state.counts.values())

    def snapshot(self, as_of: AsOf | None = None) -> Snapshot:
        """The experiment frozen as it is now, or as it was.

        Args:
            as_of: What was committed up to a sequence number of the experiment's journal (`snapshot.experiments` says
                it; -1 is before the first), under the name and limits of today; what was committed before an aware
                time, or its text in ISO 8601, by the writers' clocks; or the state that `Snapshot.id` named, of this
                experiment or of the whole store.

        Raises:
            SnapshotNotFoundError: the store does not keep that any more, or never was in it; names what is missing.
        """
        if as_of is not None:
            return experiment_as_of(self._ledger, as_of)
        from trialstore.query.snapshot import Snapshot

        return Snapshot(self._ledger.blobs, [self._ledger.snapshot()], self._ledger.session.store)

    def history(self, as_of: AsOf | None = None) -> pl.LazyFrame:
        """One row a trial: the `trials` table, lazily."""
        return self.snapshot(as_of).frame("trials")

    def metrics(self, trial: Trial | int | None = None) -> pl.LazyFrame:
        """One row a reported value: the `metrics` table, lazily, of one trial or of all."""
        return self._rows("metrics", trial)

    def telemetry(self, trial: Trial | int | None = None) -> pl.LazyFrame:
        """One row a sample: the `telemetry` table, lazily, of one trial or of all."""
        return self._rows("telemetry", trial)

    def status_history(self, trial: Trial | int | None = None) -> pl.LazyFrame:
        """One row a step from one status to another: the `status` table, lazily."""
        return self._rows("status", trial)

    def artifacts(self, trial: Trial | int | None = None) -> pl.LazyFrame:
        """One row an artifact: the `artifacts` table, lazily."""
        return self._rows("artifacts", trial)

    def params(self) -> pl.LazyFrame:
        """One row a parameter of a trial: the long `params` table, lazily."""
        return self._rows("params", None)

    def profiles(self, trial: Trial | int | None = None) -> pl.LazyFrame:
        """One row for each stretch that was measured in a trial: the long `profiles` table, lazily."""
        return self._rows("profiles", trial)

    def repeats(self) -> pl.LazyFrame:
        """Equal configurations as one row a metric, with mean, deviation, interval and percentiles; lazily.

        The table `repeats` of SQL: ``docs/FORMAT.md`` lists its columns.
        """
        return self._rows("repeats", None)

    def _rows(self, table: str, trial: Trial | int | None) -> pl.LazyFrame:
        number = trial.number if isinstance(trial, Trial) else trial
        return self.snapshot().frame(table, trial=number)

    def sql(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None, *, external: bool = False
    ) -> Result:
        """SQL over this experiment alone; see `Store.sql`."""
        return self.snapshot().sql(query, parameters, external=external)

    def best(self, metric: str | None = None) -> Trial | None:
        """The successful trial with the best value of a metric, None when there is none.

        NaN is never best; of equal values the earlier trial is. An infinity is a value like any other.

        Args:
            metric: One of the declared metrics, the first by default.
        """
        found = self._best(metric)
        return None if found is None else self.trial(found[0])

    def _best(self, metric: str | None) -> tuple[int, float] | None:
        chosen = self._metric(metric)
        if chosen is None:
            return None
        with self._ledger.journal.view() as state:
            if not state.counts.get(Status.SUCCEEDED):
                return None
        from trialstore.history.columns import VALUE
        from trialstore.history.ranking import best_rows

        ranked = best_rows(self.history(), chosen, self.declared_metrics, 1)
        return None if ranked.is_empty() else (int(ranked["trial"][0]), float(ranked[VALUE][0]))

    def _best_numbers(self, limit: int) -> list[int]:
        """Numbers of the best trials by the first metric, best first; NaN is never among them."""
        chosen = self._metric(None)
        if chosen is None or not limit or not self.counts.get(Status.SUCCEEDED):
            return []
        from trialstore.history.ranking import best_rows

        return [int(number) for number in best_rows(self.history(), chosen, self.declared_metrics, limit)["trial"]]

    def _metric(self, name: str | None) -> Metric | None:
        if name is None:
            return self.declared_metrics[0] if self.declared_metrics else None
        for metric in self.declared_metrics:
            if metric.name == name:
                return metric
        near = nearest(name, [metric.name for metric in self.declared_metrics])
        raise UsageError(
            "experiment has no such metric",
            hint=f"it has {', '.join(near or [m.name for m in self.declared_metrics]) or 'none'}",
            metric=name,
        )

    @property
    def stats(self) -> ExperimentStats:
        """How far the experiment is."""
        best = self._best(None)
        with self._ledger.journal.view(refresh=False) as state:
            return ExperimentStats.of(state, self.max_trials, best)

    @property
    def counts(self) -> dict[Status, int]:
        """Trials by status; needs no table to be read."""
        with self._ledger.journal.view() as state:
            return {status: count for status, count in sorted(state.counts.items()) if count}

    # Documents and maintenance

    def document(self, name: str) -> tuple[int, Any]:
        """A named value and its revision, ``(0, None)`` when it was never set."""
        with self._ledger.journal.view() as state:
            revision, value = state.documents.get(check_name(name, "document"), (0, None))
        return revision, unpack(value)

    def set_document(self, name: str, value: Any, *, revision: int | None = None) -> int:
        """Set a named value and return its new revision; None deletes it.

        Args:
            name: Any name, such as ``optimizer``.
            value: Anything `trialstore.model.codec` encodes; large states belong in artifacts.
            revision: The revision it must have now; None overwrites whatever there is.

        Raises:
            StaleRevisionError: it has another revision; nothing was changed.
        """
        packed = pack_dict({"value": value}, name)["value"]
        fields = {"name": check_name(name, "document"), "value": packed, "revision": revision}
        new: int = self._ledger.execute_one(Draft("document", fields))
        return new

    def flush(self) -> int:
        """Commit what is buffered and move finished trials into Parquet parts; returns how many trials moved."""
        return self._upkeep.flush()

    def compact(self, *, grace: timedelta | None = None, progress: Callable[[str], None] | None = None) -> Compaction:
        """Merge many small parts into few large ones; see `trialstore.maintenance.compact.compact`.

        Args:
            grace: Delete the files of parts that were replaced longer ago than this. By default the store's
                retention, so that its past can be read; zero leaves every row in one file alone, for readers that
                know nothing of trialstore, and ends the past.
            progress: Told the name of each table before its parts are merged.
        """
        return self._upkeep.compact(grace, progress)[0]

    def checkpoint(self) -> str:
        """Write the folded state into the store, so that nobody folds what is before; returns the blob's key."""
        return self._upkeep.checkpoint()[0]

    @property
    def _upkeep(self) -> Upkeep:
        return Upkeep(self._ledger.session, lambda: [self._ledger])


def _column(name: str) -> pl.Expr:
    import polars as pl

    return pl.col(name)
