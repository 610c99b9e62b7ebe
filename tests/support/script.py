"""Commands of several sessions, folded one commit at a time; what the tests of the folds are written in."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from trialstore.journal.commit import decode_commit, encode_commands, encode_commit
from trialstore.journal.machine import Machine, Outcome
from trialstore.model.identity import params_hash
from trialstore.model.part import Part
from trialstore.model.ranges import ranges_of
from trialstore.model.times import format_time

_START = datetime(2026, 1, 1, tzinfo=UTC)
MachineT = TypeVar("MachineT", bound=Machine)


def second(number: float) -> str:
    """The stored time so many seconds after the start of the tests."""
    return format_time(_START + timedelta(seconds=number))


def trial_body(name: str = "t", **fields: Any) -> dict[str, Any]:
    """A trial as `register` takes it."""
    return {"id": params_hash({"name": name}), "params": {"name": name}, **fields}


def part_body(part_id: str, table: str, trials: list[int], rows: int, seq: int = -1) -> dict[str, Any]:
    """What the journal says of a part."""
    return Part(part_id, table, rows, rows * 10, 7, ranges_of(trials), seq).to_json()


class Script(Generic[MachineT]):
    """Folds commands into a state, as bytes that are encoded and decoded on the way."""

    def __init__(self, machine: MachineT) -> None:
        self.machine = machine
        self.blobs: list[bytes] = []
        self.now = 0.0
        self._counters: Counter[str] = Counter()

    def command(self, kind: str, session: str = "A", at: float | None = None, **fields: Any) -> dict[str, Any]:
        """The next command of a session."""
        self._counters[session] += 1
        self.now += 1
        time = second(self.now if at is None else at)
        return {
            "session": session,
            "counter": self._counters[session],
            "at": time,
            "kind": kind,
            "opens": True,
        } | fields

    def commit(self, *commands: dict[str, Any]) -> list[Outcome]:
        """Fold one commit."""
        seq = self.machine.seq + 1
        data, _ = encode_commit(seq, self.machine.crc32, encode_commands(commands))
        self.blobs.append(data)
        return self.machine.fold(decode_commit(data, f"{seq}"), f"{seq}")

    def do(self, kind: str, session: str = "A", at: float | None = None, **fields: Any) -> Outcome:
        """Fold one command in a commit of its own."""
        return self.commit(self.command(kind, session, at, **fields))[0]
