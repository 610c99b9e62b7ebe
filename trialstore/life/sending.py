"""A trial's handle in another process, and a copy of it in this one."""

from __future__ import annotations

import copy as copies
import pickle
from typing import Any

from trialstore.life.ending import exception_text
from trialstore.life.held import Held, Unsaved

__all__ = ["copy", "local_state", "take_local_state"]


def local_state(held: Held) -> dict[str, Any]:
    """What a handle knows that the store does not, as it can be pickled.

    What this process logged of its trials is committed first, so that it is there when the handle arrives. An
    exception that would not come out of its pickle again is told by its text.
    """
    if held.ledger.buffer.since is not None:
        held.ledger.commit_buffered()
    found: dict[str, Any] = {}
    if held.stored:
        found["stored"] = held.stored
    if held.unsaved is not None:
        found["unsaved"] = held.unsaved
    if held.exception != held.record.exception:
        found |= {"exception": _sendable(held), "traceback": held.traceback}
    return found


def take_local_state(held: Held, state: dict[str, Any]) -> None:
    """Know what `local_state` told."""
    for name, value in state.items():
        setattr(held, name, value)


def copy(held: Held) -> Held:
    """The same trial with unsaved state of its own. The lease stays with the handle that has it."""
    again = Held(held.ledger, held.declared, copies.deepcopy(held.record))
    again.stored = dict(held.stored)
    again.exception, again.traceback = held.exception, held.traceback
    unsaved = held.unsaved
    if unsaved is not None:
        again.unsaved = Unsaved(
            copies.deepcopy(unsaved.summary),
            copies.deepcopy(unsaved.extras),
            copies.deepcopy(unsaved.profiles),
            set(unsaved.passing),
            dict(unsaved.elsewhere),
        )
    return again


def _sendable(held: Held) -> BaseException | str | None:
    error = held.exception
    if not isinstance(error, BaseException):
        return error
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the exception's own class raises
        return exception_text(held)
    return error if type(again) is type(error) else exception_text(held)
