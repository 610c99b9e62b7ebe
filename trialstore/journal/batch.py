"""Commands on their way into a commit: who waits for them, and which went out together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialstore.journal.commit import Command
from trialstore.journal.machine import ALREADY, Outcome
from trialstore.model.times import now_text

__all__ = ["COMMIT_LIMIT_BYTES", "Batch", "Draft", "Entry", "joined", "outcomes_of"]

COMMIT_LIMIT_BYTES = 24 << 20
"""Most bytes of command lines in a commit: below what every backend creates in one conditional request."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A command before it has a session, a counter and a time.

    Attributes:
        kind: Name of the command.
        fields: Its body, in plain JSON form.
    """

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)


class Entry:
    """Commands that one caller handed in together, and what became of them."""

    __slots__ = ("at", "done", "drafts", "error", "force", "outcomes", "waited_for")

    def __init__(self, drafts: Sequence[Draft], waited_for: bool, force: bool = True) -> None:
        self.drafts = drafts
        self.at = now_text()
        self.waited_for = waited_for
        self.force = force
        self.outcomes: list[Outcome] = []
        self.error: BaseException | None = None
        self.done = False


@dataclass(slots=True)
class Batch:
    """What goes out in one commit. It keeps its counters however often it is sent, so it counts once.

    Attributes:
        commands: What `lines` decode to.
        posted: Whether another process may take it along.
        exposed: Whether it may be in the journal, or come there, without this process having seen it. Its counters
            must then never stand for other commands.
        drops: How often the replica had left out commits when it first looked for this; negative before.
        is_untraceable: Whether nobody can tell any more whether it is in the journal: the commits are deleted, and the
            session is forgotten.
    """

    entries: list[Entry]
    session: str
    first: int
    last: int
    lines: bytes
    commands: list[Command]
    posted: bool = False
    exposed: bool = False
    drops: int = -1
    is_untraceable: bool = False

    @property
    def force(self) -> bool:
        """Whether anybody needs it on the disk, and not only in the journal."""
        return any(entry.force for entry in self.entries)

    @property
    def name(self) -> str:
        """Unique among all batches of all processes: its session, and its first and last counter."""
        return f"{self.session}-{self.first}-{self.last}"


def outcomes_of(batch: Batch, commands: list[Command], outcomes: list[Outcome]) -> list[Outcome] | None:
    """The outcomes of a batch that an earlier attempt put into a commit after all.

    None when the commit says nothing of them: also when the batch counted before, and was sent once more.
    """
    mine = [
        outcome
        for command, outcome in zip(commands, outcomes, strict=True)
        if command["session"] == batch.session and batch.first <= command["counter"] <= batch.last
    ]
    return None if all(outcome is ALREADY for outcome in mine) else mine


def joined(batch: Batch, others: Mapping[str, bytes]) -> tuple[bytes, list[str]]:
    """The lines of one commit, what others posted first, and the keys of what is in it."""
    size = len(batch.lines)
    chosen: list[bytes] = []
    keys: list[str] = []
    for key, lines in others.items():
        if lines == batch.lines:
            keys.append(key)
        elif size + len(lines) <= COMMIT_LIMIT_BYTES:
            keys.append(key)
            chosen.append(lines)
            size += len(lines)
    return b"".join([*chosen, batch.lines]), keys
