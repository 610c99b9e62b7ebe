"""A simulated object store: one set of blobs, and each process's own unreliable way to them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from tests.simulation.schedule import Process, Scheduler
from trialstore.blobs.protocol import BlobInfo
from trialstore.model.errors import BlobNotFoundError, OutcomeUnknownError, StorageFullError, StoreUnavailableError

EPOCH = datetime(2026, 11, 21, tzinfo=UTC)


@dataclass(frozen=True)
class Weather:
    """How reliable storage and machines are: each a chance for one request, but for the latencies.

    Attributes:
        read_s, write_s, list_s: Mean latencies.
        away: The request is turned away, and nothing happened.
        full: A write is refused, and nothing happened.
        unsent: The answer is lost, and nothing happened.
        lost: The answer is lost, and it happened.
        late: The answer is lost, and it happens some time later.
        denied: A create that won is told that it lost.
        slow: The request takes a hundred times as long.
        suspended: The process stands still for some time, in the midst of the request.
        killed: The process dies in the midst of the request.
    """

    read_s: float
    write_s: float
    list_s: float
    away: float = 0.0
    full: float = 0.0
    unsent: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    denied: float = 0.0
    slow: float = 0.0
    suspended: float = 0.0
    killed: float = 0.0

    @classmethod
    def drawn(cls, chance: random.Random, local: bool) -> Weather:
        """Weather of one seed: a few kinds of fault, some rare and some frequent."""
        faults = ["away", "full", "unsent", "lost", "late", "denied", "slow", "suspended", "killed"]
        active = {name: chance.choice([0.002, 0.01, 0.05]) for name in faults if chance.random() < 0.5}
        for rare in ("suspended", "killed"):
            if rare in active:
                active[rare] /= 2
        latencies = (0.002, 0.01, 0.005) if local else (0.015, 0.04, 0.03)
        return cls(*latencies, **active)

    @property
    def loses_heartbeats(self) -> bool:
        """Whether a lease may run out though its holder is well."""
        return any((self.away, self.full, self.unsent, self.lost, self.late, self.slow))

    def calm(self) -> Weather:
        """The same place on a fine day."""
        return Weather(self.read_s, self.write_s, self.list_s)


@dataclass
class Place:
    """What all processes see.

    Attributes:
        blobs: Bytes and time of last change.
        ever: The bytes of every blob that was written, deleted ones included; the last of each key.
        renewals: When each lease was written.
        releases: When each lease was given back.
        written: When each blob was first there.
        deleted: When each was first deleted, leases apart.
        forks: How often a deleted sequence number was taken again.
        truncated: How many commits were deleted.
        broken: What storage itself saw that must never be.
    """

    scheduler: Scheduler
    local: bool
    weather: Weather
    blobs: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    ever: dict[str, bytes] = field(default_factory=dict)
    renewals: dict[str, list[float]] = field(default_factory=dict)
    releases: dict[str, list[float]] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)
    deleted: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    guards: dict[str, object] = field(default_factory=dict)
    on_kill: Callable[[Process], None] = lambda process: None
    kills_left: int = 4
    requests: int = 0
    forks: int = 0
    truncated: int = 0
    trace: list[str] = field(default_factory=list)

    def has(self, key: str) -> bool:
        """Whether there is a blob of this key now."""
        return key in self.blobs

    def put(self, key: str, data: bytes) -> None:
        """A write takes effect."""
        folder = key.partition("/")[0]
        before = self.ever.get(key)
        if folder == "leases":
            self.renewals.setdefault(key, []).append(self.scheduler.now)
        elif folder == "journal" and before is not None and key not in self.blobs:
            # Its number was used before and deleted. Who wrote it must find out, and must not be told that it counts.
            self.blobs[key] = (data, EPOCH + timedelta(seconds=self.scheduler.now))
            self.forks += 1
            return
        elif folder not in ("checkpoints", "inbox") and before is not None and before != data:
            self.broken.append(f"{key} was written twice with different content")
        self.ever[key] = data
        self.written.setdefault(key, self.scheduler.now)
        self.blobs[key] = (data, EPOCH + timedelta(seconds=self.scheduler.now))


class SimulatedBlobs:
    """One process's view of a place: `Blobs`, with the faults that its guarantees allow.

    Args:
        place: What all share.
        process: Whose view.
    """

    url = "sim://store"

    def __init__(self, place: Place, process: Process) -> None:
        self._place = place
        self._process = process
        self._scheduler = place.scheduler
        self._chance = process.chance

    # One request

    def _request(self, kind: str, key: str, mean_s: float, effect: Callable[[], Any], writes: bool) -> Any:
        """Send a request, let it take effect some time later, and wait for the answer."""
        place, chance, weather, scheduler = self._place, self._chance, self._place.weather, self._scheduler
        place.requests += 1
        latency = mean_s * (0.5 + chance.expovariate(2.0)) * (100 if chance.random() < weather.slow else 1)
        fault = self._fault(weather, writes, kind)
        place.trace.append(f"{scheduler.now:.6f} {self._process.name} {kind} {key} {fault or ''}")
        if fault in ("away", "full"):
            scheduler.sleep(latency)
            if fault == "full":
                raise StorageFullError("quota is full", key=key)
            raise StoreUnavailableError("slow down", key=key)
        answer: list[Any] = []

        def happen() -> None:
            try:
                answer.append(effect())
            except BlobNotFoundError as error:
                answer.append(error)

        if fault == "unsent":
            scheduler.sleep(latency * 10)
            raise OutcomeUnknownError("the answer was lost", key=key)
        if fault == "late":
            scheduler.at(scheduler.now + latency + chance.choice([0.05, 1.0, 100.0]) * chance.random(), happen)
            scheduler.sleep(latency * chance.random())
            raise OutcomeUnknownError("the answer was lost", key=key)
        scheduler.at(scheduler.now + latency * chance.random(), happen)
        if chance.random() < weather.suspended:
            scheduler.at(scheduler.now + latency * chance.random(), self._suspend)
        if chance.random() < weather.killed and place.kills_left > 0:
            scheduler.at(scheduler.now + latency * chance.random(), self._kill)
        scheduler.sleep(latency)
        if fault == "lost":
            raise OutcomeUnknownError("the answer was lost", key=key)
        (result,) = answer
        if isinstance(result, BlobNotFoundError):
            raise result
        return False if fault == "denied" else result

    def _fault(self, weather: Weather, writes: bool, kind: str) -> str | None:
        names = ["away", "full", "unsent", "lost", "late"] if writes else ["away"]
        if kind == "create":
            names.append("denied")
        for name in names:
            if self._chance.random() < getattr(weather, name):
                return name
        return None

    def _suspend(self) -> None:
        # Seconds, past a lease, and past what a session is remembered for.
        seconds = self._chance.choice([5.0, 400.0, 6000.0]) * self._chance.uniform(0.5, 1.5)
        self._place.trace.append(f"{self._scheduler.now:.6f} {self._process.name} suspended for {seconds:.0f} s")
        self._scheduler.suspend(self._process, seconds, machine=self._chance.random() < 0.3)

    def _kill(self) -> None:
        if not self._process.dead and self._place.kills_left > 0:
            self._place.kills_left -= 1
            self._place.trace.append(f"{self._scheduler.now:.6f} {self._process.name} killed")
            self._scheduler.kill(self._process)
            self._place.on_kill(self._process)

    # Blobs

    @property
    def filesystem(self) -> Any:
        return None if self._place.local else self

    def engine_path(self, key: str) -> str:
        raise NotImplementedError("engines do not run here")

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        def effect() -> bytes:
            if key not in self._place.blobs:
                raise BlobNotFoundError("no such blob", key=key)
            return self._place.blobs[key][0][start:end]

        return self._request("read", key, self._place.weather.read_s, effect, writes=False)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        found: dict[str, bytes | None] = {}

        def look(key: str) -> None:
            found[key] = self._place.blobs[key][0] if key in self._place.blobs else None

        # Side by side: each is looked at, at a moment of its own.
        mean = self._place.weather.read_s
        first, *others = keys
        span = mean * 0.5
        for key in others:
            self._scheduler.at(self._scheduler.now + span * self._chance.random(), lambda key=key: look(key))

        def effect() -> None:
            look(first)

        if not others:
            self._request("read", first, mean, effect, writes=False)
        else:
            self._request("read many", f"{first} +{len(others)}", mean, effect, writes=False)
        return [found[key] for key in keys]

    def create(self, key: str, data: bytes) -> bool:
        def effect() -> bool:
            if key in self._place.blobs:
                return False
            self._place.put(key, data)
            return True

        return bool(self._request("create", key, self._place.weather.write_s, effect, writes=True))

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        content = bytes(data)
        self._request("write", key, self._place.weather.write_s, lambda: self._place.put(key, content), writes=True)

    def write_stream(self, key: str, source: IO[bytes], *, name: Callable[[], str] | None = None) -> int:
        data = source.read()
        self.write(key if name is None else key + name(), data)
        return len(data)

    def open(self, key: str) -> IO[bytes]:
        return io.BytesIO(self.read(key))

    def info(self, key: str) -> BlobInfo | None:
        def effect() -> BlobInfo | None:
            found = self._place.blobs.get(key)
            return None if found is None else BlobInfo(key, len(found[0]), found[1])

        return self._request("info", key, self._place.weather.read_s, effect, writes=False)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        def effect() -> list[BlobInfo]:
            chosen = sorted(key for key in self._place.blobs if key.startswith(prefix))
            return [BlobInfo(key, len(self._place.blobs[key][0]), self._place.blobs[key][1]) for key in chosen]

        return iter(self._request("list", prefix, self._place.weather.list_s, effect, writes=False))

    def wait(self, key: str, patience_s: float) -> None:
        """As a backend that cannot tell."""
        self._scheduler.sleep(patience_s)

    def delete(self, keys: Iterable[str], *, durable: bool = True) -> None:
        chosen = list(keys)

        def effect() -> None:
            for key in chosen:
                was_there = self._place.blobs.pop(key, None) is not None
                self._place.truncated += key.startswith("journal/")
                if key.startswith("leases/"):
                    self._place.releases.setdefault(key, []).append(self._scheduler.now)
                elif was_there:
                    self._place.deleted.setdefault(key, self._scheduler.now)

        label = f"{chosen[0]} +{len(chosen) - 1}" if chosen else ""
        self._request("delete", label, self._place.weather.write_s, effect, writes=True)

    @contextmanager
    def guard(self, name: str, *, patience_s: float = 1.0) -> Iterator[bool]:
        """A lock of the machine that now and then excludes nobody."""
        if not self._place.local or self._chance.random() < 0.02:
            yield True
            return
        if name in self._place.guards:
            yield False
            return
        self._place.guards[name] = self._process
        try:
            yield True
        finally:
            self._place.guards.pop(name, None)
