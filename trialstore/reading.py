"""What an experiment tells of its trials: handles, reports, tables, SQL, the best, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trialstore.ledger import Ledger
from trialstore.model.damage import as_damage
from trialstore.model.errors import TrialNotFoundError, UsageError, nearest
from trialstore.model.metric import Metric
from trialstore.model.space import Space
from trialstore.model.status import Status
from trialstore.past import AsOf, experiment_as_of
from trialstore.recalling import records_of
from trialstore.report import Report
from trialstore.stats import ExperimentStats
from trialstore.trial import Trial

if TYPE_CHECKING:
    import polars as pl

    from trialstore.query.result import Result
    from trialstore.query.snapshot import Snapshot

__all__ = ["Readable"]


class Readable:
    """Reading one experiment.

    Args:
        ledger: Of the experiment.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        config = ledger.entry.config
        with as_damage("the experiment's configuration", experiment=ledger.entry.name, url=ledger.blobs.url):
            self.declared_metrics = tuple(Metric.from_json(body) for body in config["metrics"])
            self.space = Space.from_json(config["space"])

    @property
    def name(self) -> str:
        """Unique in the store, together with the version."""
        return self._ledger.entry.name

    @property
    def max_trials(self) -> int | None:
        """How many trials shall succeed, None for no limit."""
        limit: int | None = self._ledger.entry.config["max_trials"]
        return limit

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
        wanted = None if status is None else (Status.parse(status),)
        for record in records_of(self._ledger, wanted):
            yield Trial(self._ledger, self.declared_metrics, record)

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


def _column(name: str) -> pl.Expr:
    import polars as pl

    return pl.col(name)
