"""What a handle on a trial holds: the record as it was last seen, and whether this session speaks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from trialstore.artifacts.store import Artifact
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.model.errors import LostTrialError, TransitionError, TrialNotFoundError
from trialstore.model.metric import Metric
from trialstore.model.profile import Profile
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.typed import Result

__all__ = ["Held", "Unsaved"]


@dataclass(slots=True)
class Unsaved:
    """What a trial gathers until it ends.

    Attributes:
        summary: What the user wants to see of it.
        extras: What plugins attached, by name.
        profiles: What was measured, by name, in the order in which the measurements began.
        passing: Names of the extras that are not to be stored.
        elsewhere: Names of what was stored outside of the store.
    """

    summary: dict[str, Any]
    extras: dict[str, Any]
    profiles: dict[str, Profile]
    passing: set[str] = field(default_factory=set)
    elsewhere: dict[str, None] = field(default_factory=dict)


class Held:
    """One trial in this process: what is known of it, and what was not stored yet.

    Attributes:
        ledger: Of the trial's experiment.
        declared: The experiment's metrics.
        record: The trial as it was last seen, decoded. It is replaced rather than changed when reports share it.
        owned: Whether this process keeps the trial's lease alive.
        params: The parameters, read-only.
        stored: What this handle stored as artifacts, by name.
        exception: What was raised in `begin`, or its text once it comes from the store.
        traceback: Its traceback as text.
        results: Typed results that were set and not stored yet; None as long as there are none.
        unsaved: What belongs to the trial and is stored when it ends; None as long as there is nothing.
        measuring: The measurements that are going on, in the order in which they began; None as long as there was none.
    """

    results: list[Result] | None = None
    unsaved: Unsaved | None = None
    measuring: list[Any] | None = None

    def __init__(self, ledger: Ledger, declared: Sequence[Metric], record: TrialRecord, owned: bool = False) -> None:
        self.ledger = ledger
        self.declared = tuple(declared)
        self.record = record
        self.owned = owned
        self.params: Mapping[str, Any] = MappingProxyType(record.params)
        self.stored: dict[str, Artifact] = {}
        self.exception: BaseException | str | None = record.exception
        self.traceback: str | None = record.traceback
        if owned:
            ledger.session.hold(ledger.key)

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self.ledger.entry.name

    @property
    def name(self) -> str:
        """The trial's name, or one made of the experiment's and the number."""
        return self.record.name or f"{self.experiment}-{self.record.number}"

    def refresh(self) -> None:
        """Look at the store again.

        Raises:
            TrialNotFoundError: the trial is gone.
        """
        record = self.ledger.record(self.record.number)
        if record is None:
            raise TrialNotFoundError("trial is gone", experiment=self.experiment, trial=self.record.number)
        lost = record.attempt != self.record.attempt
        self.record = record
        self.params = MappingProxyType(record.params)
        if record.status.is_final:
            self.exception, self.traceback, self.unsaved = record.exception, record.traceback, None
        if lost or not record.status.is_active:
            self.disown()

    def keep(self) -> Unsaved:
        """What is not saved yet, to put something in."""
        if self.unsaved is None:
            record = self.record
            profiles = dict(Profile.from_row(row) for row in record.profiles or ())
            self.unsaved = Unsaved(dict(record.summary or {}), dict(record.extras or {}), profiles)
        return self.unsaved

    def require_open(self) -> None:
        """Refuse what only a trial that has not ended allows."""
        if self.record.status.is_final:
            raise TransitionError(
                "trial has already finished",
                experiment=self.experiment,
                trial=self.record.number,
                status=self.record.status,
            )

    def claim(self) -> None:
        """Start the next attempt of a trial that nobody runs, for this session.

        Raises:
            TransitionError: its status does not allow that.
        """
        ledger = self.ledger
        ledger.require_writable()
        ledger.session.lease(ledger.key)
        draft = Draft("claim", {"trial": self.record.number, "worker": ledger.session.worker})
        _, attempt = ledger.execute_one(draft)
        self.own(attempt)

    def own(self, attempt: int) -> None:
        """Speak for the attempt that this session has just started, and for no later one."""
        self.refresh()
        if self.record.attempt != attempt:
            raise LostTrialError(
                "trial was claimed, and lost before this process could go on",
                hint="its lease ran out: claim it again",
                experiment=self.experiment,
                trial=self.record.number,
                attempt=attempt,
                current_attempt=self.record.attempt,
            )
        if not self.owned:
            self.owned = True
            self.ledger.session.hold(self.ledger.key)

    def disown(self) -> None:
        """No longer keep the trial's lease alive."""
        if self.owned:
            self.owned = False
            self.ledger.session.let_go(self.ledger.key)

    def set_status(
        self, status: Status | str, reason: str | None = None, *, was: Status | str | None = None, at: str | None = None
    ) -> None:
        """See `Trial.set_status`; `at` is the stored spelling of the time of the step, now by default."""
        ledger = self.ledger
        ledger.require_writable()
        status = Status.parse(status)
        fields: dict[str, Any] = {"trial": self.record.number, "status": status, "worker": ledger.session.worker}
        if was is not None:
            fields["was"] = Status.parse(was)
        if self.record.status.is_active:
            fields["attempt"] = self.record.attempt
        if reason is not None:
            fields["reason"] = reason
        if at is not None:
            fields["when"] = at
        if status.is_active:
            ledger.session.lease(ledger.key)
        attempt = ledger.execute_one(Draft("status", fields))
        if status.is_active:
            self.own(attempt)
        else:
            self.disown()
            self.refresh()
