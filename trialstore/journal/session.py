"""The identity under which a process writes."""

from __future__ import annotations

import os

from trialstore.model.identity import new_ulid

__all__ = ["SessionId"]


class SessionId:
    """An identifier that no two processes share, whatever is forked or pickled.

    A forked child and an unpickled copy have one of their own.
    """

    def __init__(self) -> None:
        self._value = new_ulid()
        self._process = os.getpid()

    def current(self) -> str:
        """This process's identifier."""
        if self._process != os.getpid():
            self.renew()
        return self._value

    def renew(self) -> None:
        """Take a new identifier; the store will see another session."""
        self._value, self._process = new_ulid(), os.getpid()

    def __reduce__(self) -> tuple[type[SessionId], tuple[()]]:
        return SessionId, ()
