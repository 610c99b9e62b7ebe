"""Storage that fails on command, before or after it acted, or in whose midst the process is killed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from trialstore.blobs.memory import MemoryBlobs
from trialstore.model.errors import OutcomeUnknownError, StorageFullError, StoreUnavailableError

_stores = itertools.count()


class Killed(BaseException):
    """The process died here. No code of the project may catch it and go on."""


class Faults:
    """What shall happen at the next calls of an operation: one entry a call, None for a call that works.

    ``"full"`` and ``"away"``: an error, and nothing was done. ``"lost"``: done, and the answer was lost.
    ``"unsent"``: not done, and the answer was lost. ``"denied late"``: done, and the client says that it was not
    first. ``"kill before"`` and ``"kill after"``: the process dies.
    """

    def __init__(self) -> None:
        self.plan: dict[str, list[str | None]] = {}
        self.calls: list[tuple[str, str]] = []

    def set(self, operation: str, *faults: str | None) -> None:
        self.plan[operation] = list(faults)

    def next(self, operation: str, key: str) -> str | None:
        self.calls.append((operation, key))
        waiting = self.plan.get(operation)
        return waiting.pop(0) if waiting else None


class FaultyBlobs(MemoryBlobs):
    """Blobs in memory with faults. `process` gives another process's view of the same blobs, with faults of its own."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name or f"faulty-{next(_stores)}")
        self.faults = Faults()
        self.busy = False
        """Whether another process holds the turn to commit."""
        self.local = True

    def process(self) -> FaultyBlobs:
        other = FaultyBlobs(self._name)
        other.local = self.local
        return other

    @property
    def filesystem(self) -> Any:
        return None if self.local else super().filesystem

    def guard(self, name: str, *, patience_s: float = 1.0) -> AbstractContextManager[bool]:
        return nullcontext(not self.busy)

    def _before(self, operation: str, key: str) -> str | None:
        fault = self.faults.next(operation, key)
        if fault == "full":
            raise StorageFullError("disk is full", key=key)
        if fault == "away":
            raise StoreUnavailableError("no answer", key=key)
        if fault == "unsent":
            raise OutcomeUnknownError("the answer was lost", key=key)
        if fault == "kill before":
            raise Killed
        return fault

    def _after(self, fault: str | None, key: str) -> None:
        if fault == "lost":
            raise OutcomeUnknownError("the answer was lost", key=key)
        if fault == "kill after":
            raise Killed

    def create(self, key: str, data: bytes) -> bool:
        fault = self._before("create", key)
        created = super().create(key, data)
        self._after(fault, key)
        return False if fault == "denied late" else created

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        fault = self._before("write", key)
        super().write(key, data, durable=durable)
        self._after(fault, key)

    def delete(self, keys: Iterable[str], *, durable: bool = True) -> None:
        chosen = list(keys)
        fault = self._before("delete", ",".join(chosen))
        super().delete(chosen, durable=durable)
        self._after(fault, ",".join(chosen))

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        fault = self._before("read", keys[0])
        found = super().read_many(keys)
        self._after(fault, keys[0])
        return found
