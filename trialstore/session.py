"""A process's presence in a store: its identity, its heartbeats, and the thread that keeps both going."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json, to_json

from trialstore.blobs.protocol import Blobs
from trialstore.blobs.reading import ReadingBlobs
from trialstore.blobs.resolve import BlobsSpec
from trialstore.chores import Chores
from trialstore.journal.retention import RETENTION_S
from trialstore.journal.session import SessionId
from trialstore.model.errors import BlobNotFoundError, ReadOnlyError, TrialStoreError
from trialstore.model.record import TrialRecord
from trialstore.model.times import now_text, parse_time

__all__ = ["Leases", "Options", "Session"]

_log = logging.getLogger(__name__)
_BEATS_A_LEASE = 5


class Options(BaseModel):
    """How a process uses a store. Nothing here changes what is stored.

    Args:
        mode: ``"rw"``, or ``"r"`` to never write.
        durability: ``"machine"``: a returned call survives the machine's crash. ``"process"``: it survives the
            process, and what the operating system had not written is lost with the machine. Object stores are
            always durable.
        lease_s: Seconds after a worker's last heartbeat at which its trials count as lost. A heartbeat is written
            five times a lease.
        linger_s: Longest time in seconds that a report waits in memory before it is committed.
        maintenance: Whether this process looks after the store in the background: whoever finishes a round number of
            trials moves them into Parquet parts and merges small ones, and whoever makes a round number of commits
            deletes history that is older than the retention, and garbage. Bounded, and never waited for, except when
            the store is closed, ten seconds at the most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    mode: Literal["r", "rw"] = "rw"
    durability: Literal["machine", "process"] = "machine"
    lease_s: float = Field(default=300.0, gt=0, le=86400 * 30)
    linger_s: float = Field(default=5.0, gt=0, le=3600)
    maintenance: bool = True


class _Lingering(Protocol):
    @property
    def has_waiting(self) -> bool: ...

    def flush_lingering(self) -> None: ...


class Leases:
    """Heartbeat blobs: one a session and experiment, aged by the backend's clock alone.

    Guarantees: a lease that counts as run out was not renewed for its length, whatever the clocks of the two
    machines say. A process that may not write has no heartbeat to ask that clock with, and looks at its own; what it
    finds it only tells, since it cannot take a trial.
    """

    def __init__(self, blobs: Blobs, session: SessionId, worker: str, lease_s: float, writes: bool) -> None:
        self._writes = writes
        self._blobs = blobs
        self._session = session
        self._worker = worker
        self._lease_s = lease_s

    def _blob(self, key: str, session: str) -> str:
        return f"leases/experiment={key}/{session}.json"

    def renew(self, key: str, session: str | None = None) -> None:
        """Write the heartbeat of a session of this process, the present one by default, for an experiment."""
        session = session or self._session.current()
        body = {"session": session, "worker": self._worker, "lease_s": self._lease_s, "at": now_text()}
        self._blobs.write(self._blob(key, session), to_json(body))

    def release(self, key: str, sessions: Sequence[str]) -> None:
        """Remove heartbeats of this process."""
        self._blobs.delete([self._blob(key, session) for session in sessions])

    def lost(self, key: str, active: list[TrialRecord]) -> list[TrialRecord]:
        """Those of the active trials whose session's lease ran out.

        Cost: one write and one look, and a look and a read for each other session that holds a trial.
        """
        since: dict[str, str] = {}
        for record in active:
            if record.session is not None:
                since[record.session] = max(since.get(record.session, ""), record.started_at or "")
        gone = self.gone(key, since)
        return [record for record in active if record.session in gone]

    def gone(self, key: str, since: Mapping[str, str]) -> set[str]:
        """Those of some sessions whose lease ran out.

        Args:
            key: The experiment's folder.
            since: By session, the stored time of the last thing that it surely did; empty when there is none.
        """
        others = since.keys() - {self._session.current()}
        if not others:
            return set()
        now = self._now(key)
        if now is None:
            return set()
        gone: set[str] = set()
        for session in others:
            info = self._blobs.info(self._blob(key, session))
            if info is None:
                # A session writes its lease before its first claim, so one without any has left.
                if not since[session] or now - parse_time(since[session]) > timedelta(seconds=self._lease_s):
                    gone.add(session)
            elif (now - info.modified_at).total_seconds() > self._length(key, session):
                gone.add(session)
        return gone

    def _now(self, key: str) -> datetime | None:
        """What the clock says that the heartbeats are aged by; None when that cannot be found out."""
        if not self._writes:
            return datetime.now(UTC)
        self.renew(key)
        mine = self._blobs.info(self._blob(key, self._session.current()))
        return None if mine is None else mine.modified_at

    def renewed_at(self, key: str, session: str) -> datetime | None:
        """When a session last renewed its lease, by the backend's clock; None when it has none."""
        info = self._blobs.info(self._blob(key, session))
        return None if info is None else info.modified_at

    def _length(self, key: str, session: str) -> float:
        try:
            return float(from_json(self._blobs.read(self._blob(key, session)))["lease_s"])
        except (BlobNotFoundError, OverflowError, ValueError, KeyError, TypeError):
            return self._lease_s


class Session:
    """The identity, the leases and the background thread of one open store in one process.

    A forked child gets a session of its own the first time it does something, and so does a process that unpickles
    one: all that it unpickles shares it.

    Attributes:
        place: How to open the store's blobs again.
        blobs: The store's blobs.
        options: How this process uses the store.
        retention_s: How long the store keeps history; every process must know the same.
        store: The store's id.
        chores: What is done in the background, unless this is a forked child that has not done anything yet.
        id: Under which the journal knows it.
        worker: Host and process, for people to read.
    """

    def __init__(
        self, place: BlobsSpec, blobs: Blobs, options: Options, retention_s: float = RETENTION_S, store: str = ""
    ) -> None:
        self.place = place
        self.blobs: Blobs = ReadingBlobs(blobs) if options.mode == "r" else blobs
        self.options = options
        self.retention_s = retention_s
        self.store = store
        self.id = SessionId()
        self._writers: dict[str, Any] = {}
        self._reset()
        _open.add(self)

    def __reduce__(self) -> tuple[object, ...]:
        return _session_here, (self.place, self.options, self.retention_s, self.store)

    def _reset(self) -> None:
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        writes = self.options.mode == "rw"
        self.leases = Leases(self.blobs, self.id, self.worker, self.options.lease_s, writes)
        self._held: Counter[str] = Counter()
        self._leased: dict[str, dict[str, float]] = {}
        self._lingering: weakref.WeakSet[_Lingering] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.chores = Chores()
        self._process = os.getpid()

    def enter_process(self) -> None:
        """Start afresh when this is a forked child."""
        if self._process != os.getpid():
            with _entering:
                if self._process != os.getpid():
                    self._reset()

    def require_writable(self) -> None:
        """Refuse what a store that was opened for reading cannot do."""
        if self.options.mode == "r":
            raise ReadOnlyError("store was opened for reading", hint='open it with mode="rw"', url=self.blobs.url)

    def writer(self, log: str, make: Callable[[], Any]) -> Any:
        """What writes to a log in this session's name, made when first asked for.

        Guarantees: a log has one writer a session, however many handles are opened or unpickled. Commands are
        numbered by their writer, and the store drops a command whose session and number it has seen.
        """
        with _entering:
            if log not in self._writers:
                self._writers[log] = make()
            return self._writers[log]

    def lease(self, key: str) -> None:
        """Make sure that a fresh heartbeat is in the store before a trial is claimed.

        Guarantees: whatever session this process has when it claims has a heartbeat. Should another thread find out
        that the store forgot the session of now, `follow` writes one for the next.
        """
        self.enter_process()
        session = None
        while session != (session := self.id.current()):
            if not self._is_fresh(key, session):
                self._renew(key, session)

    def follow(self, key: str, session: str) -> None:
        """A session is about to write for the first time: it needs a heartbeat where an earlier one had one.

        `lease` notes a session and then looks whether it is still the present one. Whoever comes here has changed
        that, and then looks what is noted: so one of the two sees the other.
        """
        self.enter_process()
        with self._lock:
            is_known = session in self._leased.get(key, (session,))
        if not is_known:
            self._renew(key, session)

    def _is_fresh(self, key: str, session: str) -> bool:
        with self._lock:
            since = self._leased.get(key, {}).get(session)
        return since is not None and since + self._beat_s() > time.monotonic()

    def _renew(self, key: str, session: str) -> None:
        now = time.monotonic()
        self.leases.renew(key, session)
        with self._lock:
            self._leased.setdefault(key, {})[session] = now

    def _keep(self, key: str) -> None:
        """Renew what is due, of all identities that this process had.

        Journals forget a session one by one, and all of them share its identity: the trials of an experiment are held
        on by an earlier one when another experiment, or the catalog, had forgotten it.
        """
        self.lease(key)
        with self._lock:
            earlier = self._leased[key].keys() - {self.id.current()}
        for session in sorted(earlier):
            if not self._is_fresh(key, session):
                self._renew(key, session)

    def hold(self, key: str) -> None:
        """A trial of this experiment is held: keep the heartbeat going until `let_go`."""
        self.enter_process()
        with self._lock:
            self._held[key] += 1
        self._start()

    def let_go(self, key: str) -> None:
        """A held trial ended or was given back."""
        self.enter_process()
        with self._lock:
            self._held[key] = max(0, self._held[key] - 1)

    def linger(self, buffer: _Lingering) -> None:
        """Something waits in memory: see that it is committed within `linger_s`."""
        self.enter_process()
        with self._lock:
            self._lingering.add(buffer)
        self._start()

    def later(self, name: str, chore: Callable[[], None]) -> None:
        """Do something in the background; see `trialstore.chores`."""
        self.enter_process()
        self.chores.add(name, chore)

    def close(self) -> None:
        """Stop the threads and remove the heartbeats."""
        self.enter_process()
        self.chores.rest()
        self._closed = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)
        for key, sessions in list(self._leased.items()):
            if not self._held[key]:
                self.leases.release(key, list(sessions))
        self._leased.clear()

    def _beat_s(self) -> float:
        return self.options.lease_s / _BEATS_A_LEASE

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="trialstore-session", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        tick = min(self._beat_s(), self.options.linger_s) / 2
        while not self._wake.wait(tick) and self._beat():
            pass

    def _beat(self) -> bool:
        """Do what is due; False when there is nothing left to watch over, and the thread ends."""
        with self._lock:
            keys = [key for key, count in self._held.items() if count]
            buffers = list(self._lingering)
            if not keys and not buffers:
                self._thread = None  # whoever holds or logs something next starts another one
                return False
        for key in keys:
            self._attempt(partial(self._keep, key))
        for buffer in buffers:
            with self._lock:
                self._lingering.discard(buffer)  # before the look, so that what comes meanwhile adds it again
            self._attempt(buffer.flush_lingering)
            if buffer.has_waiting:
                with self._lock:
                    self._lingering.add(buffer)
        return True

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do a step that is tried again at the next tick when the store is out of reach."""
        try:
            step()
        except TrialStoreError as error:
            _log.warning("background step of the session failed, will try again: %s", error)


_open: weakref.WeakSet[Session] = weakref.WeakSet()
_entering = threading.Lock()
_unpickled: weakref.WeakValueDictionary[tuple[int, str], Session] = weakref.WeakValueDictionary()
_unpickling = threading.Lock()


@atexit.register
def _close_all() -> None:
    """Close what is still open when the process ends."""
    for session in list(_open):
        session._attempt(session.close)


def _session_here(place: BlobsSpec, options: Options, retention_s: float, store: str) -> Session:
    """The session of this process for what it unpickled."""
    name = (os.getpid(), repr((place, place.storage_options, options)))
    with _unpickling:
        session = _unpickled.get(name)
        if session is None or session._closed:
            session = Session(place, place.open(), options, retention_s, store)
            _unpickled[name] = session
        return session
