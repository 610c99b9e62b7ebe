"""A simulated object store: memory behind the latencies and the prices of S3, with every request counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Any

from trialstore.blobs.memory import MemoryBlobs
from trialstore.blobs.protocol import BlobInfo

LATENCY_S = {"create": 0.040, "put": 0.040, "get": 0.015, "list": 0.030, "delete": 0.015}
PRICE = {"create": 5e-6, "put": 5e-6, "list": 5e-6, "get": 0.4e-6, "delete": 0.0}
"""US dollars a request: S3 Standard, us-east-1, public list price of 2026."""

PUTS_A_SECOND = 3500


@dataclass
class Requests:
    """Requests by kind, of all clients of a bucket."""

    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    next_put_at: float = 0.0

    def take(self, kind: str, count: int = 1) -> None:
        """Count requests and wait as long as they take, side by side; puts beyond the limit wait their turn."""
        wait = LATENCY_S[kind]
        with self.lock:
            self.counts[kind] += count
            if kind in ("create", "put", "delete"):
                now = time.monotonic()
                self.next_put_at = max(self.next_put_at, now) + count / PUTS_A_SECOND
                wait += self.next_put_at - now - count / PUTS_A_SECOND
        time.sleep(wait)

    def price(self) -> float:
        """US dollars."""
        return sum(PRICE[kind] * count for kind, count in self.counts.items())


class SimulatedBucket:
    """One client of a simulated bucket; all clients of one `requests` and one name share its blobs."""

    def __init__(self, name: str, requests: Requests) -> None:
        self._inner = MemoryBlobs(name)
        self._requests = requests

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def filesystem(self) -> Any:
        return self._inner.filesystem

    def engine_path(self, key: str) -> str:
        return self._inner.engine_path(key)

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        self._requests.take("get")
        return self._inner.read(key, start, end)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self._requests.take("get", len(keys))
        return self._inner.read_many(keys)

    def create(self, key: str, data: bytes) -> bool:
        self._requests.take("create")
        return self._inner.create(key, data)

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        self._requests.take("put")
        self._inner.write(key, data, durable=durable)

    def write_stream(self, key: str, source: IO[bytes], *, name: Callable[[], str] | None = None) -> int:
        self._requests.take("put")
        return self._inner.write_stream(key, source, name=name)

    def open(self, key: str) -> IO[bytes]:
        self._requests.take("get")
        return self._inner.open(key)

    def info(self, key: str) -> BlobInfo | None:
        self._requests.take("get")
        return self._inner.info(key)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        self._requests.take("list")
        return self._inner.list(prefix)

    def wait(self, key: str, patience_s: float) -> None:
        self._inner.wait(key, patience_s)

    def delete(self, keys: Iterable[str], *, durable: bool = True) -> None:
        keys = list(keys)
        self._requests.take("delete", max(1, len(keys)))
        self._inner.delete(keys, durable=durable)

    def guard(self, name: str, *, patience_s: float = 1.0) -> AbstractContextManager[bool]:
        return self._inner.guard(name, patience_s=patience_s)
