"""A trial: what a worker holds while it evaluates one configuration, and what anyone reads of it afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trialstore.artifacts.store import Artifact
from trialstore.ledger import Ledger
from trialstore.life import ending, keeping, measuring, noting, running, samples, sending
from trialstore.life.described import Described
from trialstore.life.held import Held
from trialstore.model.errors import TransitionError
from trialstore.model.metric import Metric
from trialstore.model.profile import MemoryUnit, Profile, TimeKind
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.typed import Param, Result, Value
from trialstore.model.typed_trial import TypedTrial, format_params, format_values
from trialstore.render.page import Page
from trialstore.render.rendered import Rendered
from trialstore.report import Report

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["Trial"]


class Trial(Described, Rendered):
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

    Value, Param, Result = Value, Param, Result
    build = TypedTrial.build
    format_params = staticmethod(format_params)
    format_values = staticmethod(format_values)

    def __init__(self, ledger: Ledger, metrics: Sequence[Metric], record: TrialRecord, owned: bool = False) -> None:
        self._held = Held(ledger, metrics, record, owned)

    def __repr__(self) -> str:
        return f"<Trial {self.number} of {self.experiment!r}: {self.status.name}, params={dict(self.params)!r:.200}>"

    def _page(self) -> Page:
        from trialstore.facts import trial_facts
        from trialstore.render.trial_page import trial_page

        return trial_page({"experiment": self.experiment, **trial_facts(self)})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trial):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, int, int]:
        return self._held.ledger.blobs.url, self._held.ledger.entry.id, self.number

    def _report(self, storage: Iterable[str] | None = None) -> Report:
        """The report of the trial when it has ended; `storage` are the names of what was stored with it, if known."""
        if not self.status.is_final:
            raise TransitionError(
                "trial has not ended yet", experiment=self.experiment, trial=self.number, status=self.status
            )
        return ending.report_of(self._held, self, storage)

    def refresh(self) -> Trial:
        """Look at the store again; returns the trial itself."""
        self._held.refresh()
        return self

    # Running

    @contextmanager
    def begin(self, time: TimeKind | str | None = None, memory_unit: MemoryUnit | str | None = None) -> Iterator[Trial]:
        """Run the evaluation in this block: it is measured, and an exception in it is kept.

        A trial that nobody holds is claimed first. The block swallows an `Exception` and leaves it in `exception`, its
        traceback in `traceback`; afterwards `success` refuses, and `fail` or `crashed` record what was raised. An
        exception after the trial has ended is not swallowed. KeyboardInterrupt and SystemExit give the trial back as
        INTERRUPTED, for another worker, and go on.

        What is measured is in `time`, `memory` and ``profiles["trial"]``, and is stored when the trial ends.

        Args:
            time: The clock: ``"wall"`` by default, ``"cpu"`` for processor time of the thread, ``"process"`` for that
                of the process.
            memory_unit: ``"B"`` by default, ``"KB"``, ``"MB"`` or ``"GB"``, each 1,024 of the one before.

        Cost: two readings of the clock and of ``/proc``, some 15 microseconds.

        Source: AMLTK, `Trial.begin`.
        """
        with running.begin(self._held, time, memory_unit):
            yield self

    @contextmanager
    def profile(
        self,
        name: str,
        *,
        time: TimeKind | str | None = None,
        memory_unit: MemoryUnit | str | None = None,
        summary: bool = False,
    ) -> Iterator[Profile]:
        """Measure this block; what was measured is stored when the trial ends, also when the block raises.

        A block inside of another is named after both: ``trial:fit`` for a block ``fit`` in the one of `begin`. A name
        that is measured again replaces what was measured before. What is still being measured when the trial ends
        counts up to there.

        Args:
            name: Of the block.
            time: The clock, as for `begin`.
            memory_unit: The unit of memory, as for `begin`.
            summary: Whether to put the numbers into the summary, too, as ``<name>:time:duration`` and so on.

        Raises:
            TransitionError: the trial has ended.

        Example:
            >>> import trialstore as ts
            >>> experiment = ts.open("memory://doctest").create_experiment("profile", exist_ok=True)
            >>> trial = experiment.register_trial({"lr": 0.1}, reserve=True)
            >>> with trial.begin(), trial.profile("fit", time="process"):
            ...     total = sum(range(1000))
            >>> list(trial.profiles)
            ['trial', 'trial:fit']
            >>> trial.success().profiles["trial:fit"].time.duration >= 0
            True

        Source: AMLTK, `Trial.profile`.
        """
        with measuring.profile(self._held, name, time, memory_unit, summary) as profile:
            yield profile

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
        noting.annotate(self._held, attributes)

    def attach_extra(self, name: str, plugin_item: Any, *, stored: bool = True) -> None:
        """Attach something to the trial under a name; stored when the trial ends, or now when it has ended.

        Args:
            name: A name that was attached before gets the new value.
            plugin_item: Anything that `trialstore.model.codec` encodes.
            stored: False for an object that is only for this process, or one that the trial is pickled for; it may be
                of any type.

        Raises:
            UsageError: it is to be stored and cannot be, exactly.

        Source: AMLTK, `Trial.attach_extra`.
        """
        noting.attach(self._held, name, plugin_item, stored)

    def set_trial_runner(self, trial_runner_id: int | None, *, was: int | None = None) -> int | None:
        """Assign the trial to a runner, unless it is another's; returns who has it now.

        Of several that assign at once exactly one wins, and all are told who. Being assigned is not being claimed:
        `reserve_trial` does not look at it.

        Args:
            trial_runner_id: Who shall run it; None takes it from who has it.
            was: Who must have it now for this to change anything; nobody by default.

        Raises:
            TransitionError: the trial has ended.

        Cost: one conditional put.

        Source: mlos_bench, `Storage.Trial.set_trial_runner`.
        """
        return noting.assign(self._held, trial_runner_id, was)

    # Ending

    def success(self, /, **metrics: Any) -> Report:
        """End the trial with every declared metric and no other, in one commit with all that was logged before.

        Args:
            metrics: Numbers, or `Observation`s that carry a standard error and a count.

        Raises:
            InvalidMetricsError: a metric is missing, was not declared, or is not a number; the trial still runs.
            TransitionError: the trial has already ended, or its block raised an exception.
            LostTrialError: the lease ran out and the trial is another's now; what was reported is kept as a late
                result.

        Source: AMLTK, `Trial.success`.
        """
        return ending.succeed(self._held, metrics, self)

    def fail(self, /, **metrics: Any) -> Report:
        """End the trial as FAILED: it ran, and its result is no good.

        Metrics may be left out. The store keeps what was reported; in the report's `metrics` the others have the worst
        value there can be, for an optimiser that wants a number.

        Source: AMLTK, `Trial.fail`.
        """
        return ending.finish(self._held, Status.FAILED, metrics, self)

    def crashed(self, exception: BaseException | str | None = None, traceback: str | None = None) -> Report:
        """End the trial as CRASHED, with the exception given or caught in `begin`.

        The report's `metrics` have the worst values there can be.

        Args:
            exception: What was raised; by default what `begin` caught. There need not be any: of a worker that was
                killed nobody knows it.
            traceback: By default the exception's own.

        Source: AMLTK, `Trial.crashed`.
        """
        return ending.crash(self._held, exception, traceback, self)

    def prune(self, /, **metrics: Any) -> Report:
        """End the trial early because it does not look promising."""
        return ending.finish(self._held, Status.PRUNED, metrics, self)

    def cancel(self, reason: str | None = None) -> Report:
        """End the trial without a result, because nobody wants it any more."""
        return ending.finish(self._held, Status.CANCELED, {}, self, reason=reason)

    def timed_out(self, /, **metrics: Any) -> Report:
        """End the trial because it took too long."""
        return ending.finish(self._held, Status.TIMED_OUT, metrics, self)

    def update(
        self, status: Status | str, timestamp: datetime, metrics: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Say where the trial stands, and what came out once it has ended.

        Args:
            status: Where it stands. A final one ends the trial, like `finish`; any other takes it there when that is
                allowed, and nothing happens when it is there already.
            timestamp: When, an aware time: it becomes the time of the step, and of the end.
            metrics: With a final status alone; with SUCCEEDED every declared metric. What was not declared goes into
                the summary.

        Returns:
            The metrics, as they were given.

        Raises:
            UsageError: there are metrics and the status is not final.
            InvalidMetricsError: a declared metric is missing or is not a number; the trial still runs.
            TransitionError: the trial has already ended.

        Source: mlos_bench, `Storage.Trial.update`.
        """
        return ending.update(self._held, status, timestamp, metrics, self)

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
            summary: Anything else worth a column; it joins what is in `summary`.
        """
        return ending.finish(self._held, status, metrics, self, reason=reason, summary=summary)

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

    @property
    def storage(self) -> set[str]:
        """Names of all that was stored with the trial, wherever it is."""
        return keeping.storage(self._held)

    def store(
        self,
        items: Mapping[str, Any],
        *,
        where: Any = None,
        loader: str | None = None,
    ) -> Any:
        """Write objects under this trial: to the store's bucket, or to another place.

        The name's ending chooses how (see `trialstore.artifacts.loaders`); bytes are stored as they are, and a path or
        an open binary file is streamed. The bytes are written when this returns; their rows are durable like
        `report`, so with the call that ends the trial.

        Args:
            items: Objects by name; ``/`` in a name makes folders.
            where: None for the store. A `Bucket`, or the path or URL of one: they are put into its sub-bucket of the
                trial's name. Something to call with the trial's name and the items. What is stored elsewhere is known
                by name in `storage`, and is not looked after by the store.
            loader: Name of a loader for all of them, such as ``"pickle"``.

        Returns:
            The artifacts; for another place what it returned.

        Source: AMLTK, `Trial.store`.
        """
        return keeping.store(self._held, items, where, loader)

    def artifacts(self) -> dict[str, Artifact]:
        """The trial's artifacts by name, the newest of each."""
        return keeping.artifacts(self._held)

    def retrieve(
        self,
        key: str,
        *,
        where: Any = None,
        check: type | None = None,
        loader: str | None = None,
    ) -> Any:
        """The object that was stored under a name.

        Args:
            key: The artifact's name.
            where: The bucket, path or URL that it was stored in with `store`, None for the store.
            check: The type that it must have.
            loader: Load it this way instead of the way it was stored; ``"pickle"`` must be asked for.

        Raises:
            ArtifactNotFoundError: the trial has no such artifact; near names are given.
            DamagedError: its bytes are not those that were stored.
            TypeError: it has another type than `check`.

        Source: AMLTK, `Trial.retrieve`.
        """
        return keeping.retrieve(self._held, key, where, check, loader)

    def retrieve_file(self, name: str, path: str | os.PathLike[str]) -> None:
        """Write an artifact's bytes to a local file, which appears whole and checked, or not at all.

        However large it is, this takes no more than 40 MiB of memory.

        Raises:
            ArtifactNotFoundError: the trial has no such artifact; near names are given.
            DamagedError: its bytes are not those that were stored.
        """
        keeping.retrieve_file(self._held, name, path)

    def delete_from_storage(self, items: Iterable[str], *, where: Any = None) -> dict[str, bool]:
        """Delete artifacts, durably. Their bytes go with a later `vacuum`, unless another artifact shares them.

        Args:
            items: Their names.
            where: The place that they were stored in with `store`, None for the store. Something to call gets the
                trial's name and the names, and returns what this returns.

        Returns:
            For each name whether it was deleted.

        Raises:
            ArtifactNotFoundError: the store has one of them not; none was deleted. Other places return False for it.

        Source: AMLTK, `Trial.delete_from_storage`.
        """
        return keeping.delete(self._held, items, where)

    # Copies and processes

    def copy(self) -> Trial:
        """A handle on the same trial whose summary, extras and profiles are its own.

        It is one trial in the store: of the two handles one can end it. The lease stays with this one.
        """
        return Trial._of(sending.copy(self._held))

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Trial:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        """A trial may be sent to another process and back, with all that is not stored yet.

        What was logged before is committed with it. The lease stays with this process: it keeps the trial alive for as
        long as it lives.
        """
        held = self._held
        return _reopen, (held.ledger, held.declared, held.record, sending.local_state(held))

    @classmethod
    def _of(cls, held: Held) -> Trial:
        trial = cls.__new__(cls)
        trial._held = held
        return trial


def _reopen(ledger: Ledger, metrics: Sequence[Metric], record: TrialRecord, state: dict[str, Any]) -> Trial:
    trial = Trial(ledger, metrics, record)
    sending.take_local_state(trial._held, state)
    return trial
