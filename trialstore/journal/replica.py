"""This process's copy of a journal's state: folded from what is in storage, and never ahead of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from trialstore.journal.batch import Batch, outcomes_of
from trialstore.journal.checkpoint import Checkpoints
from trialstore.journal.commit import Command, Commit, decode_commit
from trialstore.journal.log import Log
from trialstore.journal.machine import ALREADY, Machine, Outcome
from trialstore.journal.past import state_after, state_before
from trialstore.journal.retention import Watch
from trialstore.model.errors import (
    DamagedError,
    OutcomeUnknownError,
    StoreUnavailableError,
)

__all__ = ["Replica"]

CHECKPOINT_EVERY = 1024
ROUND_EVERY = 256
"""Whoever commits a multiple of this does a round of maintenance."""

_LOOKS = 10
_SERVED_S = 1.0

MachineT = TypeVar("MachineT", bound=Machine)


class Replica(Generic[MachineT]):
    """The state, and how it keeps up. Its methods must be called by one thread at a time.

    Attributes:
        log: Where commits are.
        crowd: About how many sessions a commit carries lately.
        round_is_due: Whether this process committed a round sequence number; who does the round resets it.
        served_until: Until when another process is expected to commit what is posted, by the monotonic clock.

    Args:
        log: Where commits are.
        checkpoints: Where checkpoints are.
        make: Makes the empty state.
        notice: Told the commands of every commit that is folded, and their outcomes.
    """

    def __init__(
        self,
        log: Log,
        checkpoints: Checkpoints,
        make: Callable[[], MachineT],
        notice: Callable[[list[Command], list[Outcome]], None],
    ) -> None:
        self.log = log
        self.crowd = 1.0
        self.served_until = 0.0
        self._checkpoints = checkpoints
        self._make = make
        self._notice = notice
        self._machine: MachineT | None = None
        self._watch = Watch(checkpoints.retention_s)
        self._reaches = -1
        self._is_checked = False
        self._base: tuple[int, int] | None = None
        self._drops = 0
        self._was_serving = False
        self.round_is_due = False

    @property
    def is_loaded(self) -> bool:
        """Whether the state was read at all."""
        return self._machine is not None

    def state(self) -> MachineT:
        """The state as this process knows it, loaded when it is first asked for."""
        if self._machine is None:
            started = self._watch.start()
            self._machine, self._reaches = self._checkpoints.load_newest(self._make)
            self._watch.finish(started)  # no later checkpoint was there, so what comes next was not deleted
            self._is_checked = False
            self._base = (self._machine.seq, self._machine.crc32) if self._machine.seq >= 0 else None
        return self._machine

    def refresh(self, mine: Batch | None = None) -> list[Outcome] | None:
        """Fold what is new; the outcomes of `mine` when it turns out to be among it.

        Guarantees: what is folded is the history, and all of it up to the end at the time of the call, also when the
        process was suspended for longer than commits are kept (see `trialstore.journal.retention`).

        Raises:
            DamagedError: a commit is missing or is not what was written, and no checkpoint makes up for it.
            OutcomeUnknownError: `mine` is in the journal, and what became of it can no longer be read.
        """
        found = None
        if mine is not None and mine.drops < 0:
            mine.drops = self._drops
        for _ in range(_LOOKS):
            started = self._watch.start()
            if self._watch.is_old_at(started):
                self._drop_if_overtaken()
            try:
                for blob, data in self.log.read_after(self.state().seq, ahead=not self._is_checked):
                    if self._watch.is_over(started):
                        break  # suspended meanwhile: it may have been read from a number that was free again
                    outcomes = self.fold(blob, data, mine)
                    if self._was_serving:
                        self.served_until = time.monotonic() + _SERVED_S
                    found = outcomes if found is None else found
            except DamagedError:
                if not self._watch.is_over(started):
                    raise  # else what is missing may have been deleted meanwhile, as it should
            if not self._watch.is_over(started):
                self._watch.finish(started)
                self._check()
                if found is None and mine is not None and mine.entries:
                    found = self._passed_over(mine)
                return found
        raise StoreUnavailableError("the journal could not be read in time", hint="try again")

    def catch_up(self, mine: Batch) -> list[Outcome] | None:
        """Look before a put whether the next number is surely free, unless that is known."""
        return self.refresh(mine) if self._watch.is_old or not self._is_checked else None

    def stands(self, seq: int, crc32: int) -> bool:
        """Whether the commit that this process has just created is part of the history; if not, it is removed.

        It is not when the process was suspended for so long that the number had been used, and deleted, before.
        """
        if not self._watch.is_old or self._checkpoints.newest_seq() <= seq:
            return True
        after = self.log.read(seq + 1)
        if after is not None and decode_commit(after, self.log.blob(seq + 1)).previous == crc32:
            return True
        self.log.remove(seq)
        return False

    def _drop_if_overtaken(self) -> None:
        """Forget the state when a checkpoint is newer: commits after the state may be deleted, or not genuine."""
        if self._machine is not None and self._checkpoints.newest_seq() > self._machine.seq:
            self._machine = None
            self._drops += 1

    def _check(self) -> None:
        """See once for each state that was loaded that nothing is missing behind its end."""
        machine = self.state()
        if self._is_checked:
            return
        self._check_base()
        beyond = None
        if machine.seq < self._reaches:
            beyond = f"checkpoint {self._reaches}"
        elif machine.seq < 0:
            oldest = next((info.key for info in self.log.commits()), None)
            # The first commit of all may have come since it was looked for.
            beyond = None if oldest == self.log.blob(0) else oldest
        if beyond is not None:
            self._machine = None
            raise DamagedError(
                "the journal ends too early",
                hint="restore its commits, or a checkpoint, from a copy of the store",
                missing=self.log.blob(machine.seq + 1),
                there_is=beyond,
            )
        self._is_checked = True

    def _check_base(self) -> None:
        """See that the commit which the checkpoint names is the journal's: else files of two stores were mixed."""
        if self._base is None:
            return
        seq, crc32 = self._base
        named = self.log.read(seq)
        if named is not None and decode_commit(named, self.log.blob(seq)).crc32 != crc32:
            self._machine = None
            raise DamagedError(
                "commit does not continue into the checkpoint that names it",
                hint="files of two stores were mixed: restore the journal from one copy",
                blob=self.log.blob(seq),
                crc32=f"{crc32:08x}",
            )

    def _passed_over(self, mine: Batch) -> list[Outcome] | None:
        """What to say of a batch that is in the part of the journal that came with a checkpoint and was not folded."""
        if not self.state().has_folded(mine.session, mine.last):
            if mine.exposed and mine.session not in self.state().sessions and self._drops != mine.drops:
                mine.is_untraceable, mine.drops = True, self._drops
                raise OutcomeUnknownError(
                    "this process was suspended for so long that the store forgot it, with a commit on its way",
                    hint="look at the trials before trying again",
                )
            return None
        if any(entry.waited_for and not entry.done for entry in mine.entries):
            raise OutcomeUnknownError(
                "the commit was made, and this process came too late to learn its outcome",
                hint="look at the trials before trying again",
            )
        return [ALREADY] * sum(len(entry.drafts) for entry in mine.entries)

    def fold(self, blob: str, data: bytes, mine: Batch | None = None) -> list[Outcome] | None:
        """Fold the next commit from its bytes; the outcomes of `mine` when it is in there."""
        return self.take(decode_commit(data, blob), blob, mine)

    def take(self, commit: Commit, blob: str, mine: Batch | None = None) -> list[Outcome] | None:
        """Fold the next commit; the outcomes of `mine` when it is in there."""
        machine = self.state()
        try:
            outcomes = machine.fold(commit, blob)
        except BaseException:
            self._machine = None  # it may be half folded: the next look starts from a checkpoint
            raise
        self.crowd += 0.3 * (len({command["session"] for command in commit.commands}) - self.crowd)
        self._was_serving = commit.serving
        self._notice(commit.commands, outcomes)
        return None if mine is None else outcomes_of(mine, commit.commands, outcomes)

    def at(self, until: int | str, settle: bool) -> MachineT:
        """A state of its own as it was; see `Journal.at`."""
        if isinstance(until, int):
            return state_after(self.log, self._checkpoints, self._make, until, settle=settle)
        return state_before(self.log, self._checkpoints, self._make, until)

    def checkpoint(self) -> str:
        """Write a checkpoint of the state; returns its blob's key."""
        machine = self.state()
        self.log.force()  # else a crash could leave it without the commits that it tells of
        return self._checkpoints.write(machine)

    def checkpoint_if_due(self) -> None:
        """Write a checkpoint when the sequence number is round; the larger the state, the rounder it must be."""
        machine = self.state()
        if not (machine.seq + 1) % ROUND_EVERY:
            self.round_is_due = True
        if (machine.seq + 1) % CHECKPOINT_EVERY:
            return
        step = CHECKPOINT_EVERY
        while step * 4 < machine.size():
            step *= 2
        if (machine.seq + 1) % step == 0:
            self.checkpoint()
