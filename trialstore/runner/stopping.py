"""Stopping a function in the middle: a signal becomes an exception, in the function and nowhere else."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Stopped", "listen", "stoppable"]

T = TypeVar("T")

_armed = False
_asked: str | None = None
_tell: Callable[[], object] = lambda: None  # noqa: E731 - it is replaced


class Stopped(BaseException):
    """The process was asked to stop what it evaluates. No `Exception`, so that functions do not catch it by accident.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def stoppable(function: Callable[[], T]) -> tuple[T | None, Stopped | None]:
    """What the function returns and None, or None and why it was stopped.

    Guarantees: a request to stop that came before holds as well; one that comes when the function has ended changes
    nothing.
    """
    global _armed
    _tell()
    try:
        try:
            _armed = True
            if _asked is not None:
                raise Stopped(_asked)
            return function(), None
        finally:
            _armed = False
    except Stopped as stopped:
        return None, stopped


def listen(reason: Callable[[], str], begun: Callable[[], object]) -> None:
    """From now on SIGTERM stops what is evaluated, and Ctrl-C is the parent's to handle.

    Args:
        reason: Asked why, in the signal's handler.
        begun: Told when an evaluation begins.
    """
    global _tell
    _tell = begun

    def stop(number: int, frame: Any) -> None:
        global _armed, _asked
        _asked = reason()
        if _armed:
            _armed = False
            raise Stopped(_asked)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
