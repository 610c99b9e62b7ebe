"""What was set of a study's trials and is not known to be committed."""

from __future__ import annotations

import os
import threading
import time

from trialstore.integrations.optuna.pending import Pending

__all__ = ["Waiting"]


class Waiting:
    """What was set of each trial and is not known to be committed, in the order in which it was set.

    Attributes:
        since: When the first of it was set that nobody sends yet, by the monotonic clock; None when there is none.
        size_bytes: About how much there is that nobody sends yet.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._new: dict[int, Pending] = {}
        self._sent: list[dict[int, Pending]] = []
        self.since: float | None = None
        self.size_bytes = 0

    def get(self, number: int, size_bytes: int) -> Pending:
        """Where the next value of a trial is put, which is of about so many bytes."""
        with self._lock:
            if self.since is None:
                self.since = time.monotonic()
            pending = self._new.get(number)
            if pending is None:
                pending = self._new[number] = Pending()
            pending.size_bytes += size_bytes
            self.size_bytes += size_bytes
            return pending

    def numbers(self) -> set[int]:
        """Trials of which something waits, or is being sent."""
        with self._lock:
            return {number for some in (*self._sent, self._new) for number in some}

    def of(self, number: int) -> list[Pending]:
        """What waits of a trial, in order."""
        with self._lock:
            return [some[number] for some in (*self._sent, self._new) if number in some]

    def take_all(self) -> dict[int, Pending]:
        """All that waits, which the caller sends: it is still seen until `forget` or `put_back`.

        Nothing in a forked child: what it inherits is its parent's to commit.
        """
        if self._process != os.getpid():
            return {}
        with self._lock:
            taken, self._new, self.since, self.size_bytes = self._new, {}, None, 0
            if taken:
                self._sent.append(taken)
            return taken

    def forget(self, taken: dict[int, Pending]) -> None:
        """What was taken is in the store."""
        with self._lock:
            self._sent = [some for some in self._sent if some is not taken]

    def put_back(self, taken: dict[int, Pending]) -> None:
        """What was taken was not sent, or nobody knows."""
        with self._lock:
            self._sent = [some for some in self._sent if some is not taken]
            for number, pending in taken.items():
                later = self._new.get(number)
                self._new[number] = pending if later is None else pending.before(later)
                self.size_bytes += pending.size_bytes
            if self._new and self.since is None:
                self.since = time.monotonic()
