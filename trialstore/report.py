"""The report of a trial that has ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from trialstore.model.codec import encode
from trialstore.model.errors import UsageError
from trialstore.model.metric import Metric, MetricValue
from trialstore.model.observation import Observation
from trialstore.model.profile import MemoryInterval, Profile, TimeInterval
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import parse_time
from trialstore.render.page import Page
from trialstore.render.rendered import Rendered
from trialstore.reporting.facts import Facts
from trialstore.reporting.mapping import facts_from_mapping, mapping_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["Report", "Reported"]

_FILLED = frozenset({Status.FAILED, Status.CRASHED})


class Reported(Protocol):
    """The handle that a report came from."""

    @property
    def storage(self) -> set[str]:
        """Names of what was stored with the trial."""

    def store(self, items: Mapping[str, Any], *, where: Any = None, loader: str | None = None) -> Any:
        """Store objects with the trial."""

    def retrieve(self, key: str, *, where: Any = None, check: type | None = None, loader: str | None = None) -> Any:
        """What was stored with the trial."""

    def delete_from_storage(self, items: Iterable[str], *, where: Any = None) -> Mapping[str, bool]:
        """Delete what was stored with the trial."""


class Report(Rendered):
    """All that is known of a trial that has ended; it never changes.

    `Trial.success` and its like return one, `Experiment.report` loads one. Two reports are equal when they say the
    same, value for value and type for type.

    Attributes:
        experiment: Name of the experiment.
        version: Version of the experiment.
        trial: The handle it came from; None for one that was made of a frame or a mapping.

    Source: AMLTK, `amltk.optimization.Trial.Report`.
    """

    __slots__ = ("_definitions", "_record", "_storage", "experiment", "trial", "version")

    def __init__(
        self,
        record: TrialRecord,
        *,
        experiment: str,
        version: int = 1,
        metrics: Sequence[Metric] = (),
        trial: Reported | None = None,
        storage: Iterable[str] | None = None,
    ) -> None:
        self._record = record
        self._definitions = metrics
        self._storage = None if storage is None else frozenset(storage)
        self.experiment = experiment
        self.version = version
        self.trial = trial

    # Who and how

    @property
    def number(self) -> int:
        """Number of the trial."""
        return self._record.number

    @property
    def name(self) -> str:
        """Name of the trial, or one made of the experiment's name and the number."""
        return self._record.name or f"{self.experiment}-{self.number}"

    @property
    def given_name(self) -> str | None:
        """The name it was registered with, None when it was given none."""
        return self._record.name

    @property
    def id(self) -> str:
        """Hash of its parameters."""
        return self._record.id

    @property
    def attempt(self) -> int:
        """The attempt that ended."""
        return self._record.attempt

    @property
    def status(self) -> Status:
        """How it ended."""
        return self._record.status

    @property
    def params(self) -> Mapping[str, Any]:
        """Its parameters."""
        return MappingProxyType(self._record.params)

    @property
    def config(self) -> Mapping[str, Any]:
        """The same as `params`, under AMLTK's name."""
        return self.params

    @property
    def seed(self) -> int | None:
        """Its seed; 0 is one."""
        return self._record.seed

    @property
    def fidelity(self) -> Mapping[str, Any] | None:
        """How much effort it was meant to spend."""
        return None if self._record.fidelity is None else MappingProxyType(self._record.fidelity)

    @property
    def fidelities(self) -> Mapping[str, Any] | None:
        """The same as `fidelity`, under AMLTK's name."""
        return self.fidelity

    @property
    def info(self) -> Any:
        """What the optimiser keeps with the trial."""
        return self._record.info

    @property
    def worker(self) -> str | None:
        """Host and process that ran it."""
        return self._record.worker

    @property
    def runner(self) -> int | None:
        """Who it was assigned to."""
        return self._record.runner

    @property
    def parent(self) -> int | None:
        """Number of the trial that it was made from."""
        return self._record.parent

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What was annotated."""
        return MappingProxyType(self._record.attributes or {})

    @property
    def created_at(self) -> datetime:
        """When it was registered, aware UTC."""
        return parse_time(self._record.submitted_at)

    @property
    def started_at(self) -> datetime | None:
        """When the attempt that ended was claimed; None for a trial that nobody ran."""
        return None if self._record.started_at is None else parse_time(self._record.started_at)

    @property
    def reported_at(self) -> datetime:
        """When it ended, aware UTC."""
        return parse_time(self._record.ended_at or self._record.submitted_at)

    # What came out

    @property
    def values(self) -> Mapping[str, Any]:
        """The metrics that were reported, as they are stored."""
        return MappingProxyType(self._record.metrics)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The metrics; those that a failed or crashed trial left out have the worst value there can be.

        The fill is the report's alone. The store keeps `values`, so that averages in SQL are of what was measured.
        """
        values = self._record.metrics
        filled = self.status in _FILLED
        known = {m.name: values.get(m.name, m.worst) for m in self._definitions if filled or m.name in values}
        return MappingProxyType({**known, **values})

    @property
    def metric_defs(self) -> Mapping[str, Metric]:
        """The declared metrics by name; empty where they are not known."""
        return MappingProxyType({metric.name: metric for metric in self._definitions})

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the declared metrics."""
        return tuple(metric.name for metric in self._definitions)

    @property
    def metric_values(self) -> tuple[MetricValue, ...]:
        """`metrics`, each with its definition, in the order of the definitions."""
        found = self.metrics
        return tuple(MetricValue(m, found[m.name]) for m in self._definitions if m.name in found)

    @property
    def observations(self) -> Mapping[str, Observation]:
        """The metrics that were reported, with what is known of their noise."""
        record = self._record
        sem, n = record.sem or {}, record.n or {}
        return {name: Observation(mean, sem.get(name), n.get(name)) for name, mean in record.metrics.items()}

    @property
    def summary(self) -> Mapping[str, Any]:
        """What the user put into the trial's summary."""
        return MappingProxyType(self._record.summary or {})

    @property
    def extras(self) -> Mapping[str, Any]:
        """What plugins attached and was stored."""
        return MappingProxyType(self._record.extras or {})

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """What was measured, by name, in the order in which the measurements began."""
        return dict(Profile.from_row(row) for row in self._record.profiles or ())

    @property
    def time(self) -> TimeInterval:
        """Time that the block of `Trial.begin` took."""
        return self.profiles.get("trial", Profile()).time

    @property
    def memory(self) -> MemoryInterval:
        """Memory before and after the block of `Trial.begin`."""
        return self.profiles.get("trial", Profile()).memory

    @property
    def exception(self) -> str | None:
        """What was raised, as one line, if anything was."""
        return self._record.exception

    @property
    def traceback(self) -> str | None:
        """Where, if anything was."""
        return self._record.traceback

    # What was stored

    @property
    def storage(self) -> frozenset[str]:
        """Names of what was stored with the trial, as of the first look."""
        if self._storage is None:
            kept = self._record.storage or ()
            self._storage = frozenset(kept if self.trial is None else self.trial.storage)
        return self._storage

    def store(
        self,
        items: Mapping[str, Any],
        *,
        where: str | os.PathLike[str] | Callable[[str, Mapping[str, Any]], Any] | Any = None,
        loader: str | None = None,
    ) -> Any:
        """Store objects with the trial; see `Trial.store`.

        Raises:
            UsageError: the report was made of a frame or a mapping, and has no trial.
        """
        return self._handle().store(items, where=where, loader=loader)

    def retrieve(
        self,
        key: str,
        *,
        where: str | os.PathLike[str] | Any = None,
        check: type | None = None,
        loader: str | None = None,
    ) -> Any:
        """What was stored with the trial; see `Trial.retrieve`.

        Raises:
            UsageError: the report was made of a frame or a mapping, and has no trial.
        """
        return self._handle().retrieve(key, where=where, check=check, loader=loader)

    def _handle(self) -> Reported:
        if self.trial is None:
            raise UsageError(
                "report was made of a frame or a mapping and has no trial",
                hint="load it with experiment.report(number)",
                experiment=self.experiment,
                trial=self.number,
            )
        return self.trial

    # As rows

    def df(
        self,
        *,
        profiles: bool = True,
        configs: bool = True,
        summary: bool = True,
        metrics: bool = True,
        prefixes: bool = False,
        pandas: bool = False,
    ) -> pl.DataFrame | pd.DataFrame | Any:
        """One row with everything; `from_df` makes the same report of it.

        Args:
            profiles: Whether with what was measured.
            configs: Whether with the parameters.
            summary: Whether with the summary.
            metrics: Whether with the metrics.
            prefixes: The columns of AMLTK, such as ``config:lr``, ``metric:loss (minimize)``,
                ``profile:fit:time:duration``, in place of the columns of the `trials` table.
            pandas: A pandas frame, with Arrow's types, in place of Polars'.

        Raises:
            MissingExtraError: pandas is asked for and not installed.
        """
        from trialstore.reporting.rows import frame_of

        groups = {"profiles": profiles, "params": configs, "summary": summary, "metrics": metrics}
        return frame_of(self._facts(), {name for name, wanted in groups.items() if not wanted}, prefixes, pandas)

    @classmethod
    def from_df(cls, frame: pl.DataFrame | pd.DataFrame | pd.Series | pa.Table | Any) -> Report:
        """The report in a frame of one row, as `df` gives it in either form, or of a row of `Experiment.history`.

        Args:
            frame: A Polars frame, a pandas frame or row, or an Arrow table. AMLTK's own frames are understood.

        Raises:
            UsageError: it has not exactly one row, or not the columns of a report.
        """
        from trialstore.reporting.rows import facts_from_frame

        return cls._of(facts_from_frame(frame))

    def to_dict(self) -> dict[str, Any]:
        """Everything as a flat mapping with AMLTK's prefixes, the values as they are; `from_dict` is the inverse."""
        return mapping_of(self._facts())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Report:
        """The report that a mapping with AMLTK's prefixes describes; see `to_dict`.

        Args:
            values: At least ``status``. A key that is absent says nothing; None under ``config:`` and ``summary:``
                is the value None.

        Raises:
            UsageError: a key is none of a report's, or a value does not fit.
        """
        return cls._of(facts_from_mapping(values))

    def _facts(self) -> Facts:
        record, storage = self._record, sorted(self.storage) or None
        if storage != record.storage:
            record = replace(record, storage=storage)
        return Facts(record, self.experiment, self.version, self._definitions)

    @classmethod
    def _of(cls, facts: Facts) -> Report:
        return cls(facts.record, experiment=facts.experiment, version=facts.version, metrics=facts.metrics)

    def _page(self) -> Page:
        from trialstore.facts import report_facts
        from trialstore.render.trial_page import trial_page

        return trial_page(report_facts(self))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Report):
            return NotImplemented
        return encode(self.to_dict()) == encode(other.to_dict())

    def __hash__(self) -> int:
        return hash((self.experiment, self.version, self.number, self.attempt))

    def __repr__(self) -> str:
        shown = {name: value.value for name, value in zip(self.metric_names, self.metric_values, strict=False)}
        return f"<Report of trial {self.number} of {self.experiment!r}: {self.status.name}, metrics={shown!r:.200}>"
