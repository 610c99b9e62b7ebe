"""Values, times and lengths of time as people read them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

__all__ = ["printable", "shortened", "shown", "since", "spell_duration", "spell_time"]

_JOINERS = "\u200d\u200c"


def printable(text: str, *, lines: bool = False) -> str:
    """Text that cannot steer a terminal or turn the order of a line: control characters are spelled out.

    Args:
        text: Any text.
        lines: Leave line breaks as they are.
    """
    if text.isprintable():
        return text
    kept = _JOINERS + ("\n" if lines else "")
    return "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in text)


def shortened(text: str, limit: int) -> str:
    """The text, or its beginning and how much more there is when it has more characters than the limit."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def shown(value: object) -> str:
    """A value for people: floats to seven digits, a struct as ``{a: 1, b: x}``. JSON output is exact."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.7g}" if math.isfinite(value) else repr(value)
    if isinstance(value, datetime):
        return spell_time(value)
    if isinstance(value, timedelta):
        return spell_duration(value)
    if hasattr(value, "months") and hasattr(value, "days") and hasattr(value, "nanoseconds"):
        rest = spell_duration(timedelta(days=value.days, microseconds=value.nanoseconds // 1000))
        return f"{value.months} months {rest}" if value.months else rest
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{shown(name)}: {_inside(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inside(item) for item in value) + "]"
    if isinstance(value, bytes):
        return f'{{"$bytes":"{base64.b64encode(value).decode()}"}}'
    return str(value)


def _inside(value: object) -> str:
    return "null" if value is None else shown(value)


def spell_time(time: datetime | None) -> str:
    """A time in UTC, with as many digits of the second as it has."""
    if time is None:
        return ""
    aware = time.tzinfo is not None
    if aware:
        time = time.astimezone(UTC).replace(tzinfo=None)
    text = time.isoformat(sep=" ", timespec="microseconds" if time.microsecond else "seconds")
    return text + ("Z" if aware else "")


def since(time: datetime | None) -> str:
    """A time in UTC to the second."""
    return "" if time is None else spell_time(time.replace(microsecond=0))


def spell_duration(length: timedelta | None) -> str:
    """A length of time with the two largest units that count, such as ``1 h 12 min``.

    Example:
        >>> spell_duration(timedelta(hours=1, minutes=12, seconds=5)), spell_duration(timedelta(milliseconds=15))
        ('1 h 12 min', '15 ms')
    """
    if length is None:
        return ""
    seconds = length.total_seconds()
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    if seconds < 0.0009995:
        return f"{sign}{seconds * 1e6:.3g} µs" if seconds else "0 s"
    if seconds < 0.9995:
        return f"{sign}{seconds * 1000:.3g} ms"
    if seconds < 59.95:
        return f"{sign}{seconds:.3g} s"
    whole = round(seconds)
    for unit, below, size, part in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86400, 3600)):
        if whole < size * (60 if unit == "min" else 24) or unit == "d":
            rest = whole % size // part
            return f"{sign}{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    raise AssertionError
