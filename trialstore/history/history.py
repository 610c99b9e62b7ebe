"""A history: the reports of many trials, in an order."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, overload

import polars as pl

from trialstore.history.arranging import arranged, fitting, grouped, steps
from trialstore.history.exchange import frame_of, from_frame, shifted, to_pandas
from trialstore.history.ranking import ROW, best_row, front_rows, incumbent_rows
from trialstore.history.rows import (
    COLUMNS,
    DEFINED,
    join_metrics,
    metrics_text,
    reports_of,
    rows_of,
    stacked,
    with_storage,
)
from trialstore.model.errors import TrialNotFoundError, UsageError, nearest
from trialstore.model.metric import Metric
from trialstore.model.status import Status
from trialstore.query.collect import collected
from trialstore.query.exact import exact_trials
from trialstore.query.snapshot import Snapshot
from trialstore.render.page import Page
from trialstore.render.rendered import Rendered
from trialstore.report import Report

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["History"]

_SHOWN = 10
_FINAL = [status.value for status in Status if status.is_final]

SortKey: TypeAlias = "str | Metric | pl.Expr | Callable[[Report], Any]"
"""What `History.sortby` sorts by."""


class Recorded(Protocol):
    """What a history can be taken of: an experiment or a store."""

    def snapshot(self, as_of: Any = None) -> Snapshot:
        """It, frozen."""


class History(Rendered):
    """The reports of many trials, in an order: a sequence that can be ranked, filtered, sorted and grouped.

    Guarantees: a report comes out as it went in, every value exactly. NaN is never best and never an incumbent; of
    equal values the earlier one is. Only trials that succeeded are ranked.

    A history of an experiment reads nothing before it is asked, and then only the columns that the answer needs; what
    needs whole reports (positions, iteration, functions of a report) reads all columns once and keeps them. Everything
    but functions of a report runs without a loop over the reports, so that a million of them is no matter.

    Args:
        reports: The first ones; `add` brings more.

    Example:
        >>> import trialstore as ts
        >>> store = ts.open("memory://doctest")
        >>> exp = store.create_experiment("history", metrics=[ts.Metric("loss")], exist_ok=True)
        >>> for lr, loss in [(0.1, 0.5), (0.2, 0.25), (0.3, float("nan"))]:
        ...     report = exp.register_trial({"lr": lr}, reserve=True).success(loss=loss)
        >>> history = ts.History.of(exp)
        >>> len(history), history.best().params["lr"]
        (3, 0.2)
        >>> [report.number for report in history.incumbents("loss")]
        [0, 1]

    Source: AMLTK, `amltk.optimization.History`.
    """

    def __init__(self, reports: Iterable[Report] = ()) -> None:
        self._lazy: pl.LazyFrame | None = None
        self._rows: pl.DataFrame | None = rows_of([])
        self._artifacts: pl.LazyFrame | None = None
        self._added: list[Report] = []
        self._metrics: dict[str, Metric] = {}
        self.add(reports)

    # Where it comes from

    @classmethod
    def of(cls, source: Recorded | Snapshot, as_of: int | datetime | None = None) -> History:
        """All trials of an experiment, a store or a snapshot, by experiment and number; nothing is read yet.

        It never changes: what is recorded afterwards is not in it.

        Args:
            source: An `Experiment`, a `Store`, or a snapshot of one.
            as_of: As it was at this sequence number or aware time; see `Experiment.snapshot`.
        """
        if isinstance(source, Snapshot):
            if as_of is not None:
                raise UsageError("a snapshot has its time already", hint="take the snapshot as of then", as_of=as_of)
            snapshot = source
        elif hasattr(source, "snapshot"):
            snapshot = source.snapshot(as_of)
        else:
            raise UsageError(
                "a history is of an experiment, a store or a snapshot",
                hint="History(reports) takes reports",
                got=type(source).__name__,
            )
        frames, groups = [], []
        for experiment in snapshot.experiments:
            groups.append([Metric.from_json(body) for body in experiment.metadata["metrics"]])
            text = metrics_text(groups[-1])
            frames.append(exact_trials(snapshot, experiment).with_columns(pl.lit(text).alias(DEFINED)))
        if not frames:
            return cls()
        ended = pl.concat(frames).filter(pl.col("status").is_in(_FINAL))
        return cls._over(ended, join_metrics(groups), snapshot.frame("artifacts"))

    @classmethod
    def from_reports(cls, reports: Iterable[Report]) -> History:
        """The history of these reports, in their order."""
        return cls(reports)

    @classmethod
    def _over(
        cls, rows: pl.LazyFrame | pl.DataFrame, metrics: Mapping[str, Metric], artifacts: pl.LazyFrame | None = None
    ) -> History:
        """A history of these rows; when they were not read yet, with the artifacts whose names go to `storage`."""
        history = cls()
        history._rows = rows if isinstance(rows, pl.DataFrame) else None
        history._lazy = rows.lazy().select(COLUMNS)
        history._metrics = dict(metrics)
        history._artifacts = artifacts
        return history

    def _like(self, rows: pl.LazyFrame | pl.DataFrame) -> History:
        """A history of some of these rows."""
        return self._over(rows, self._metrics, self._artifacts if self._rows is None else None)

    def add(self, report: Report | Iterable[Report]) -> None:
        """Append a report, or several.

        Raises:
            UsageError: something else was given, or a metric means another thing than in the reports before; nothing
                was added.
        """
        added = [report] if isinstance(report, Report) else list(report)
        for one in added:
            if not isinstance(one, Report):
                raise UsageError("a history holds reports", hint="trial.success() returns one", got=type(one).__name__)
        self._metrics = join_metrics([self._metrics.values(), *(one._definitions for one in added)])
        self._added += added

    # The frame beneath

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """All metrics that were declared for these trials, by name."""
        return dict(self._metrics)

    @property
    def reports(self) -> list[Report]:
        """All reports. For analysis `df` is much faster."""
        return list(self)

    def lazy(self) -> pl.LazyFrame:
        """One row a report, lazily: ``experiment``, ``version``, the columns of `trials` and ``metric_defs``."""
        if self._added or self._lazy is None:
            self._lazy = self.collect().lazy()
        return self._lazy

    def collect(self) -> pl.DataFrame:
        """One row a report. It is read once and kept."""
        if self._rows is None:
            assert self._lazy is not None
            self._rows = with_storage(self._lazy, self._artifacts)
            self._lazy, self._artifacts = self._rows.lazy(), None
        if self._added:
            added, self._added = self._added, []
            self._rows = stacked([self._rows, rows_of(added)]) if self._rows.height else rows_of(added)
            self._lazy = self._rows.lazy()
        return self._rows

    def _picked(self, positions: Sequence[int]) -> History:
        """The reports at these positions, in this order; of a frame that was not read yet, no others are read."""
        if self._rows is not None:
            return self._over(self.collect()[list(positions)], self._metrics)
        found = collected(self.lazy().with_row_index(ROW).filter(pl.col(ROW).is_in(list(positions))))
        order = pl.LazyFrame({ROW: pl.Series(positions, dtype=pl.UInt32)})
        rows = order.join(found.lazy(), on=ROW, how="left", maintain_order="left").drop(ROW)
        return self._over(with_storage(rows, self._artifacts), self._metrics)

    # A sequence

    def __len__(self) -> int:
        if self._rows is None:
            return int(collected(self.lazy().select(pl.len())).item())
        return self._rows.height + len(self._added)

    def __iter__(self) -> Iterator[Report]:
        return reports_of(self.collect())

    @overload
    def __getitem__(self, key: int | str) -> Report: ...
    @overload
    def __getitem__(self, key: slice) -> History: ...
    def __getitem__(self, key: int | str | slice) -> Report | History:
        """The report at a position, counted from the end when negative, or of a name; a slice is a history."""
        if isinstance(key, str):
            return self.find(key)
        if isinstance(key, slice):
            return self._over(self.collect()[key], self._metrics)
        count = len(self)
        if not -count <= key < count:
            raise IndexError(f"history has {count} reports, none at {key}")
        return next(reports_of(self.collect().slice(key % count, 1)))

    def __contains__(self, item: object) -> bool:
        """Whether `find` finds a number, a name or an id, or whether a report is in it."""
        if isinstance(item, Report):
            same = self.lazy().filter(pl.col("trial") == item.number, pl.col("experiment") == item.experiment)
            return any(report == item for report in reports_of(collected(same)))
        if isinstance(item, str) or (isinstance(item, int) and not isinstance(item, bool)):
            return self._position(item) is not None
        return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        if len(self) != len(other) or self._metrics != other._metrics:
            return False
        mine, theirs = self.collect(), other.collect()
        return (mine.schema == theirs.schema and mine.equals(theirs)) or all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # it can grow

    def __reduce__(self) -> tuple[Any, ...]:
        return self._over, (self.collect(), self._metrics)

    def __repr__(self) -> str:
        names = ", ".join(self._metrics)
        return f"<History of {len(self)} reports, metrics {names or 'none'}>"

    def _page(self) -> Page:
        from trialstore.facts import metric_facts, report_facts
        from trialstore.render.history_page import history_page

        counts = dict(collected(self.lazy().group_by("status", maintain_order=True).len()).iter_rows())
        best = self.best() if self._metrics and counts else None
        front = History([] if best is None else [best]) if not isinstance(best, History) else best
        first = reports_of(with_storage(self.lazy().head(_SHOWN), None))
        return history_page(
            sum(counts.values()),
            {status.value: counts[status.value] for status in Status if status.value in counts},
            [metric_facts(metric) for metric in self._metrics.values()],
            [report_facts(report) for report in front[:_SHOWN]],
            len(front),
            [report_facts(report) for report in first],
        )

    def find(self, which: int | str) -> Report:
        """The report of a trial by its number, its name or its id; of several the one that stands last.

        Raises:
            TrialNotFoundError: there is none; near names are given.
        """
        position = self._position(which)
        if position is None:
            names = collected(self.lazy().select("name").unique())["name"].drop_nulls()
            near = nearest(which, names) if isinstance(which, str) else []
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "history.df() shows all"
            raise TrialNotFoundError("history has no report of this trial", hint=hint, trial=which)
        return next(reports_of(self._picked([position]).collect()))

    def _position(self, which: int | str) -> int | None:
        if isinstance(which, int):
            same = pl.col("trial") == which
        else:
            given = pl.coalesce("name", pl.format("{}-{}", "experiment", "trial"))
            same = (given == which) | (pl.col("id") == which)
        found: int | None = collected(self.lazy().with_row_index(ROW).filter(same).select(pl.col(ROW).max())).item()
        return found

    # Ranking

    @overload
    def best(self, metric: str | Metric, /) -> Report | None: ...
    @overload
    def best(self, metric: str | Metric, second: str | Metric, /, *more: str | Metric) -> History: ...
    @overload
    def best(self) -> Report | History | None: ...
    def best(self, *metrics: str | Metric) -> Report | History | None:
        """The report with the best value of a metric, or the Pareto front of several.

        NaN is never best; of equal values the earlier report is. Only trials that succeeded count.

        Args:
            metrics: One or more metrics; all of the history's by default.

        Returns:
            Of one metric a report, None when no trial has a value. Of several the history of those that none
            dominates, in their order, of equal ones the first.

        Cost: reads the columns of these metrics, then one report. A front of three metrics or more looks at the rows
            left once for each report on it.
        """
        chosen = [self._metric(metric) for metric in metrics or self._metrics]
        if not chosen:
            raise UsageError("history has no metrics", hint="declare metrics with the experiment")
        others = list(self._metrics.values())
        if len(chosen) > 1:
            return self._picked(front_rows(self.lazy(), chosen, others))
        position = best_row(self.lazy(), chosen[0], others)
        return None if position is None else next(reports_of(self._picked([position]).collect()))

    def incumbents(
        self,
        key: str | Metric | Callable[[Report, Report], bool],
        *,
        sortby: SortKey = "ended_at",
        reverse: bool | None = None,
        ffill: bool = False,
    ) -> History:
        """Who was best at each step: the reports that were better than all before them.

        Args:
            key: A metric, or a function that tells whether its first report is better than its second. By a metric only
                trials that succeeded with a value count, NaN being none.
            sortby: What comes before what: see `sortby`. By default the time at which a trial ended.
            reverse: See `sortby`.
            ffill: Give a report for each of the history, the incumbent at that step. Those before the first incumbent
                have none and are left out.
        """
        if isinstance(key, str | Metric):
            order = self._order(sortby, reverse)
            metric, others = self._metric(key), list(self._metrics.values())
            found = incumbent_rows(self.lazy(), metric, others, order)["incumbent"].drop_nulls()
            return self._picked((found if ffill else found.unique(maintain_order=True)).to_list())
        arranged = self._picked(self._order(sortby, reverse))
        return arranged._picked(steps(list(arranged), key, ffill))

    def trace(self, metric: str | Metric | None = None) -> pl.DataFrame:
        """The best value over time: one row a trial that has ended, by the time it ended.

        Args:
            metric: Which value; the first metric by default.

        Returns:
            ``experiment``, ``trial``, ``ended_at``, ``value`` (null when the trial did not succeed with a number),
            ``best_trial`` and ``best`` up to then (null before there is one).
        """
        chosen = self._metric(metric if metric is not None else next(iter(self._metrics), ""))
        ended = self._like(self.lazy())
        order = ended._order("ended_at", None)
        found = incumbent_rows(ended.lazy(), chosen, list(self._metrics.values()), order)
        who = collected(ended.lazy().select("experiment", "trial", "ended_at"))
        return who[found["row"]].hstack(
            [found["value"], who["trial"].gather(found["incumbent"]).alias("best_trial"), found["best"]]
        )

    def _metric(self, metric: str | Metric) -> Metric:
        name = metric.name if isinstance(metric, Metric) else metric
        if name not in self._metrics:
            near = nearest(name, self._metrics)
            raise UsageError(
                "history has no such metric",
                hint=f"it has {', '.join(near or self._metrics) or 'none'}",
                metric=name,
            )
        return metric if isinstance(metric, Metric) else self._metrics[name]

    # Choosing and arranging

    def filter(self, key: pl.Expr | Callable[[Report], bool]) -> History:
        """The reports that fit, in their order.

        Args:
            key: A Polars expression over the columns of `lazy`, such as ``pl.col("status") == "SUCCEEDED"``; or a
                function of a report, which makes a report of each row.
        """
        if isinstance(key, pl.Expr):
            return self._like(fitting(self.lazy().filter(key)))
        return self._picked([index for index, report in enumerate(self) if key(report)])

    def sortby(self, key: SortKey, *, reverse: bool | None = None) -> History:
        """The reports in another order; equal ones stay as they are.

        Args:
            key: A metric (reports without a value of it are left out, the best come first, NaN last); a column such as
                ``"ended_at"`` or ``"params.lr"``, or a Polars expression (the smallest first, NaN and null last);
                or a function of a report, which makes a report of each row.
            reverse: True for descending, False for ascending values.
        """
        if callable(key) and not isinstance(key, pl.Expr):
            return self._picked(self._order(key, reverse))
        return self._like(arranged(self.lazy(), key, self._metrics, reverse))

    def _order(self, key: SortKey, reverse: bool | None) -> list[int]:
        if callable(key) and not isinstance(key, pl.Expr):
            keys = [key(report) for report in self]
            return sorted(range(len(keys)), key=keys.__getitem__, reverse=bool(reverse))
        return list(collected(arranged(self.lazy().with_row_index(ROW), key, self._metrics, reverse).select(ROW))[ROW])

    def groupby(self, key: str | pl.Expr | Callable[[Report], Hashable]) -> dict[Hashable, History]:
        """A history for each value of a key, in the order in which the values first occur.

        Args:
            key: ``"status"``, another column such as ``"id"`` (equal parameters) or ``"params.lr"``, a Polars
                expression, or a function of a report, which makes a report of each row.
        """
        if isinstance(key, str | pl.Expr):
            return {value: self._over(rows, self._metrics) for value, rows in grouped(self.collect(), key).items()}
        groups: dict[Hashable, list[int]] = {}
        for index, report in enumerate(self):
            groups.setdefault(key(report), []).append(index)
        return {value: self._picked(positions) for value, positions in groups.items()}

    # As frames

    def df(
        self,
        *,
        profiles: bool = True,
        configs: bool = True,
        summary: bool = True,
        metrics: bool = True,
        prefixes: bool = False,
        pandas: bool = False,
        normalize_time: bool | float = False,
    ) -> Any:
        """One row a report, in their order; `from_df` makes the same history of it, every value exactly.

        Args:
            profiles: Whether with what was measured.
            configs: Whether with the parameters.
            summary: Whether with the summary.
            metrics: Whether with the metrics.
            prefixes: The columns of AMLTK, such as ``config:lr``, ``metric:loss (minimize)``,
                ``profile:fit:time:duration``, in place of the columns of the `trials` table.
            pandas: A pandas frame, with Arrow's types, in place of Polars'.
            normalize_time: Let the times of profiles count from the earliest start, or from this many seconds.
                AMLTK does by default.

        Returns:
            A Polars frame with the columns of `lazy`, or what the arguments ask for.

        Raises:
            MissingExtraError: pandas is asked for and not installed.
        """
        rows = shifted(self.collect(), normalize_time)
        groups = {
            ("profiles",): profiles,
            ("params",): configs,
            ("summary",): summary,
            ("metrics", "sem", "n"): metrics,
        }
        unwanted = [name for names, wanted in groups.items() if not wanted for name in names]
        shown = frame_of(rows, self._metrics, unwanted, prefixes)
        return to_pandas(shown) if pandas else shown

    @classmethod
    def from_df(cls, frame: Any, metrics: Iterable[Metric] = ()) -> History:
        """The history in a frame that `df` made, in any of its forms, or of `Experiment.history`.

        Args:
            frame: A Polars or pandas frame, or an Arrow table. AMLTK's own frames are understood.
            metrics: What the metrics mean, where the frame does not tell.

        Raises:
            UsageError: a column is missing, unknown, or of a type that no trial has.
        """
        rows, known = from_frame(frame, metrics)
        return cls._over(rows, known)
