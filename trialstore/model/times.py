"""Times: aware UTC, to the microsecond, in one fixed-width spelling that sorts as text.

A stored time reads ``2026-11-21T01:02:03.123456Z``: 27 characters, so two of them compare as strings.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from trialstore.model.errors import InvalidTimeError

__all__ = ["format_time", "now_text", "parse_time"]


def now_text() -> str:
    """The time now, as it is stored."""
    global _second
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    second = _second
    if second[0] != seconds:
        second = _second = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
    return f"{second[1]}.{microseconds:06d}Z"


_second = (-1, "")
"""The last second that was spelled, and its spelling: spelling a date takes longer than all the rest."""


def format_time(time: datetime) -> str:
    """The stored spelling of an aware time of any zone.

    Raises:
        InvalidTimeError: the time is naive, so what instant it means is unknown.

    Example:
        >>> from datetime import datetime, timezone, timedelta
        >>> format_time(datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
        '2026-01-01T00:00:00.000000Z'
    """
    if time.tzinfo is None or time.utcoffset() is None:
        raise InvalidTimeError(
            "time has no zone", hint="pass datetime.now(timezone.utc), or time.astimezone()", time=time
        )
    try:
        return _spell(time.astimezone(UTC))
    except OverflowError:
        raise InvalidTimeError("time is outside the years 1 to 9999 in UTC", time=time) from None


def parse_time(text: str) -> datetime:
    """The aware UTC time that a stored spelling means."""
    return datetime.fromisoformat(text)


def _spell(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
