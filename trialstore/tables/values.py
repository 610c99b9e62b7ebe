"""Any value as three columns: a number, a text and a type, from which it is rebuilt exactly.

========  ==========================  =============================================
type      value                       text
========  ==========================  =============================================
float     the number                  null
int       the nearest float64         null, or the digits where that is not exact
bool      0.0 or 1.0                  ``true`` or ``false``
str       null                        the text itself
json      null                        the exact JSON encoding of anything else
null      null                        null
========  ==========================  =============================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from trialstore.model.codec import decode, encode, plain

__all__ = ["SAFE_INT", "nearest_double", "split_values", "value_of"]

SAFE_INT = 2**53
"""Every integer up to this magnitude is a float64 exactly."""

_BUILTIN = frozenset({float, int, bool, str, type(None), list, dict, tuple, bytes})


def nearest_double(number: int) -> float:
    """The float64 nearest to an integer, infinite where none is near."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def split_values(values: Sequence[object]) -> tuple[pa.Array, pa.Array, pa.Array]:
    """The columns value, text and type of these values.

    Raises:
        UsageError: a value has no exact encoding.
    """
    kinds = set(map(type, values))
    count = len(values)
    if kinds == {float}:
        return pa.array(values, pa.float64()), pa.nulls(count, pa.string()), pa.repeat("float", count)
    if kinds == {str}:
        return pa.nulls(count, pa.float64()), pa.array(values, pa.string()), pa.repeat("str", count)
    if kinds == {int} and min(values) >= -SAFE_INT and max(values) <= SAFE_INT:  # type: ignore[type-var,operator]
        numbers = pa.array(values, pa.int64()).cast(pa.float64())
        return numbers, pa.nulls(count, pa.string()), pa.repeat("int", count)
    if not kinds <= _BUILTIN:
        values = [plain(value) for value in values]
    rows = [_split(value) for value in values]
    return (
        pa.array([row[0] for row in rows], pa.float64()),
        pa.array([row[1] for row in rows], pa.string()),
        pa.array([row[2] for row in rows], pa.string()),
    )


def _split(value: Any) -> tuple[float | None, str | None, str]:
    kind = type(value)
    if kind is float:
        return value, None, "float"
    if kind is str:
        return None, value, "str"
    if kind is bool:
        return float(value), "true" if value else "false", "bool"
    if kind is int:
        number = nearest_double(value)
        return number, None if math.isfinite(number) and int(number) == value else str(value), "int"
    if value is None:
        return None, None, "null"
    return None, encode(value).decode(), "json"


_VALUES: dict[str, Callable[[Any, Any], object]] = {
    "float": lambda value, text: value,
    "int": lambda value, text: int(value) if text is None else int(text),
    "bool": lambda value, text: text == "true",
    "str": lambda value, text: text,
    "json": lambda value, text: decode(text),
    "null": lambda value, text: None,
}


def value_of(type_: str, value: float | None, text: str | None) -> object:
    """The value that `split_values` wrote."""
    return _VALUES[type_](value, text)
