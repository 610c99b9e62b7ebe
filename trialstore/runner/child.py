"""What a worker process does: it takes calls from a pipe, one after the other, until the pipe closes."""

from __future__ import annotations

import pickle
from multiprocessing.connection import Connection
from typing import Any

from trialstore.runner.stopping import Stopped, listen

__all__ = ["BEGUN", "READY", "serve"]

READY, BEGUN = b"ready", b"begun"


def serve(connection: Connection, reasons: Connection) -> None:
    """Answer calls. A parent that is gone is noticed when the call under way has ended: what it found is kept.

    Args:
        connection: Brings calls, and takes answers.
        reasons: Brings the reason before the signal to stop comes. The signal may come in the middle of a call's
            bytes, so they cannot share a pipe.
    """

    def reason() -> str:
        return reasons.recv_bytes().decode() if reasons.poll() else "interrupted"

    listen(reason, lambda: connection.send_bytes(BEGUN))
    try:
        connection.send_bytes(READY)
        while request := connection.recv_bytes():
            connection.send_bytes(_answer(request))
    except (EOFError, OSError):
        return


def _answer(request: bytes) -> bytes:
    try:
        function, arguments = pickle.loads(request)
        answer: tuple[bool, Any] = (True, function(*arguments))
    except (Exception, Stopped) as error:
        answer = (False, error)
    try:
        return pickle.dumps(answer)
    except Exception as error:  # whatever its parts raise
        return pickle.dumps((False, RuntimeError(f"answer cannot be sent back: {error}; it is {answer[1]!r:.500}")))
