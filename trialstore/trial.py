"""A trial: what a worker holds while it evaluates one configuration, and what anyone reads of it afterwards."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trialstore.artifacts.store import Artifact, load, put
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.model.codec import pack, pack_dict, plain
from trialstore.model.errors import (
    ArtifactNotFoundError,
    InvalidMetricsError,
    InvalidTimeError,
    LostTrialError,
    TransitionError,
    TrialNotFoundError,
    UsageError,
    nearest,
)
from trialstore.model.identity import check_name
from trialstore.model.metric import Metric
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import format_time, now_text, parse_time
from trialstore.report import Report

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["Trial"]

_BATCH = 256


class Trial:
    """One configuration of an experiment, and what became of it.

    `Experiment.reserve_trial` and `Experiment.trial` give one. Everything that was logged before the call that
    ends the trial (`success`, `fail`, …) is durable with that call, in one commit.

    Attributes:
        number: 0, 1, 2 … in the experiment.
        id: Hash of the parameters, which equal parameters share.
        attempt: How often the trial was claimed.
        exception: What was raised in `begin`, or None.
        traceback: Its traceback as text, or None.
    """

    def __init__(self, ledger: Ledger, metrics: Sequence[Metric], record: TrialRecord, owned: bool = False) -> None:
        self._ledger = ledger
        self._declared = tuple(metrics)
        self._record = record
        self._owned = owned
        self._stored: dict[str, Artifact] = {}
        self._params = MappingProxyType(record.params)
        self.exception: BaseException | str | None = record.exception
        self.traceback: str | None = record.traceback
        if owned:
            ledger.session.hold(ledger.key)

    # What is known

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self._ledger.entry.name

    @property
    def number(self) -> int:
        """0, 1, 2 … in the experiment."""
        return self._record.number

    @property
    def id(self) -> str:
        """Hash of the parameters, 32 hexadecimal digits."""
        return self._record.id

    @property
    def name(self) -> str:
        """The name it was registered with, or one made of the experiment's name and the number."""
        return self._record.name or f"{self.experiment}-{self.number}"

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters, read-only, in the order they were given."""
        return self._params

    @property
    def status(self) -> Status:
        """The status as this object last knew it; `refresh` looks again."""
        return self._record.status

    @property
    def attempt(self) -> int:
        """How often the trial was claimed; the attempt that this object speaks for."""
        return self._record.attempt

    @property
    def seed(self) -> int | None:
        """The seed it was registered with."""
        return self._record.seed

    @property
    def fidelity(self) -> Mapping[str, Any] | None:
        """How much effort it is meant to spend."""
        return self._record.fidelity

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Final values by name; empty until it has ended."""
        return MappingProxyType(self._record.metrics)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What was annotated."""
        return MappingProxyType(self._record.attributes or {})

    @property
    def attempts(self) -> Sequence[Mapping[str, Any]]:
        """Attempts that ended without finishing the trial, with late results where there were any."""
        return tuple(self._record.attempts)

    @property
    def worker(self) -> str | None:
        """Host and process that ran it."""
        return self._record.worker

    @property
    def parent(self) -> int | None:
        """Number of the trial that this one was made from."""
        return self._record.parent

    @property
    def submitted_at(self) -> datetime:
        """When it was registered, aware UTC."""
        return parse_time(self._record.submitted_at)

    @property
    def started_at(self) -> datetime | None:
        """When the present attempt was claimed."""
        return None if self._record.started_at is None else parse_time(self._record.started_at)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended."""
        return None if self._record.ended_at is None else parse_time(self._record.ended_at)

    def __repr__(self) -> str:
        return f"<Trial {self.number} of {self.experiment!r}: {self.status.name}, params={dict(self.params)!r:.200}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trial):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, int, int]:
        return self._ledger.blobs.url, self._ledger.entry.id, self.number

    def refresh(self) -> Trial:
        """Look at the store again; returns the trial itself."""
        record = self._ledger.record(self.number)
        if record is None:
            raise TrialNotFoundError("trial is gone", experiment=self.experiment, trial=self.number)
        self._become(record)
        return self

    def _become(self, record: TrialRecord) -> None:
        self._record = record
        self._params = MappingProxyType(record.params)
        self.exception, self.traceback = record.exception, record.traceback

    # Running

    @contextmanager
    def begin(self) -> Iterator[Trial]:
        """Run the evaluation in this block: an exception in it is kept in `exception` and `traceback`.

        A trial that nobody holds is claimed first. The block swallows an `Exception`; afterwards `success` refuses,
        and `fail` or `crashed` record what was raised. KeyboardInterrupt and SystemExit give the trial back as
        INTERRUPTED, for another worker, and go on.

        Source: AMLTK, `Trial.begin`.
        """
        if not self.status.is_active:
            self._claim()
        try:
            yield self
        except Exception as error:
            self.exception = error
            self.traceback = "".join(tracebacks.format_exception(error))
        except BaseException:
            self.interrupt("interrupted")
            raise

    def _claim(self) -> None:
        self._ledger.require_writable()
        self._ledger.session.lease(self._ledger.key)
        draft = Draft("claim", {"trial": self.number, "worker": self._ledger.session.worker})
        _, attempt = self._ledger.execute_one(draft)
        self._own(attempt)

    def _own(self, attempt: int) -> None:
        """Speak for the attempt that this session has just started, and for no later one."""
        self.refresh()
        if self.attempt != attempt:
            raise LostTrialError(
                "trial was claimed, and lost before this process could go on",
                hint="its lease ran out: claim it again",
                experiment=self.experiment,
                trial=self.number,
                attempt=attempt,
                current_attempt=self.attempt,
            )
        if not self._owned:
            self._owned = True
            self._ledger.session.hold(self._ledger.key)

    def _disown(self) -> None:
        if self._owned:
            self._owned = False
            self._ledger.session.let_go(self._ledger.key)

    def report(
        self,
        values: Mapping[str, Any] | None = None,
        /,
        *,
        step: int | None = None,
        at: datetime | None = None,
        **named: Any,
    ) -> None:
        """Log values while the trial runs, such as a loss for each epoch.

        Returns at once: the values are durable with the next commit of this process, at the latest when the
        trial ends or the linger (5 s by default) has passed.

        Args:
            values: Values by name, for names that are no Python identifiers or are ``step`` or ``at``.
            step: Where in the trial; None for values that have no step.
            at: When, an aware time; now by default.
            named: Values by name. Numbers, NaN and infinities stay numbers; anything else is kept as text.
        """
        if self.status.is_final:
            raise TransitionError(
                "trial has already finished", experiment=self.experiment, trial=self.number, status=self.status
            )
        step = plain(step)  # type: ignore[assignment]
        if step is not None and (type(step) is not int or not -(2**63) <= step < 2**63):
            raise UsageError("step must be a whole number of at most 64 bits", step=step)
        time = now_text() if at is None else format_time(at)
        logged = {**(values or {}), **named}
        self._ledger.log_rows(
            "metrics",
            [
                [self.number, self.attempt, check_name(name, "metric"), step, time, pack(value, name)]
                for name, value in logged.items()
            ],
        )

    def update_telemetry(
        self,
        status: Status | str,
        timestamp: datetime,
        metrics: Iterable[tuple[datetime, str, Any]] | pa.Table | pl.DataFrame,
    ) -> None:
        """Log samples of the machine or the system under test, and where the trial stands.

        The same sample (time and name) may be handed in again: the first value stays. Durable like `report`.

        Args:
            status: Status of the trial at `timestamp`; a step that is allowed is recorded.
            timestamp: Time of the status, aware.
            metrics: Tuples of aware time, name and value; or an Arrow table or Polars frame with the columns
                ``at``, ``name`` and ``value``.

        Raises:
            InvalidTimeError: a time has no zone, or is finer than a microsecond; nothing was logged.

        Source: mlos_bench, `Storage.Trial.update_telemetry`.
        """
        status = Status.parse(status)
        at = format_time(timestamp)
        if hasattr(metrics, "to_arrow") or hasattr(metrics, "column_names"):
            from trialstore.tables.telemetry import telemetry_from_arrow

            self._ledger.log_telemetry(telemetry_from_arrow(self.number, self.attempt, metrics))
        else:
            samples = metrics if isinstance(metrics, list) else list(metrics)
            if len(samples) >= _BATCH:
                from trialstore.tables.telemetry import telemetry_from_tuples

                self._ledger.log_telemetry(telemetry_from_tuples(self.number, self.attempt, samples))
            elif samples:
                self._ledger.log_rows("telemetry", [self._sample(sample) for sample in samples])
        if status is not self.status:
            self.set_status(status, at=at)

    def _sample(self, sample: tuple[datetime, str, Any]) -> list[Any]:
        try:
            time, name, value = sample
        except (TypeError, ValueError):
            raise UsageError("a sample must be a tuple of time, name and value", sample=sample) from None
        if not isinstance(time, datetime):
            raise InvalidTimeError(
                "the time of a sample must be a datetime", hint="datetime.now(timezone.utc)", time=time
            )
        return [self.number, self.attempt, format_time(time), check_name(name, "metric"), pack(value, name)]

    def annotate(self, **attributes: Any) -> None:
        """Merge attributes into the trial: tags, notes, what the optimiser wants to remember.

        Works on a finished trial too. Values may be anything that `trialstore.model.codec` encodes.
        """
        draft = Draft("annotate", {"trial": self.number, "attributes": pack_dict(attributes, "attributes")})
        while (outcome := self._ledger.execute(draft)[-1]).reason == "finished":
            self._ledger.revive(self.number)  # a flush may be quicker, and move it into a part again
        if outcome.reason is not None:
            self._ledger.refuse(outcome)
        self._record.attributes = {**(self._record.attributes or {}), **attributes}

    # Ending

    def success(self, **metrics: Any) -> Report:
        """End the trial with every declared metric, in one commit with all that was logged before.

        Raises:
            InvalidMetricsError: a metric is missing, was not declared, or is not a number; the trial still runs.
            TransitionError: the trial has already ended, or its block raised an exception.
            LostTrialError: the lease ran out and the trial is another's now; what was reported is kept as a late
                result.
        """
        if isinstance(self.exception, BaseException):
            raise TransitionError(
                "trial cannot succeed: its block raised",
                hint="call trial.fail() or trial.crashed()",
                trial=self.number,
                exception=repr(self.exception),
            )
        return self.finish(Status.SUCCEEDED, metrics)

    def fail(self, **metrics: Any) -> Report:
        """End the trial as FAILED: it ran, and its result is no good. Metrics may be left out."""
        return self.finish(Status.FAILED, metrics)

    def crashed(self, exception: BaseException | str | None = None, traceback: str | None = None) -> Report:
        """End the trial as CRASHED, with the exception given or caught in `begin`."""
        if exception is not None:
            self.exception = exception
            self.traceback = traceback
            if traceback is None and isinstance(exception, BaseException):
                self.traceback = "".join(tracebacks.format_exception(exception))
        return self.finish(Status.CRASHED, {})

    def prune(self, **metrics: Any) -> Report:
        """End the trial early because it does not look promising."""
        return self.finish(Status.PRUNED, metrics)

    def cancel(self, reason: str | None = None) -> Report:
        """End the trial without a result, because nobody wants it any more."""
        return self.finish(Status.CANCELED, {}, reason=reason)

    def timed_out(self, **metrics: Any) -> Report:
        """End the trial because it took too long."""
        return self.finish(Status.TIMED_OUT, metrics)

    def finish(
        self,
        status: Status | str,
        metrics: Mapping[str, Any],
        *,
        reason: str | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> Report:
        """End the trial with any final status; see `success` for what is raised.

        Args:
            status: One of the final statuses.
            metrics: Final values; all the declared ones when the status is SUCCEEDED.
            reason: Why, for the status history.
            summary: Anything else worth a column.
        """
        status = Status.parse(status)
        if not status.is_final:
            raise UsageError("not a final status", hint="use set_status", status=status)
        if self.status.is_final:
            raise TransitionError(
                "trial has already finished", experiment=self.experiment, trial=self.number, status=self.status
            )
        values = self._checked(metrics, complete=status is Status.SUCCEEDED)
        if not self.status.is_active:
            if not values and not summary and self.exception is None and status is not Status.SUCCEEDED:
                self.set_status(status, reason)
                return self._report(now_text())
            self._claim()  # nobody runs it, and there is a result to keep
        fields: dict[str, Any] = {"trial": self.number, "attempt": self.attempt, "status": status}
        fields["metrics"] = pack_dict(values, "metrics")
        if summary:
            fields["summary"] = pack_dict(summary, "summary")
        if self.exception is not None:
            fields |= {"exception": self._exception_text(), "traceback": self.traceback}
        if reason is not None:
            fields["reason"] = reason
        try:
            finished_live = self._ledger.execute_one(Draft("finish", fields))
        except (TransitionError, LostTrialError, TrialNotFoundError):
            self._disown()
            raise
        self._disown()
        self._record.status, self._record.metrics, self._record.ended_at = status, dict(values), now_text()
        self._ledger.maintain(finished_live)
        return self._report(self._record.ended_at)

    def _exception_text(self) -> str | None:
        if isinstance(self.exception, BaseException):
            return "".join(tracebacks.format_exception_only(self.exception)).strip()
        return self.exception

    def _report(self, at: str) -> Report:
        return Report(
            experiment=self.experiment,
            number=self.number,
            id=self.id,
            attempt=self.attempt,
            status=self.status,
            params=dict(self.params),
            metrics=dict(self.metrics),
            reported_at=parse_time(at),
            exception=self._exception_text(),
            traceback=self.traceback,
        )

    def _checked(self, metrics: Mapping[str, Any], complete: bool) -> dict[str, Any]:
        declared = {metric.name: metric for metric in self._declared}
        problems: list[str] = []
        values: dict[str, Any] = {}
        for name, value in metrics.items():
            metric = declared.get(name)
            if metric is None:
                near = nearest(name, declared)
                problems.append(f"{name!r} was not declared" + (f"; did you mean {near[0]!r}?" if near else ""))
                continue
            values[name], problem = metric.check(value)
            if problem is not None:
                problems.append(problem)
        if complete:
            problems += [f"{name!r} is missing" for name in declared if name not in metrics]
        if problems:
            raise InvalidMetricsError(
                "metrics do not fit the experiment:\n    " + "\n    ".join(problems),
                hint=f"declared are {', '.join(map(repr, declared)) or 'none'}; the trial is still {self.status.name}",
                experiment=self.experiment,
                trial=self.number,
            )
        return values

    def set_status(
        self, status: Status | str, reason: str | None = None, *, was: Status | str | None = None, at: str | None = None
    ) -> None:
        """Take the trial to another status, when its present one allows that.

        Args:
            status: Where to; see `Status.allows`.
            reason: Why, for the status history.
            was: What the status must be now; by default nothing is demanded but that the step is allowed.
            at: The stored spelling of the time of the step; now by default.

        Raises:
            TransitionError: the step is not allowed from where the trial is.
        """
        self._ledger.require_writable()
        status = Status.parse(status)
        fields: dict[str, Any] = {"trial": self.number, "status": status, "worker": self._ledger.session.worker}
        if was is not None:
            fields["was"] = Status.parse(was)
        if self.status.is_active:
            fields["attempt"] = self.attempt
        if reason is not None:
            fields["reason"] = reason
        if at is not None:
            fields["when"] = at
        if status.is_active:
            self._ledger.session.lease(self._ledger.key)
        attempt = self._ledger.execute_one(Draft("status", fields))
        if status.is_active:
            self._own(attempt)
        else:
            self._disown()
            self.refresh()

    def interrupt(self, reason: str | None = None) -> None:
        """Give the trial back, to be claimed again by anyone."""
        self.set_status(Status.INTERRUPTED, reason)

    def suspend(self, reason: str | None = None) -> None:
        """Put the trial aside, to be claimed again by anyone."""
        self.set_status(Status.SUSPENDED, reason)

    # Artifacts

    def store(self, items: Mapping[str, Any], *, loader: str | None = None) -> list[Artifact]:
        """Write objects to the store's bucket under this trial.

        The name's ending chooses how (see `trialstore.artifacts.loaders`); bytes are stored as they are, and a path or
        an open binary file is streamed. The bytes are written when this returns; their rows are durable like
        `report`, so with the call that ends the trial.

        Args:
            items: Objects by name; ``/`` in a name makes folders.
            loader: Name of a loader for all of them, such as ``"pickle"``.
        """
        ledger = self._ledger
        ledger.require_writable()
        with ledger.journal.view() as state:
            removed = set(state.manifest.removed_paths)
        stored = []
        for name, value in items.items():
            artifact = put(
                ledger.blobs, ledger.key, self.number, self.attempt, name, value, loader=loader, removed=removed
            )
            previous = self._stored.get(name)
            self._ledger.log_rows("artifacts", [artifact.row()])
            if previous is not None and previous.path != artifact.path:
                self._ledger.execute_one(Draft("remove_artifacts", {"paths": [previous.path]}))
                self._ledger.blobs.delete([previous.path])
                removed.add(previous.path)
            self._stored[name] = artifact
            stored.append(artifact)
        return stored

    def artifacts(self) -> dict[str, Artifact]:
        """The trial's artifacts by name, the newest of each."""
        newest: dict[str, Artifact] = {}
        for artifact in self._ledger.artifacts(self.number):
            newest[artifact.name] = artifact
        return newest

    def retrieve(self, name: str, *, loader: str | None = None) -> Any:
        """The object that was stored under a name.

        Args:
            name: The artifact's name.
            loader: Load it this way instead of the way it was stored; ``"pickle"`` must be asked for.

        Raises:
            ArtifactNotFoundError: the trial has no such artifact; near names are given.
            DamagedError: its bytes are not those that were stored.
        """
        artifact = self._stored.get(name) or self._artifact(name)
        return load(self._ledger.blobs, artifact, loader)

    def delete_from_storage(self, names: Iterable[str]) -> None:
        """Delete artifacts: first their rows, then their bytes."""
        chosen = [self._artifact(name) for name in names]
        paths = [artifact.path for artifact in chosen]
        self._ledger.execute_one(Draft("remove_artifacts", {"paths": paths}))
        self._ledger.blobs.delete(paths)
        for artifact in chosen:
            self._stored.pop(artifact.name, None)

    def _artifact(self, name: str) -> Artifact:
        known = self.artifacts()
        if name not in known:
            near = nearest(name, known)
            raise ArtifactNotFoundError(
                "trial has no such artifact",
                hint=f"it has {', '.join(near or known) or 'none'}",
                trial=self.number,
                artifact=name,
            )
        return known[name]

    # Processes

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._ledger, self._declared, self._record, self._stored)


def _reopen(ledger: Ledger, metrics: Sequence[Metric], record: TrialRecord, stored: dict[str, Artifact]) -> Trial:
    trial = Trial(ledger, metrics, record)
    trial._stored = stored
    return trial
