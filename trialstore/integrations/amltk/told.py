"""What AMLTK's trials and reports say, in a store's terms: values in, values out."""

from __future__ import annotations

import builtins
import logging
import math
import traceback as tracebacks
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from amltk.optimization import Trial
from amltk.profiling import Memory, Profile, Timer

from trialstore.model.codec import pack
from trialstore.model.errors import TrialStoreError, UsageError
from trialstore.model.profile import MemoryInterval, MemoryUnit, TimeInterval, TimeKind
from trialstore.model.profile import Profile as StoreProfile
from trialstore.model.status import Status

__all__ = [
    "amltk_profile",
    "amltk_status",
    "aware",
    "exception_of",
    "noted_exception",
    "storable",
    "store_profile",
    "store_status",
]

_log = logging.getLogger(__name__)

_told: set[str] = set()

_STATUSES = {
    Trial.Status.SUCCESS: Status.SUCCEEDED,
    Trial.Status.FAIL: Status.FAILED,
    Trial.Status.CRASHED: Status.CRASHED,
    Trial.Status.UNKNOWN: Status.CRASHED,
}
_BACK = {
    Status.SUCCEEDED: Trial.Status.SUCCESS,
    Status.FAILED: Trial.Status.FAIL,
    Status.PRUNED: Trial.Status.FAIL,
    Status.TIMED_OUT: Trial.Status.FAIL,
    Status.CRASHED: Trial.Status.CRASHED,
    Status.CANCELED: Trial.Status.UNKNOWN,
}


def store_status(status: Trial.Status) -> Status:
    """The final status for AMLTK's; its ``unknown``, which a store has only for trials that go on, is CRASHED."""
    return _STATUSES[Trial.Status(status)]


def amltk_status(status: Status) -> Trial.Status:
    """AMLTK's status for a final one: PRUNED and TIMED_OUT are ``fail``, CANCELED is ``unknown``."""
    return _BACK[status]


def aware(time: datetime) -> datetime:
    """AMLTK's time, which is local and says no zone, as the instant that it means."""
    if isinstance(time, pd.Timestamp):
        time = time.to_pydatetime(warn=False)
    return time.astimezone(UTC)


def storable(values: Mapping[Any, Any], what: str, left_out: list[str]) -> dict[str, Any]:
    """Those of the values that a store keeps exactly; the others are named in `left_out`, and once in the log."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        try:
            if not isinstance(name, str):
                raise UsageError("a name must be text", name=name)
            pack(value, what)
        except TrialStoreError:
            kind = type(value)
            said = f"{what}.{name}: {kind.__module__}.{kind.__qualname__}"
            left_out.append(said)
            if said not in _told:  # an optimiser's own objects come with every trial
                _told.add(said)
                _log.warning("not stored, since it cannot be, exactly: %s", said)
        else:
            kept[name] = value
    return kept


def noted_exception(exception: BaseException) -> tuple[str, dict[str, Any]]:
    """An exception as one line, and what a store remembers to make it again: its type and its arguments."""
    text = "".join(tracebacks.format_exception_only(exception)).strip()
    kind = type(exception)
    noted: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}"}
    # What its pickle would call the type with: `args` of an OSError leaves the file out.
    made_of = exception.__reduce__()
    args = list(made_of[1]) if isinstance(made_of, tuple) and made_of[0] is kind else list(exception.args)
    try:
        pack(args)
    except TrialStoreError:
        return text, noted
    return text, {**noted, "args": args}


def exception_of(text: str, noted: Mapping[str, Any] | None) -> BaseException:
    """The exception again, where it is one of Python's own; else an `Exception` of the line that describes it."""
    module, _, name = str((noted or {}).get("type", "")).rpartition(".")
    kind = getattr(builtins, name, None) if module == "builtins" else None
    if noted is not None and "args" in noted and isinstance(kind, type) and issubclass(kind, BaseException):
        try:
            made = kind(*noted["args"])
        except Exception:
            return Exception(text)
        return made if type(made) is kind or isinstance(made, OSError) else Exception(text)
    return Exception(text)


def store_profile(name: str, interval: Profile.Interval) -> StoreProfile:
    """The same measurement for a store.

    Raises:
        UsageError: its time is not in seconds, as AMLTK's own always is.
    """
    time, memory = interval.time, interval.memory
    if not _absent(time.unit) and time.unit != Timer.Unit.SECONDS:
        raise UsageError("time of a profile must be in seconds", profile=name, unit=str(time.unit))
    kind = None if _absent(time.kind) else TimeKind(time.kind.value)
    unit = None if _absent(memory.unit) else MemoryUnit(memory.unit.value)
    sizes = (memory.start_rss, memory.end_rss, memory.start_vms, memory.end_vms)
    return StoreProfile(
        TimeInterval(float(time.start), float(time.end), kind),
        MemoryInterval.of([*map(float, sizes), math.nan, math.nan], unit),
    )


def amltk_profile(profile: StoreProfile) -> Profile.Interval:
    """The same measurement for AMLTK; it has no shared memory."""
    time, memory = profile.time, profile.memory
    return Profile.Interval(
        memory=Memory.Interval(
            start_vms=memory.start_vms,
            start_rss=memory.start_rss,
            end_vms=memory.end_vms,
            end_rss=memory.end_rss,
            unit=pd.NA if memory.unit is None else Memory.Unit(memory.unit.value),
        ),
        time=Timer.Interval(
            start=time.start,
            end=time.end,
            kind=pd.NA if time.kind is None else Timer.Kind(time.kind.value),
            unit=pd.NA if time.kind is None else Timer.Unit.SECONDS,
        ),
    )


def _absent(value: Any) -> bool:
    return value is None or value is pd.NA
