"""How a batch of commands gets into the log, alone or in a crowd.

Three ways, by what the backend and the moment are like:

- *in turn*, where reads are cheap and a lock of the machine works: one process commits at a time, for all that wait.
- *race*: put the next sequence number, and try again after whoever was first. Best for few writers.
- *together*, on a bucket with many writers: commands are posted to the inbox, and one process at a time serves all. A
  process that committed for others goes on to do so in the background as long as there is something, listing the next
  commands while the last ones are on their way. When nobody serves, those that wait take turns by chance.

None of them is needed for a commit to count once, or for the order to be one: the log and the fold see to that.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from trialstore.journal.batch import Batch, joined
from trialstore.journal.commit import Commit, decode_commands, encode_commit
from trialstore.journal.log import Log
from trialstore.journal.machine import Outcome
from trialstore.journal.replica import Replica
from trialstore.model.errors import OutcomeUnknownError, StoreUnavailableError, TrialStoreError

__all__ = ["Sender", "tidy"]

_PATIENCE_S = 60.0
_TURN_PATIENCE_S = 1.0
_TURN_PAUSE_S = 0.001
_ALONE = 1.1
"""Below so many sessions a commit a process takes it that nobody else commits."""

_CROWDED_S = 10.0
"""For so long after the last lost race a process leaves its commands to be taken along."""

_LEADERS = 1.5
"""How many of the processes that wait shall try to commit for all at once, when nobody serves."""

_SERVE_S = 10.0
"""For so long a process serves the others in one go."""

_IDLE_ROUNDS = 4
"""After so many looks into an empty inbox it stops."""

_log = logging.getLogger(__name__)


class Sender:
    """Puts batches into the log of a replica.

    Args:
        replica: The state to keep up with.
        lock: Held by whoever calls, and by the background thread while it commits.
        background: Whether this process may serve others in a thread of its own.
    """

    def __init__(self, replica: Replica[Any], lock: threading.RLock, background: bool) -> None:
        self._replica = replica
        self._log: Log = replica.log
        self._lock = lock
        self._background = background
        self._crowded_until = 0.0
        self._cycle_s = 0.1
        self._serving = False
        self._listing: Future[dict[str, bytes]] | None = None
        self._pool: ThreadPoolExecutor | None = None

    def send(self, batch: Batch) -> list[Outcome]:
        """Have the batch in the journal, and return the outcomes of its commands."""
        if self._log.reads_are_cheap:
            return self._in_turn(batch)
        if self._serving or time.monotonic() < self._crowded_until:
            return self._together(batch)
        return self._race(batch)

    # In turn

    def _in_turn(self, batch: Batch) -> list[Outcome]:
        give_up_at = time.monotonic() + _TURN_PATIENCE_S
        while True:
            with self._log.guard() as my_turn:
                if my_turn or time.monotonic() > give_up_at:
                    return self._have_my_turn(batch)
            if not batch.posted:
                self._post(batch)
            self._log.wait(batch.name, random.uniform(0.5, 1.5) * _TURN_PAUSE_S * max(1.0, self._replica.crowd))
            outcomes = self._replica.refresh(batch)
            if outcomes is not None:
                return outcomes

    def _have_my_turn(self, batch: Batch) -> list[Outcome]:
        outcomes = None
        if batch.exposed or self._replica.crowd > _ALONE:
            outcomes = self._replica.refresh(batch)  # else the put itself tells whether somebody was first
        if outcomes is None:
            return self._race(batch, self._posted())
        if batch.posted:
            tidy(lambda: self._log.withdraw(batch.name))
        return outcomes

    # Race

    def _race(self, batch: Batch, others: Mapping[str, bytes] | None = None) -> list[Outcome]:
        give_up_at = time.monotonic() + _PATIENCE_S
        losses = 0
        while True:
            outcomes, unknown = self._attempt(batch, others or {})
            if outcomes is not None:
                return outcomes
            losses += 1
            if losses == 2 and unknown is None and not self._log.reads_are_cheap:
                self._crowded_until = time.monotonic() + _CROWDED_S
                return self._together(batch)
            if time.monotonic() > give_up_at:
                raise unknown or _too_crowded()
            if losses > 2 or unknown is not None:
                time.sleep(random.uniform(0, min(1.0, 0.002 * 2**losses)))

    def _attempt(
        self, batch: Batch, others: Mapping[str, bytes], serving: bool = False
    ) -> tuple[list[Outcome] | None, OutcomeUnknownError | None]:
        """Try one sequence number; the batch's outcomes when it is in the journal now, by whosever commit."""
        outcomes = self._replica.catch_up(batch)
        if outcomes is not None:
            return outcomes, None
        lines, taken = joined(batch, others)
        machine = self._replica.state()
        seq = machine.seq + 1
        data, crc32 = encode_commit(seq, machine.crc32, lines, serving)
        unknown: OutcomeUnknownError | None = None
        before, batch.exposed = batch.exposed, True
        created = False
        try:
            created = self._log.append(seq, data, force=batch.force or bool(taken))
        except OutcomeUnknownError as error:
            unknown = error
        except TrialStoreError:
            batch.exposed = before
            raise
        if created and self._replica.stands(seq, crc32):
            commands = decode_commands(lines) if taken else batch.commands
            commit = Commit(seq, machine.crc32, crc32, commands, serving)
            outcomes = self._replica.take(commit, self._log.blob(seq), batch)
            if taken:
                self._clear(taken)
            if outcomes is None and batch.entries:
                outcomes = self._replica.refresh(batch)  # it counted before, in a commit that is behind the state
            return outcomes or [], None
        outcomes = self._replica.refresh(batch)
        if outcomes is None and self._replica.state().seq >= seq:
            batch.exposed = batch.posted  # the number is another commit's, so a put on its way cannot arrive
        return outcomes, unknown

    def _clear(self, taken: list[str]) -> None:
        if self._pool is not None:
            self._pool.submit(tidy, lambda: self._log.clear(taken))
        else:
            tidy(lambda: self._log.clear(taken))

    # Together

    def _together(self, batch: Batch) -> list[Outcome]:
        give_up_at = time.monotonic() + _PATIENCE_S
        quiet_since = time.monotonic()
        lead = self._leads()
        if not lead:
            if not batch.posted:
                self._post(batch)
            lead = self._is_my_turn()
        while True:
            seq = self._replica.state().seq
            unknown: OutcomeUnknownError | None = None
            if lead:
                outcomes, unknown = self._round(batch)
            else:
                outcomes = self._replica.refresh(batch)
            if outcomes is not None:
                self._crowded_until = time.monotonic() + _CROWDED_S if self._replica.crowd > 1.5 else 0.0
                if lead and self._replica.crowd > 1.5:
                    self._start_serving()
                return outcomes
            now = time.monotonic()
            if now > give_up_at:
                raise unknown or _too_crowded()
            if self._replica.state().seq > seq:
                quiet_since, lead = now, self._leads() or self._is_my_turn()
            else:
                lead = self._leads() or now - quiet_since > self._cycle_s * random.uniform(2.0, 4.0)
            if not lead:
                time.sleep(self._cycle_s * random.uniform(0.05, 0.15))

    def _leads(self) -> bool:
        return self._serving and not self._is_served()

    def _is_my_turn(self) -> bool:
        return not self._is_served() and random.random() * self._replica.crowd < _LEADERS

    def _is_served(self) -> bool:
        """Whether another process was seen to commit for all just now."""
        return time.monotonic() < self._replica.served_until

    def _post(self, batch: Batch) -> None:
        self._replica.state()  # loaded before others may commit the batch, which a state loaded later would hide
        before, batch.exposed = batch.exposed, True
        try:
            self._log.post(batch.name, batch.lines)
        except OutcomeUnknownError:
            pass  # taken along or not: either way it is looked for
        except TrialStoreError:
            batch.exposed = before
            raise
        batch.posted = True

    def _posted(self) -> dict[str, bytes]:
        return self._log.posted(self._replica.state().has_folded)

    # Serving

    def _round(self, batch: Batch) -> tuple[list[Outcome] | None, OutcomeUnknownError | None]:
        """Commit the batch and what is posted; while that is on its way, look what is posted next."""
        started = time.monotonic()
        others = self._posted() if self._listing is None else self._listing.result()
        if self._serving and self._pool is not None:
            self._listing = self._pool.submit(self._posted)
        waiting = {key: lines for key, lines in others.items() if not self._log.is_cleared(key, self._replica.state())}
        if not batch.lines and not waiting:
            return None, None
        result = self._attempt(batch, waiting, serving=self._background)
        self._cycle_s += 0.2 * (time.monotonic() - started - self._cycle_s)
        return result

    def _start_serving(self) -> None:
        if self._background and not self._serving and not self._is_served():
            self._serving = True
            self._pool = ThreadPoolExecutor(2, thread_name_prefix="trialstore-inbox")
            threading.Thread(target=self._serve, name="trialstore-serve", daemon=True).start()

    def _serve(self) -> None:
        nobody = Batch([], "", 1, 0, b"", [])
        until, idle = time.monotonic() + _SERVE_S, 0
        try:
            while time.monotonic() < until and idle < _IDLE_ROUNDS and not self._is_served():
                if self._listing is not None:
                    self._listing.exception()  # wait for it without the lock
                with self._lock:
                    seq = self._replica.state().seq
                    self._round(nobody)
                    if self._replica.state().seq > seq:
                        idle = 0
                    else:
                        idle += 1
        except TrialStoreError as error:
            _log.warning("stopped committing for others: %s", error)
        except RuntimeError as error:
            _log.debug("stopped committing for others, the interpreter is ending: %s", error)
        finally:
            with self._lock:
                self._serving, self._listing = False, None
                pool, self._pool = self._pool, None
            if pool is not None:
                pool.shutdown(wait=False)


def tidy(step: Callable[[], object]) -> None:
    """Do what comes after a commit and is done again by whoever comes next, should it fail."""
    try:
        step()
    except TrialStoreError as error:
        _log.warning("could not tidy up after a commit: %s", error)


def _too_crowded() -> StoreUnavailableError:
    return StoreUnavailableError(
        "could not commit: other writers were always first", hint="try again", seconds=_PATIENCE_S
    )
