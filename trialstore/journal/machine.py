"""What every state folded from a journal has: its position, its sessions and its documents.

The fold is deterministic: the state, and the outcome of every command, depend on the commands alone. No
clock, no randomness, no I/O. Two processes at one sequence number hold equal states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from trialstore.journal.commit import MALFORMED, Command, Commit
from trialstore.model.errors import DamagedError, FormatTooNewError

__all__ = ["ALREADY", "Machine", "Outcome", "accepted", "refused"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the fold decided about one command.

    Attributes:
        reason: None when it took effect, else a word that says why not.
        value: What the command gives back, or the facts of the refusal.
    """

    reason: str | None
    value: Any = None


def accepted(value: object = None) -> Outcome:
    """The command took effect."""
    return Outcome(None, value)


def refused(reason: str, **facts: object) -> Outcome:
    """The command changed nothing."""
    return Outcome(reason, facts)


ALREADY = Outcome("already applied")
"""The command is a repetition of one that was folded before."""

Handler = Callable[[Command], Outcome]


class Machine:
    """A state that commands are folded into.

    A subclass adds its own handlers to `handlers` and its own fields to `dump` and `load`.

    Attributes:
        seq: Sequence number of the last commit folded, -1 before the first.
        crc32: Checksum of that commit, which the next one must name.
        changed: Sequence number and checksum of the last commit that changed what readers see. Between it and the next
            such one the state may move between the journal and parts, and shows the same.
        latest_at: The latest time that any command folded so far carries.
        sessions: Last counter and last time of each session that wrote here.
        retired_before: Sessions that were silent since this time are forgotten; a command of one is refused.
        documents: Named values with a revision, changed by compare-and-set.
    """

    handlers: dict[str, Handler]
    quiet: ClassVar[frozenset[str]] = frozenset({"retire_sessions"})
    """Kinds of commands that move rows or files about, and change nothing that readers see."""

    def __init__(self) -> None:
        self.seq = -1
        self.crc32 = 0
        self.changed = (-1, 0)
        self.latest_at = ""
        self.sessions: dict[str, list[Any]] = {}
        self.retired_before = ""
        self.documents: dict[str, tuple[int, Any]] = {}
        self.handlers = {"document": self._document, "retire_sessions": self._retire_sessions}

    def fold(self, commit: Commit, blob: str) -> list[Outcome]:
        """Apply a commit and return the outcome of each of its commands.

        Raises:
            DamagedError: the commit does not continue this history, or a command names what there is not.
            FormatTooNewError: it holds a required command that this version does not know.
        """
        if commit.seq != self.seq + 1 or commit.previous != self.crc32:
            raise DamagedError(
                "commit does not continue the journal before it",
                hint="files of two stores were mixed, or a file was replaced: restore the journal from one copy",
                blob=blob,
                seq=commit.seq,
                expected_seq=self.seq + 1,
                previous=f"{commit.previous:08x}",
                expected_previous=f"{self.crc32:08x}",
            )
        for command in commit.commands:
            if command["kind"] not in self.handlers and not command.get("optional"):
                raise FormatTooNewError(
                    "journal holds a command that this version does not know",
                    hint="upgrade trialstore",
                    blob=blob,
                    kind=command["kind"],
                )
        self.seq = commit.seq
        self.crc32 = commit.crc32
        try:
            outcomes = [self._once(command) for command in commit.commands]
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise DamagedError(
                "a command cannot be what it says", hint=MALFORMED, blob=blob, reason=repr(error)
            ) from None
        for command, outcome in zip(commit.commands, outcomes, strict=True):
            if outcome.reason is None and self._shows(command, outcome):
                self.changed = (commit.seq, commit.crc32)
                break
        return outcomes

    def is_quiet(self, commit: Commit) -> bool:
        """Whether readers surely see the same after the next commit as before it."""
        return all(
            self._is_quiet(command) or self.has_folded(command["session"], command["counter"])
            for command in commit.commands
        )

    def _is_quiet(self, command: Command) -> bool:
        """Whether the next command surely changes nothing that readers see."""
        return command["kind"] in self.quiet

    def _shows(self, command: Command, outcome: Outcome) -> bool:
        """Whether readers see what a command did that took effect."""
        return command["kind"] not in self.quiet

    def has_folded(self, session: str, counter: int) -> bool:
        """Whether this command, and all before it, of a session is in the journal."""
        seen = self.sessions.get(session)
        return seen is not None and bool(counter <= seen[0])

    def _once(self, command: Command) -> Outcome:
        session, counter = command["session"], command["counter"]
        if command["at"] > self.latest_at:
            self.latest_at = command["at"]
        seen = self.sessions.get(session)
        if seen is None:
            if not command.get("opens") or command["at"] < self.retired_before:
                return refused("session expired", session=session)
            self.sessions[session] = [counter, command["at"]]
        elif counter <= seen[0]:
            return ALREADY
        else:
            seen[0], seen[1] = counter, command["at"]
        handler = self.handlers.get(command["kind"])
        return accepted() if handler is None else handler(command)

    def _document(self, command: Command) -> Outcome:
        name, expected = command["name"], command["revision"]
        revision, _ = self.documents.get(name, (0, None))
        if expected is not None and expected != revision:
            return refused("stale revision", document=name, revision=revision, expected=expected)
        if command["value"] is None:
            # The name is kept, so that a revision is never used again for another value.
            self.documents[name] = (revision + 1, None)
        else:
            self.documents[name] = (revision + 1, command["value"])
        return accepted(revision + 1)

    def _retire_sessions(self, command: Command) -> Outcome:
        idle = [session for session, (_, at) in self.sessions.items() if at < command["before"]]
        idle = [session for session in idle if session != command["session"] and not self.is_busy(session)]
        for session in idle:
            del self.sessions[session]
        self.retired_before = max(self.retired_before, command["before"])
        return accepted(len(idle))

    def is_busy(self, session: str) -> bool:
        """Whether the session holds something that only it can finish."""
        return False

    def size(self) -> int:
        """About how many lines a checkpoint has."""
        return 1

    def dump(self) -> list[Any]:
        """The whole state as JSON values, one a line of a checkpoint; the first line is a dict."""
        documents = {name: list(entry) for name, entry in self.documents.items()}
        head = {"changed": list(self.changed), "latest_at": self.latest_at, "sessions": self.sessions}
        return [{**head, "retired_before": self.retired_before, "documents": documents}]

    def load(self, lines: list[Any]) -> None:
        """Become the state that `dump` wrote."""
        head: Mapping[str, Any] = lines[0]
        seq, crc32 = head["changed"]
        self.changed, self.latest_at = (seq, crc32), head["latest_at"]
        self.sessions = dict(head["sessions"])
        self.retired_before = head["retired_before"]
        self.documents = {name: (revision, value) for name, (revision, value) in head["documents"].items()}
