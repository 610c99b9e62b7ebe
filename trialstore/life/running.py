"""Running the evaluation of a trial in a block."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Iterator
from contextlib import contextmanager

from trialstore.life.held import Held
from trialstore.model.status import Status

__all__ = ["begin"]


@contextmanager
def begin(held: Held) -> Iterator[None]:
    """See `Trial.begin`."""
    if not held.record.status.is_active:
        held.claim()
    try:
        yield
    except Exception as error:
        held.exception = error
        held.traceback = "".join(tracebacks.format_exception(error))
    except BaseException:
        held.set_status(Status.INTERRUPTED, "interrupted")
        raise
