"""A journal: the one way to read and change a folded state that many processes share."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Generic, Protocol, TypeVar

from trialstore.journal.batch import COMMIT_LIMIT_BYTES, Batch, Draft, Entry, outcomes_of
from trialstore.journal.checkpoint import Checkpoints
from trialstore.journal.commit import Command, decode_commands, encode_commands
from trialstore.journal.log import Log
from trialstore.journal.machine import Machine, Outcome
from trialstore.journal.replica import Replica
from trialstore.journal.sender import Sender, tidy
from trialstore.journal.session import SessionId
from trialstore.journal.shapes import command_problem
from trialstore.model.errors import (
    OutcomeUnknownError,
    SessionExpiredError,
    StoreUnavailableError,
    TrialStoreError,
    UsageError,
)
from trialstore.model.times import now_text

__all__ = ["Draft", "Journal", "Watcher"]

MachineT = TypeVar("MachineT", bound=Machine)

_log = logging.getLogger(__name__)
_entering = threading.Lock()


class Watcher(Protocol):
    """Whoever is told of commits as they are folded, one at a time."""

    def notice(self, commands: Sequence[Command], outcomes: Sequence[Outcome]) -> None:
        """Know of the next commit."""


class Journal(Generic[MachineT]):
    """Commands go in, outcomes come out, and every process folds the same state.

    Guarantees: a command whose `execute` returned is durable and took effect exactly once, at one place in
    the order that all processes see. Commands posted before it by the same process come before it. All methods may be
    called from many threads: what queues up while a commit is on its way goes out together in the next one.

    Args:
        log: Where commits are.
        checkpoints: Where checkpoints are.
        make: Makes the empty state.
        session: Who writes.
        writable: Whether it may write at all.
        background: Whether this process may commit for others in a thread of its own.
        opening: Called with a session before the first of its commands is sent, which is not when it raises.
    """

    def __init__(
        self,
        log: Log,
        checkpoints: Checkpoints,
        make: Callable[[], MachineT],
        session: SessionId,
        writable: bool = True,
        background: bool = True,
        opening: Callable[[str], None] | None = None,
    ) -> None:
        self._log = log
        self._checkpoints = checkpoints
        self._make = make
        self._session = session
        self._writable = writable
        self._background = background
        self._opening = opening
        self._watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._queue: deque[Entry] = deque()
        self._doubtful: Batch | None = None
        self._replica: Replica[MachineT] = Replica(self._log, self._checkpoints, self._make, self._notice)
        self._sender = Sender(self._replica, self._lock, self._background)
        self._writer = ""
        self._counter = 0
        self._opened = False
        self._unforced = False
        self._process = os.getpid()

    def _enter_process(self) -> None:
        if self._process != os.getpid():
            with _entering:
                if self._process != os.getpid():
                    # What the parent had queued is the parent's; its locks may be held by threads that are not here.
                    self._reset()

    # Reading

    @property
    def reads_are_cheap(self) -> bool:
        """Whether a look for what others committed costs microseconds, not a request."""
        return self._log.reads_are_cheap

    def view(self, refresh: bool = True) -> AbstractContextManager[MachineT]:
        """The state, for the length of a with-block in which it does not change.

        Args:
            refresh: Whether to fold first what others committed.

        Cost: one read of a blob that is not there, and one for each new commit.
        """
        self._enter_process()
        return _View(self._lock, self._replica, refresh)

    def at(self, until: int | str, *, settle: bool = False) -> MachineT:
        """A state of its own as it was: after the commit of a number, or before a stored time.

        See `trialstore.journal.past`, which also says what `settle` means.
        """
        self._enter_process()
        return self._replica.at(until, settle)

    def watch(self, watcher: Watcher) -> None:
        """Tell somebody of every commit that this process folds from now on, as long as there are references to it."""
        with self._lock:
            self._watchers.add(watcher)

    def _notice(self, commands: list[Command], outcomes: list[Outcome]) -> None:
        for watcher in self._watchers:
            watcher.notice(commands, outcomes)
        if self._doubtful is not None and outcomes_of(self._doubtful, commands, outcomes) is not None:
            self._doubtful = None

    # Writing

    def execute(self, *drafts: Draft, force: bool = True) -> list[Outcome]:
        """Commit commands, and what was posted before them, and return what became of each.

        Args:
            drafts: The commands.
            force: False where it is enough that a crash of the machine takes them only together with all that
                came after them, and not after a `flush`. No end of a process takes them.

        Raises:
            StorageFullError, AccessDeniedError, StoreUnavailableError: nothing of it took effect.
            OutcomeUnknownError: it may or may not take effect, once.
            SessionExpiredError: nothing took effect; the next call works under a new session.
        """
        self._enter_process()
        entry = Entry(drafts, waited_for=True, force=force)
        self._queue.append(entry)
        with self._lock:
            try:
                while not entry.done:
                    self._commit_queue()
            except BaseException as error:
                if entry in self._queue:
                    self._queue.remove(entry)  # it was not sent, and must not be sent after this call failed
                if not entry.done or not isinstance(error, TrialStoreError):
                    raise
        if entry.error is not None:
            raise entry.error
        return entry.outcomes

    def post(self, *drafts: Draft) -> None:
        """Queue commands that go out with the next commit, at the latest when `flush` is called."""
        self._enter_process()
        if drafts:
            self._queue.append(Entry(drafts, waited_for=False))

    @property
    def has_waiting(self) -> bool:
        """Whether something was posted, or sent in doubt, that is not known to be committed and on the disk."""
        return bool(self._queue) or self._doubtful is not None or self._unforced

    def flush(self) -> None:
        """Commit what was posted; all that this process committed is durable when it returns."""
        self._enter_process()
        if self._queue or self._doubtful:
            with self._lock:
                self._commit_queue()
        if self._unforced:
            with self._lock:
                self._log.force()
                self._unforced = False

    def _commit_queue(self) -> None:
        if self._doubtful is not None:
            self._resend(self._doubtful)
        while self._queue:
            batch = self._take_batch()
            try:
                self._send(batch)
            except BaseException as error:
                if batch.exposed:
                    self._doubtful = batch
                    doubt = _in_doubt(error)
                    self._settle(batch.entries, doubt)
                    if isinstance(error, TrialStoreError):
                        raise doubt from error
                    raise
                self._counter = batch.first - 1
                waiting = [entry for entry in batch.entries if entry.waited_for]
                self._requeue_posted(batch)
                self._settle(waiting, error if isinstance(error, TrialStoreError) else _not_sent(error))
                if not waiting or not isinstance(error, TrialStoreError):
                    raise
                return

    def _resend(self, batch: Batch) -> None:
        """Send a batch that may have arrived before; the callers who waited for it were told so."""
        try:
            self._send(batch)
        except SessionExpiredError:
            if batch.is_untraceable:
                _log.error("commands of %s may be lost: sent again they might count twice", batch.session)
            else:
                self._requeue_posted(batch)
        self._doubtful = None

    def _requeue_posted(self, batch: Batch) -> None:
        posted = [entry for entry in batch.entries if not entry.waited_for]
        if batch.session != self._session.current():
            for entry in posted:
                entry.at = now_text()  # a new session that opens before the last clean-up would be refused too
        self._queue.extendleft(reversed(posted))

    def _settle(self, entries: Sequence[Entry], error: BaseException) -> None:
        for entry in entries:
            entry.error, entry.done = error, True

    def _take_batch(self) -> Batch:
        session = self._session.current()
        if session != self._writer:
            if self._opening is not None:
                self._opening(session)
            self._writer, self._counter, self._opened = session, 0, False
        entries: list[Entry] = []
        encoded: list[bytes] = []
        commands: list[Command] = []
        first, size = self._counter + 1, 0
        while self._queue:
            entry = self._queue[0]
            counter = self._counter
            try:
                lines = self._encode(entry, session, opens=not self._opened and not entries)
                own = _read_back(lines)
            except UsageError as error:
                self._queue.popleft()
                self._counter = counter
                self._settle([entry], error)
                continue
            if entries and size + len(lines) > COMMIT_LIMIT_BYTES:
                self._counter = counter
                break
            self._queue.popleft()
            entries.append(entry)
            commands += own
            encoded.append(lines)
            size += len(lines)
        return Batch(entries, session, first, self._counter, b"".join(encoded), commands)

    def _encode(self, entry: Entry, session: str, opens: bool) -> bytes:
        commands: list[Command] = []
        for draft in entry.drafts:
            self._counter += 1
            command = {"session": session, "counter": self._counter, "at": entry.at, "kind": draft.kind}
            if opens and not commands:
                # The first of a batch alone: were it refused and a later one taken, the caller could not be told.
                command["opens"] = True
            commands.append(command | draft.fields)
        try:
            lines = encode_commands(commands)
        except ValueError as error:
            raise UsageError("command cannot be written as JSON", reason=str(error)) from None
        if len(lines) > COMMIT_LIMIT_BYTES:
            raise UsageError(
                "too much for one commit",
                hint="hand in fewer trials or shorter values at a time",
                size_bytes=len(lines),
                limit_bytes=COMMIT_LIMIT_BYTES,
            )
        return lines

    def _send(self, batch: Batch) -> None:
        """Put the batch at the next free sequence number, whoever else tries to, and hand out its outcomes."""
        if not batch.entries:
            return
        if not self._writable:
            raise AssertionError("a journal opened for reading was asked to write")
        outcomes = self._sender.send(batch)
        batch.exposed = False
        self._unforced = not batch.force
        if outcomes and outcomes[0].reason == "session expired":
            if batch.session == self._session.current():
                self._session.renew()
            raise SessionExpiredError(
                "session was silent for so long that the store forgot it",
                hint="call again: this process now has a new session",
                session=batch.session,
            )
        self._opened = True
        position = 0
        for entry in batch.entries:
            entry.outcomes = outcomes[position : position + len(entry.drafts)]
            position += len(entry.drafts)
            entry.done = True
            if not entry.waited_for:
                _tell_refusals(entry)
        tidy(self._replica.checkpoint_if_due)

    @property
    def round_is_due(self) -> bool:
        """Whether it is on this process to do a round of maintenance."""
        return self._replica.round_is_due

    def take_round(self) -> bool:
        """What `round_is_due` says, which then is no longer so."""
        is_due, self._replica.round_is_due = self._replica.round_is_due, False
        return is_due

    def checkpoint(self) -> str:
        """Write a checkpoint of the present state; returns its blob's key."""
        with self.view():
            return self._replica.checkpoint()


def _read_back(lines: bytes) -> list[Command]:
    """The commands as every reader will find them; refused before they are written when those would call it damage."""
    commands = decode_commands(lines)
    for command in commands:
        problem = command_problem(command)
        if problem is not None:
            raise UsageError("value is not one that a store can hold", kind=command["kind"], problem=problem)
    return commands


class _View(Generic[MachineT]):
    """The with-block of `Journal.view`. A class, since it is entered for every claim."""

    __slots__ = ("_lock", "_refresh", "_replica")

    def __init__(self, lock: threading.RLock, replica: Replica[MachineT], refresh: bool) -> None:
        self._lock = lock
        self._replica = replica
        self._refresh = refresh

    def __enter__(self) -> MachineT:
        self._lock.acquire()
        try:
            if self._refresh or not self._replica.is_loaded:
                self._replica.refresh()
            return self._replica.state()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _tell_refusals(entry: Entry) -> None:
    for outcome in entry.outcomes:
        if outcome.reason == "part disowned":
            _log.error("rows came too late to be taken in, their file was deleted: %s", outcome.value)


def _in_doubt(error: BaseException) -> OutcomeUnknownError:
    if isinstance(error, OutcomeUnknownError):
        return error
    return OutcomeUnknownError(
        "the commit was on its way when something failed", hint="look before trying again", reason=str(error)
    )


def _not_sent(error: BaseException) -> StoreUnavailableError:
    return StoreUnavailableError("the commit was not sent: another thread was stopped", reason=repr(error))
