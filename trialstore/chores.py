"""Work that nobody waits for: done in the background, one piece at a time, in a thread that ends when none is left."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable

from trialstore.model.errors import TrialStoreError

__all__ = ["Chores"]

_log = logging.getLogger(__name__)
_LAST_S = 10.0


class Chores:
    """The chores of one session.

    Not in the thread that keeps leases alive: merging large files takes longer than a heartbeat may be late.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None

    def add(self, name: Hashable, chore: Callable[[], None]) -> None:
        """Do something soon; what waits already under this name is done once.

        An error of the store is logged: a later chore makes up for it.
        """
        with self._lock:
            self._waiting[name] = chore
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="trialstore-chores", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                pass  # the interpreter is about to end, and starts no thread any more
            else:
                self._thread = thread
                return
        self._run()

    def rest(self) -> None:
        """Return when nothing is left to do, or after ten seconds: what was begun is safe to be left undone."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=_LAST_S)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                chore = self._waiting.pop(next(iter(self._waiting)))
            try:
                chore()
            except TrialStoreError as error:
                _log.warning("maintenance failed, will try again: %s", error)
