"""A trial: what a worker holds while it evaluates one configuration, and what anyone reads of it afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trialstore.artifacts.store import Artifact
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.life import ending, keeping, running, samples
from trialstore.life.held import Held
from trialstore.model.codec import pack_dict
from trialstore.model.metric import Metric
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import parse_time
from trialstore.report import Report

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["Trial"]


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
        self._held = Held(ledger, metrics, record, owned)

    # What is known

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self._held.ledger.entry.name

    @property
    def number(self) -> int:
        """0, 1, 2 … in the experiment."""
        return self._held.record.number

    @property
    def id(self) -> str:
        """Hash of the parameters, 32 hexadecimal digits."""
        return self._held.record.id

    @property
    def name(self) -> str:
        """The name it was registered with, or one made of the experiment's name and the number."""
        return self._held.record.name or f"{self.experiment}-{self.number}"

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters, read-only, in the order they were given."""
        return self._held.params

    @property
    def status(self) -> Status:
        """The status as this object last knew it; `refresh` looks again."""
        return self._held.record.status

    @property
    def attempt(self) -> int:
        """How often the trial was claimed; the attempt that this object speaks for."""
        return self._held.record.attempt

    @property
    def seed(self) -> int | None:
        """The seed it was registered with."""
        return self._held.record.seed

    @property
    def fidelity(self) -> Mapping[str, Any] | None:
        """How much effort it is meant to spend."""
        return self._held.record.fidelity

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Final values by name; empty until it has ended."""
        return MappingProxyType(self._held.record.metrics)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What was annotated."""
        return MappingProxyType(self._held.record.attributes or {})

    @property
    def exception(self) -> BaseException | str | None:
        """What was raised in `begin` or given to `crashed`; its text once it comes from the store."""
        return self._held.exception

    @exception.setter
    def exception(self, error: BaseException | str | None) -> None:
        self._held.exception = error

    @property
    def traceback(self) -> str | None:
        """The traceback of `exception` as text."""
        return self._held.traceback

    @traceback.setter
    def traceback(self, text: str | None) -> None:
        self._held.traceback = text

    @property
    def attempts(self) -> Sequence[Mapping[str, Any]]:
        """Attempts that ended without finishing the trial, with late results where there were any."""
        return tuple(self._held.record.attempts)

    @property
    def worker(self) -> str | None:
        """Host and process that ran it."""
        return self._held.record.worker

    @property
    def parent(self) -> int | None:
        """Number of the trial that this one was made from."""
        return self._held.record.parent

    @property
    def submitted_at(self) -> datetime:
        """When it was registered, aware UTC."""
        return parse_time(self._held.record.submitted_at)

    @property
    def started_at(self) -> datetime | None:
        """When the present attempt was claimed."""
        return None if self._held.record.started_at is None else parse_time(self._held.record.started_at)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended."""
        return None if self._held.record.ended_at is None else parse_time(self._held.record.ended_at)

    def __repr__(self) -> str:
        return f"<Trial {self.number} of {self.experiment!r}: {self.status.name}, params={dict(self.params)!r:.200}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trial):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, int, int]:
        return self._held.ledger.blobs.url, self._held.ledger.entry.id, self.number

    def refresh(self) -> Trial:
        """Look at the store again; returns the trial itself."""
        self._held.refresh()
        return self

    # Running

    @contextmanager
    def begin(self) -> Iterator[Trial]:
        """Run the evaluation in this block: an exception in it is kept in `exception` and `traceback`.

        A trial that nobody holds is claimed first. The block swallows an `Exception`; afterwards `success` refuses,
        and `fail` or `crashed` record what was raised. KeyboardInterrupt and SystemExit give the trial back as
        INTERRUPTED, for another worker, and go on.

        Source: AMLTK, `Trial.begin`.
        """
        with running.begin(self._held):
            yield self

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
        samples.report(self._held, {**(values or {}), **named}, step, at)

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
        samples.update_telemetry(self._held, status, timestamp, metrics)

    def annotate(self, **attributes: Any) -> None:
        """Merge attributes into the trial: tags, notes, what the optimiser wants to remember.

        Works on a finished trial too. Values may be anything that `trialstore.model.codec` encodes.
        """
        draft = Draft("annotate", {"trial": self.number, "attributes": pack_dict(attributes, "attributes")})
        while (outcome := self._held.ledger.execute(draft)[-1]).reason == "finished":
            self._held.ledger.revive(self.number)  # a flush may be quicker, and move it into a part again
        if outcome.reason is not None:
            self._held.ledger.refuse(outcome)
        self._held.record.attributes = {**(self._held.record.attributes or {}), **attributes}

    # Ending

    def success(self, **metrics: Any) -> Report:
        """End the trial with every declared metric, in one commit with all that was logged before.

        Raises:
            InvalidMetricsError: a metric is missing, was not declared, or is not a number; the trial still runs.
            TransitionError: the trial has already ended, or its block raised an exception.
            LostTrialError: the lease ran out and the trial is another's now; what was reported is kept as a late
                result.
        """
        return ending.succeed(self._held, metrics)

    def fail(self, **metrics: Any) -> Report:
        """End the trial as FAILED: it ran, and its result is no good. Metrics may be left out."""
        return ending.finish(self._held, Status.FAILED, metrics)

    def crashed(self, exception: BaseException | str | None = None, traceback: str | None = None) -> Report:
        """End the trial as CRASHED, with the exception given or caught in `begin`."""
        return ending.crash(self._held, exception, traceback)

    def prune(self, **metrics: Any) -> Report:
        """End the trial early because it does not look promising."""
        return ending.finish(self._held, Status.PRUNED, metrics)

    def cancel(self, reason: str | None = None) -> Report:
        """End the trial without a result, because nobody wants it any more."""
        return ending.finish(self._held, Status.CANCELED, {}, reason=reason)

    def timed_out(self, **metrics: Any) -> Report:
        """End the trial because it took too long."""
        return ending.finish(self._held, Status.TIMED_OUT, metrics)

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
        return ending.finish(self._held, status, metrics, reason=reason, summary=summary)

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
        self._held.set_status(status, reason, was=was, at=at)

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
        return keeping.store(self._held, items, loader)

    def artifacts(self) -> dict[str, Artifact]:
        """The trial's artifacts by name, the newest of each."""
        return keeping.artifacts(self._held)

    def retrieve(self, name: str, *, loader: str | None = None) -> Any:
        """The object that was stored under a name.

        Args:
            name: The artifact's name.
            loader: Load it this way instead of the way it was stored; ``"pickle"`` must be asked for.

        Raises:
            ArtifactNotFoundError: the trial has no such artifact; near names are given.
            DamagedError: its bytes are not those that were stored.
        """
        return keeping.retrieve(self._held, name, loader)

    def retrieve_file(self, name: str, path: str | os.PathLike[str]) -> None:
        """Write an artifact's bytes to a local file, which appears whole and checked, or not at all.

        However large it is, this takes no more than 40 MiB of memory.

        Raises:
            ArtifactNotFoundError: the trial has no such artifact; near names are given.
            DamagedError: its bytes are not those that were stored.
        """
        keeping.retrieve_file(self._held, name, path)

    def delete_from_storage(self, names: Iterable[str]) -> None:
        """Delete artifacts, durably. Their bytes go with a later `vacuum`, unless another artifact shares them."""
        keeping.delete(self._held, names)

    # Processes

    def __reduce__(self) -> tuple[Any, ...]:
        held = self._held
        return _reopen, (held.ledger, held.declared, held.record, held.stored)


def _reopen(ledger: Ledger, metrics: Sequence[Metric], record: TrialRecord, stored: dict[str, Artifact]) -> Trial:
    trial = Trial(ledger, metrics, record)
    trial._held.stored = stored
    return trial
