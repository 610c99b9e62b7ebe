"""Waiting for a long call so that Ctrl-C ends the program at once."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["interruptible"]

_INTERRUPTED = 130
_CLEANING_S = 5.0
_LOOK_S = 0.2

T = TypeVar("T")


def interruptible(call: Callable[[], T]) -> T:
    """The result of a call that does not look at signals itself, such as a query in DuckDB's own code.

    Ctrl-C ends the program with code 130, after what is registered to happen at its end, such as the removal of
    temporary files. The call is not waited for: an interpreter that shuts down under a busy engine crashes.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="trialstore-query", daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_S)  # a signal that an engine's own thread took wakes nobody
    except KeyboardInterrupt:
        cleaning = threading.Thread(target=atexit._run_exitfuncs, name="trialstore-exit", daemon=True)
        cleaning.start()
        cleaning.join(_CLEANING_S)  # an engine that is busy may keep its own clean-up waiting for ever
        os._exit(_INTERRUPTED)
    if errors:
        raise errors[0]
    return results[0]
