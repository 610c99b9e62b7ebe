"""Backends that break the promise of `create`, for tests that must notice."""

from __future__ import annotations

import threading
from collections import Counter

from trialstore.blobs.memory import MemoryBlobs


class ForgetfulBlobs(MemoryBlobs):
    """Ignores the condition of `create`, in one of three ways."""

    def __init__(self, name: str, flaw: str = "overwrites") -> None:
        super().__init__(name)
        self._flaw = flaw
        self._looked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def create(self, key: str, data: bytes) -> bool:
        existed = self.info(key) is not None
        if self._flaw == "checks, then writes":
            with self._lock:
                self._looked[key] += 1
                in_time = self._looked[key] <= 2 and not key.endswith("/0")  # where writers meet, two look at once
            if existed and not in_time:
                return False
            existed = False
        self.write(key, data)
        return not existed or self._flaw == "overwrites"
