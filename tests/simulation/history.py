"""What callers asked and what they were told, with the times of both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.schedule import Killed, Scheduler, Task
from trialstore.journal.batch import Batch, Draft
from trialstore.journal.journal import Journal
from trialstore.journal.machine import Outcome
from trialstore.model.errors import OutcomeUnknownError, TrialStoreError

TOKEN = "sim"
"""A member of every command that no fold knows: it says which call the command belongs to."""


@dataclass
class Call:
    """One command of one call.

    Attributes:
        asked_at, told_at: Virtual times; never told when the process died first.
        began_at: When the deed began that the call is part of.
        posted: Nobody waits for it.
        outcome: What the caller was told, or
        error: what was raised.
    """

    token: int
    journal: str
    kind: str
    process: str
    asked_at: float
    began_at: float
    posted: bool = False
    told_at: float | None = None
    outcome: Outcome | None = None
    error: TrialStoreError | None = None

    @property
    def may_count(self) -> bool:
        """Whether the command may be in the journal, as far as its caller knows."""
        return self.error is None or isinstance(self.error, OutcomeUnknownError)


@dataclass
class Look:
    """A state that somebody saw.

    Attributes:
        asked_at: When they began to look.
        seq: How far the state was folded.
    """

    journal: str
    process: str
    asked_at: float
    seq: int


@dataclass
class Seen:
    """Something read that must be what the model says.

    Attributes:
        kind: ``trial``, ``rows``, ``state``, ``idle``: there was nothing to claim, or ``overdue``: what was claimed had
            been taken away when the claimer came to know of it.
        low, high: Sequence numbers it must be true at, at one of them.
        value: What was read.
    """

    kind: str
    process: str
    low: int
    high: int
    value: Any


@dataclass
class Logged:
    """A row that a worker handed in.

    Attributes:
        table: Of which table.
        mark: What tells it from all others.
        acknowledged: Whether a call that promised it has returned.
    """

    table: str
    mark: Any
    acknowledged: bool = False


@dataclass
class History:
    """All of it, of one seed."""

    scheduler: Scheduler
    calls: list[Call] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    logged: list[Logged] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    steps: dict[Task, list[Call]] = field(default_factory=dict)
    began: dict[Task, float] = field(default_factory=dict)
    untraceable: set[str] = field(default_factory=set)
    """Processes whose log says that what they had sent may be lost, as they stood still past the retention."""

    def open_call(self, journal: str, draft: Draft, posted: bool) -> tuple[Call, Draft]:
        task = self.scheduler.current
        assert task is not None
        now = self.scheduler.now
        call = Call(len(self.calls), journal, draft.kind, task.process.name, now, self.began.get(task, now), posted)
        self.calls.append(call)
        self.steps.setdefault(task, []).append(call)
        return call, Draft(draft.kind, {**draft.fields, TOKEN: call.token})

    def last_seq(self, journal: str) -> int:
        """The newest commit anybody was told of."""
        return max((look.seq for look in self.looks if look.journal == journal), default=-1)


@contextmanager
def recorded(history: History) -> Iterator[None]:
    """Write down every command that goes through a journal, and every look at its state."""
    execute, post, view, resend = Journal.execute, Journal.post, Journal.view, Journal._resend

    def execute_recorded(self: Journal[Any], *drafts: Draft, force: bool = True) -> list[Outcome]:
        opened = [history.open_call(self._log.blob(0), draft, posted=False) for draft in drafts]
        try:
            outcomes = execute(self, *(draft for _, draft in opened), force=force)
        except TrialStoreError as error:
            for call, _ in opened:
                call.error, call.told_at = error, history.scheduler.now
            raise
        if len(outcomes) != len(drafts):
            history.wrong.append(f"{len(drafts)} commands had {len(outcomes)} outcomes")
        for (call, _), outcome in zip(opened, outcomes, strict=False):
            call.outcome, call.told_at = outcome, history.scheduler.now
        return outcomes

    def post_recorded(self: Journal[Any], *drafts: Draft) -> None:
        opened = [history.open_call(self._log.blob(0), draft, posted=True) for draft in drafts]
        post(self, *(draft for _, draft in opened))

    def resend_recorded(self: Journal[Any], batch: Batch) -> None:
        resend(self, batch)
        if batch.is_untraceable and history.scheduler.current is not None:
            history.untraceable.add(history.scheduler.current.process.name)

    @contextmanager
    def view_recorded(self: Journal[Any], refresh: bool = True) -> Iterator[Any]:
        task = history.scheduler.current
        asked_at = history.scheduler.now
        with view(self, refresh) as state:
            if refresh and task is not None:
                history.looks.append(Look(self._log.blob(0), task.process.name, asked_at, state.seq))
            yield state

    Journal.execute = execute_recorded  # type: ignore[method-assign]
    Journal.post = post_recorded  # type: ignore[method-assign]
    Journal.view = view_recorded  # type: ignore[method-assign]
    Journal._resend = resend_recorded  # type: ignore[method-assign]
    try:
        yield
    finally:
        Journal.execute, Journal.post = execute, post  # type: ignore[method-assign]
        Journal.view, Journal._resend = view, resend  # type: ignore[method-assign]


__all__ = ["TOKEN", "Call", "History", "Killed", "Logged", "Look", "Seen", "recorded"]
