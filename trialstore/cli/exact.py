"""JSON for programs: exact, one form for every command.

NaN, infinities, integers beyond 64 bits and bytes take the tagged forms of `trialstore.model.codec`, such as
``{"$float": "nan"}``. A time with a zone is text in UTC, ``2026-11-21T01:02:03.123456Z``; other dates and times are ISO
text; a length of time is a number of seconds, but DuckDB's INTERVAL is its months, days and nanoseconds; a decimal is a
number where an integer or a float holds it exactly, else text.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from trialstore.model.codec import Json, pack
from trialstore.model.times import format_time

__all__ = ["dumps", "to_json"]

_STEERING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""What JSON need not escape and a terminal may obey: it means the same when it is escaped."""


def dumps(value: object, *, indent: int | None = 2) -> str:
    """The JSON text of a value, in characters that standard output can show."""
    plain_ascii = not (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    text = json.dumps(to_json(value), indent=indent, ensure_ascii=plain_ascii, allow_nan=False)
    return text if plain_ascii else _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def to_json(value: object) -> Json:
    """The JSON form of a value of a store or of a query's result."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return to_json(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, Mapping):
        return _mapping(value)
    if hasattr(value, "months") and hasattr(value, "days") and hasattr(value, "nanoseconds"):
        return {"months": value.months, "days": value.days, "nanoseconds": value.nanoseconds}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(item) for item in value]
    if isinstance(value, datetime):
        return format_time(value) if value.tzinfo is not None else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, int | bytes | bytearray | memoryview):
        return pack(value)
    return str(value)


def _mapping(value: Mapping[Any, Any]) -> Json:
    if all(isinstance(key, str) for key in value):
        return {str(key): to_json(item) for key, item in value.items()}
    return {"$dict": [[to_json(key), to_json(item)] for key, item in value.items()]}


def _decimal(value: Decimal) -> Json:
    if value.is_finite() and value == value.to_integral_value():
        return pack(int(value))
    number = float(value)
    return number if Decimal(repr(number)) == value else str(value)
