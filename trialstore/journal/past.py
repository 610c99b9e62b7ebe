"""A journal's state as it was, folded anew from what is kept of its history."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trialstore.journal.checkpoint import Checkpoints
from trialstore.journal.commit import Commit, decode_commit
from trialstore.journal.log import Log
from trialstore.journal.machine import Machine
from trialstore.model.errors import BlobNotFoundError, DamagedError, SnapshotNotFoundError

__all__ = ["state_after", "state_before"]

MachineT = TypeVar("MachineT", bound=Machine)


def state_after(
    log: Log, checkpoints: Checkpoints, make: Callable[[], MachineT], seq: int, *, settle: bool = False
) -> MachineT:
    """The state after the commit of a sequence number; -1 is before the first.

    Args:
        log: The journal's commits.
        checkpoints: Its checkpoints.
        make: Makes the empty state.
        seq: The sequence number.
        settle: Go on over commits that readers do not notice, as far as there are any: the same rows, in the files of
            later compactions.

    Raises:
        SnapshotNotFoundError: history of that number is no longer kept, or there is no such commit yet.
        DamagedError: a commit is missing or is not what was written.
    """
    machine = checkpoints.load(make, seq)
    for blob, data in log.read_after(machine.seq, None if settle else seq):
        commit = decode_commit(data, blob)
        if machine.seq >= seq and not machine.is_quiet(commit):
            return machine
        machine.fold(commit, blob)
    if machine.seq < seq:
        _require_end(log, checkpoints, machine, seq)
        raise SnapshotNotFoundError(
            "the journal has no commit of this number yet",
            hint="the sequence number may be of another store, or of commits that were lost",
            journal=log.name,
            asked=seq,
            last=machine.seq,
        )
    return machine


def state_before(log: Log, checkpoints: Checkpoints, make: Callable[[], MachineT], moment: str) -> MachineT:
    """The state before the first commit with a command of this stored time or a later one, by its writer's clock.

    What readers do not notice may be in it though it was committed later.

    Raises:
        SnapshotNotFoundError: history of that time is no longer kept.
        DamagedError: a commit is missing or is not what was written.
    """
    machine = _base(log, checkpoints, make, moment)
    reached = False
    for blob, data in log.read_after(machine.seq):
        commit = decode_commit(data, blob)
        reached = reached or _reaches(commit, moment)
        if reached and not machine.is_quiet(commit):
            return machine
        machine.fold(commit, blob)
    _require_end(log, checkpoints, machine, moment)
    return machine


def _reaches(commit: Commit, moment: str) -> bool:
    return any(command["at"] >= moment for command in commit.commands)


def _base(log: Log, checkpoints: Checkpoints, make: Callable[[], MachineT], moment: str) -> MachineT:
    """The newest state that is kept and has nothing of that time or later in it."""
    for key in reversed(checkpoints.keys()):
        try:
            machine = checkpoints.read(key, make)
        except (DamagedError, BlobNotFoundError):
            continue
        if machine.latest_at < moment:
            return machine
    if log.read(0) is None and next(log.commits(), None) is not None:
        raise _forgotten(log, checkpoints, moment)
    return make()


def _require_end(log: Log, checkpoints: Checkpoints, machine: Machine, asked: int | str) -> None:
    """See that there is nothing behind the state because nothing came, not because it was deleted or lost."""
    if checkpoints.newest_seq() > machine.seq:
        raise _forgotten(log, checkpoints, asked)
    for _ in log.read_after(machine.seq, machine.seq + 1, ahead=True):
        pass


def _forgotten(log: Log, checkpoints: Checkpoints, asked: int | str) -> SnapshotNotFoundError:
    kept = [checkpoints.seq_of(key) for key in checkpoints.keys()]  # noqa: SIM118 - it is no mapping
    return SnapshotNotFoundError(
        "history of that time is no longer kept",
        hint="ask for a later time or sequence number; a store keeps the history of its retention",
        journal=log.name,
        asked=asked,
        oldest_kept=min((seq for seq in kept if log.read(seq) is not None), default=None),
    )
