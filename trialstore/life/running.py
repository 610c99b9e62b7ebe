"""Running the evaluation of a trial in a block."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Iterator
from contextlib import contextmanager

from trialstore.life.held import Held
from trialstore.life.measuring import BEGIN, start
from trialstore.model.profile import MemoryUnit, TimeKind
from trialstore.model.status import Status

__all__ = ["begin"]


@contextmanager
def begin(held: Held, time: TimeKind | str | None, memory_unit: MemoryUnit | str | None) -> Iterator[None]:
    """See `Trial.begin`."""
    kind = TimeKind.WALL if time is None else TimeKind.parse(time)
    unit = MemoryUnit.BYTES if memory_unit is None else MemoryUnit.parse(memory_unit)
    if not held.record.status.is_active:
        held.exception = held.traceback = None
        held.claim()
    measurement = start(held, BEGIN, kind, unit, summary=False, nested=False)
    try:
        yield
    except Exception as error:
        measurement.stop()
        if held.record.status.is_final:
            raise  # the trial cannot keep it any more
        held.exception = error
        held.traceback = "".join(tracebacks.format_exception(error))
    except BaseException:
        if held.record.status.is_active:
            held.set_status(Status.INTERRUPTED, "interrupted")
        raise
    finally:
        measurement.stop()
