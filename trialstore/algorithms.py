"""The algorithm of an experiment: one session at a time has it, with its state, and gives it back changed or as it was.

The lock is a document of the experiment that is changed by compare-and-set. Its revision is the fence: whoever lost
the lock finds another one when it comes back, and writes nothing.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trialstore.artifacts.store import Artifact, blob_folder, load, put
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.model.codec import decode, encode, pack, unpack
from trialstore.model.damage import as_damage
from trialstore.model.errors import (
    ConflictError,
    LockAcquisitionTimeout,
    LostLockError,
    OutcomeUnknownError,
    StaleRevisionError,
    UsageError,
)
from trialstore.model.identity import new_ulid
from trialstore.model.times import now_text, parse_time

__all__ = ["DOCUMENT", "AlgorithmLock", "LockInfo", "LockedAlgorithm", "lock_of"]

DOCUMENT = "trialstore.algorithm"
"""The document that holds the lock."""

INLINE_BYTES = 4096
"""A larger state is an artifact, so that the journal does not carry it."""

NAME = "algorithm/state"
"""Name of the artifact, which is of no trial."""

Rows = list[list[Any]]
"""Rows of the artifacts table."""

_NO_TRIAL = -1
_SESSION = re.compile(r"[0-9A-Za-z_-]{1,64}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LockInfo:
    """What the store says of an algorithm and its lock.

    Attributes:
        configuration: The algorithm's, as it was when the lock was made.
        state: The state that was last given back, None before the first.
        locked: Whether a session has it.
        worker: Host and process of that session, None when nobody has it.
        fence: Grows with everything that happens to the lock.
    """

    configuration: Any
    state: Any
    locked: bool
    worker: str | None
    fence: int


class LockedAlgorithm:
    """An algorithm's state while this session has the lock.

    Attributes:
        configuration: The algorithm's configuration.
        state: What the algorithm knows; None at first. `set_state` changes it.
        fence: A number that grows with every holder: who checks it elsewhere tells a holder from an earlier one.
    """

    def __init__(self, configuration: Any, state: Any, fence: int) -> None:
        self.configuration = configuration
        self.fence = fence
        self._original = self._state = state
        self.changed = False

    @property
    def state(self) -> Any:
        """What the algorithm knows."""
        return self._state

    @state.setter
    def state(self, state: Any) -> None:
        self.set_state(state)

    def set_state(self, state: Any) -> None:
        """Replace the state; it is stored when the block ends without an exception."""
        self._state = state
        self.changed = True

    def reset(self) -> None:
        """Take the state back to what it was when the lock was acquired."""
        self._state = self._original
        self.changed = False


class AlgorithmLock:
    """The lock of one experiment's algorithm, as this session sees it.

    Guarantees: one holder at a time, over all processes and machines. A holder that dies loses the lock when its lease
    runs out, as its trials do; one that was merely slow, and lost it, cannot overwrite what a later holder stored.

    Args:
        ledger: Of the experiment.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._cached: tuple[str, bytes] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return lock_of, (self._ledger,)

    def initialize(self, configuration: Any, state: Any = None) -> bool:
        """Make the lock, free, with a first state; whether there was none.

        Args:
            configuration: The algorithm's, which `acquire` hands out.
            state: Any value that `trialstore.model.codec` encodes; bytes for one that only its owner understands.
        """
        revision, body = self._read()
        if body is not None:
            return False
        fields, rows = self._stored(state, {})
        try:
            self._write(revision, {}, {"configuration": configuration, **fields, "holder": None}, rows)
        except StaleRevisionError:
            return False
        return True

    def info(self) -> LockInfo | None:
        """What the store says of it; None when it was never made, or was deleted."""
        revision, body = self._read()
        if body is None:
            return None
        holder = body["holder"]
        worker = None if holder is None else str(holder["worker"])
        return LockInfo(body["configuration"], self._state(body), holder is not None, worker, revision)

    @contextmanager
    def acquire(self, timeout: float = 60, retry_interval: float = 1) -> Iterator[LockedAlgorithm]:
        """Hold the lock for the length of a with-block, and store the state that the block leaves.

        Nothing is stored when the block raises: the state is what it was before.

        Args:
            timeout: Seconds to wait for another holder. Once it is held, it is held for as long as the block takes.
            retry_interval: Seconds between looks.

        Raises:
            LockAcquisitionTimeout: another session had it all the time, or there is no lock.
            LostLockError: the block ended, and meanwhile the lease ran out or somebody released the lock by force;
                the state was not stored.

        Cost: two commits; reading the state where this process does not know it, and one write when it was changed and
        is large.
        """
        if timeout < 0 or retry_interval < 0:
            raise UsageError("a time to wait cannot be negative", timeout=timeout, retry_interval=retry_interval)
        ledger = self._ledger
        ledger.require_writable()
        ledger.session.lease(ledger.key)
        revision, body = self._wait(timeout, retry_interval)
        ledger.session.hold(ledger.key)
        try:
            try:
                held = LockedAlgorithm(body["configuration"], self._state(body), revision)
                yield held
                fields, rows = self._stored(held.state, body) if held.changed else ({}, [])
            except BaseException:
                self._give_back_after_failure(revision, body)
                raise
            self._give_back(revision, body, {**body, **fields, "holder": None}, rows)
        finally:
            ledger.session.let_go(ledger.key)

    def release(self, state: Any = ...) -> bool:
        """Free the lock whoever holds it; whether somebody did. The holder finds out when its block ends.

        Args:
            state: What the state becomes; as it is by default.
        """
        while True:
            revision, body = self._read()
            if body is None or (body["holder"] is None and state is ...):
                return False
            fields, rows = ({}, []) if state is ... else self._stored(state, body)
            try:
                self._write(revision, body, {**body, **fields, "holder": None}, rows)
            except StaleRevisionError:
                continue
            return body["holder"] is not None

    def delete(self) -> bool:
        """Forget the lock and the state; whether there was one."""
        revision, body = self._read()
        while body is not None:
            known = _artifact(body)
            ids = [item for item in (body["previous"], None if known is None else known.id) if item is not None]
            try:
                self._set(revision, None)
            except StaleRevisionError:
                revision, body = self._read()
                continue
            if ids:
                self._ledger.execute(Draft("remove_artifacts", {"ids": ids}))
            return True
        return False

    def _wait(self, timeout: float, retry_interval: float) -> tuple[int, dict[str, Any]]:
        """The revision under which this session has the lock, and what the store says of it."""
        ledger, token = self._ledger, new_ulid()
        deadline = time.monotonic() + timeout
        next_look = 0.0
        while True:
            revision, body = self._read()
            if body is not None:
                holder = body["holder"]
                if holder is not None and holder["token"] == token:
                    return revision, body  # the answer to an earlier try was lost
                if holder is not None and time.monotonic() >= next_look:
                    next_look = time.monotonic() + ledger.session.options.lease_s / 5
                    holder = None if self._is_orphan(body) else holder
                if holder is None:
                    mine = {"session": ledger.session.id.current(), "worker": ledger.session.worker}
                    taken = {**body, "holder": {**mine, "token": token, "at": now_text()}}
                    try:
                        return self._write(revision, body, taken, []), taken
                    except (StaleRevisionError, OutcomeUnknownError):
                        pass  # look again: somebody was first, or it is ours
            left = deadline - time.monotonic()
            if left <= 0:
                worker = None if body is None or body["holder"] is None else body["holder"]["worker"]
                raise LockAcquisitionTimeout(
                    "algorithm is locked" if body is not None else "experiment has no algorithm lock",
                    hint="wait longer, or release the lock by force when its worker is known to be gone"
                    if body is not None
                    else "initialize it first",
                    experiment=ledger.entry.name,
                    worker=worker,
                    timeout=timeout,
                )
            threading.Event().wait(min(retry_interval, left))

    def _is_orphan(self, body: Mapping[str, Any]) -> bool:
        """Whether the session that has the lock is gone."""
        holder = body["holder"]
        if holder is None:
            return False
        session = str(holder["session"])
        return session in self._ledger.session.leases.gone(self._ledger.key, {session: str(holder["at"])})

    def _give_back(self, revision: int, old: Mapping[str, Any], new: dict[str, Any], rows: Rows) -> None:
        try:
            self._write(revision, old, new, rows)
        except StaleRevisionError as error:
            raise LostLockError(
                "the algorithm is no longer locked by this session",
                hint="its state is what a later holder left: do it again under a new lock",
                experiment=self._ledger.entry.name,
                fence=revision,
                current_fence=error.facts.get("revision"),
            ) from None

    def _give_back_after_failure(self, revision: int, body: dict[str, Any]) -> None:
        try:
            self._write(revision, body, {**body, "holder": None}, [])
        except ConflictError:
            _log.warning("the lock of %r was lost before it could be released", self._ledger.entry.name)

    # What is stored

    def _read(self) -> tuple[int, dict[str, Any] | None]:
        with self._ledger.journal.view() as state:
            revision, packed = state.documents.get(DOCUMENT, (0, None))
        if packed is None:
            return revision, None
        with as_damage("the lock of the algorithm", experiment=self._ledger.entry.name):
            return revision, _checked(unpack(packed), blob_folder(self._ledger.key))

    def _write(self, revision: int, old: Mapping[str, Any], new: dict[str, Any], rows: Rows) -> int:
        """Change the lock, and the rows of the state's artifacts with it; returns the new revision."""
        drafts = [Draft("rows", {"table": "artifacts", "rows": rows})] if rows else []
        forgotten = old.get("previous")
        if forgotten is not None and new["previous"] != forgotten:
            # Nothing has named it since the change before this one, so it may go whatever becomes of this one.
            drafts.append(Draft("remove_artifacts", {"ids": [forgotten]}))
        try:
            return self._set(revision, new, *drafts)
        except StaleRevisionError:
            if rows:
                self._ledger.execute(Draft("remove_artifacts", {"ids": [row[-1] for row in rows]}))
            raise

    def _set(self, revision: int, body: dict[str, Any] | None, *drafts: Draft) -> int:
        fields = {"name": DOCUMENT, "value": pack(body, DOCUMENT), "revision": revision}
        outcome = self._ledger.execute(*drafts, Draft("document", fields))[-1]
        if outcome.reason is not None:
            self._ledger.refuse(outcome)
        new: int = outcome.value
        return new

    def _stored(self, state: Any, body: Mapping[str, Any]) -> tuple[dict[str, Any], Rows]:
        """What the lock says of a state, and the rows that go with it; a large one is written first."""
        ledger = self._ledger
        ledger.require_writable()
        known = _artifact(body)
        previous = {"previous": body.get("previous") if known is None else known.id}
        data = state if isinstance(state, bytes) else encode(state)
        if len(data) <= INLINE_BYTES:
            return {"state": {"value": state}, **previous}, []
        digest = hashlib.sha256(data).hexdigest()
        if known is not None and known.sha256 == digest:
            return {}, []
        with ledger.journal.view() as seen:
            retired = set(seen.manifest.retired_blobs)
        stored = put(ledger.blobs, ledger.key, _NO_TRIAL, 0, NAME, data, loader="bytes", retired=retired)
        self._cached = (digest, data)
        form = "bytes" if isinstance(state, bytes) else "value"
        return {"state": {"form": form, "row": stored.row()}, **previous}, [stored.row()]

    def _state(self, body: Mapping[str, Any]) -> Any:
        stored = body["state"]
        artifact = _artifact(body)
        if artifact is None:
            return stored["value"]
        cached = self._cached
        if cached is None or cached[0] != artifact.sha256:
            cached = self._cached = (artifact.sha256, load(self._ledger.blobs, artifact, "bytes"))
        return cached[1] if stored["form"] == "bytes" else decode(cached[1])


def _checked(body: Any, folder: str) -> dict[str, Any]:
    """The lock that a document says, when it can be one; anything else raises."""
    lock = {name: body[name] for name in ("configuration", "state", "previous", "holder")}
    artifact, holder, before = _artifact(lock), lock["holder"], lock["previous"]
    if artifact is None:
        lock["state"]["value"]
    elif not artifact.path.startswith(folder) or lock["state"]["form"] not in ("bytes", "value"):
        raise ValueError("its state is none of the experiment's")
    if holder is not None:
        parse_time(holder["at"])
        if not _SESSION.fullmatch(holder["session"]) or {type(holder[name]) for name in ("token", "worker")} != {str}:
            raise ValueError("its holder is no session")
    if before is not None and type(before) is not str:
        raise ValueError("what it names is no artifact")
    return lock


def _artifact(body: Mapping[str, Any]) -> Artifact | None:
    """Where a large state is; None for one that stands in the lock itself."""
    row = body.get("state", {}).get("row")
    return None if row is None else Artifact(*row)


def lock_of(ledger: Ledger) -> AlgorithmLock:
    """The one handle of this session on an experiment's lock, which remembers the state that it last saw."""
    lock: AlgorithmLock = ledger.session.writer(f"algorithm of experiment={ledger.key}", lambda: AlgorithmLock(ledger))
    return lock
