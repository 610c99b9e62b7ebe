"""The exact JSON encoding: what goes in comes out, type for type and bit for bit.

Plain JSON holds None, bools, integers up to 64 bits, finite floats (always with a point or an exponent),
text, lists and dicts. What JSON cannot say is a dict with one key that starts with ``$``:

=================  ====================================================
value              encoding
=================  ====================================================
NaN, inf, -inf     ``{"$float": "nan"}``, ``"inf"``, ``"-inf"``
a larger integer   ``{"$int": "36893488147419103232"}``
a tuple            ``{"$tuple": [1, 2]}``
bytes              ``{"$bytes": "<base64>"}``
an aware datetime  ``{"$time": "2026-11-21T01:02:03.123456Z"}``
other dicts        ``{"$dict": [[key, value], …]}``, where a key is not text or starts with ``$``
=================  ====================================================
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from numbers import Integral, Real
from typing import Any, TypeAlias

from pydantic_core import from_json, to_json

from trialstore.model.errors import DamagedError, UsageError
from trialstore.model.times import format_time, parse_time

__all__ = ["Json", "decode", "encode", "pack", "pack_dict", "plain", "unpack", "unpack_dict"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""What the encoded form is made of."""

_INT64 = 2**63
_BUILT_IN = frozenset({bool, int, float, str, type(None)})
_DEPTH = 100


def encode(value: object) -> bytes:
    """UTF-8 JSON of any supported value, without spaces or line breaks.

    Raises:
        UsageError: the value, or something in it, has no exact encoding; the error says where.

    Example:
        >>> encode({"lr": 1.0, "k": (1, float("inf"))})
        b'{"lr":1.0,"k":{"$tuple":[1,{"$float":"inf"}]}}'
    """
    return to_json(pack(value))


def decode(data: bytes | str) -> object:
    """The value that `encode` wrote.

    Raises:
        DamagedError: the bytes are not this encoding.
    """
    try:
        value = from_json(data)
    except ValueError as error:
        raise DamagedError("not valid JSON", reason=str(error)) from None
    tagged = b'"$' in data if isinstance(data, bytes) else '"$' in data
    try:
        return unpack(value) if tagged else value
    except (ValueError, TypeError) as error:
        raise DamagedError("not this encoding", reason=str(error)) from None


def pack(value: object, where: str = "value") -> Json:
    """The plain JSON form of a value; see the module's table."""
    return _pack(value, where, 0)


def pack_dict(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The plain JSON form of each value; the names stay as they are, even where one starts with ``$``."""
    return {
        name: value if _is_packed(value, type(value)) else _pack(value, f"{where}.{name}", 0)
        for name, value in values.items()
    }


def _is_packed(value: Any, kind: type) -> bool:
    """Whether a value is its own plain JSON form, which most are."""
    if kind is float:
        return bool(-math.inf < value < math.inf)
    if kind is int:
        return bool(-_INT64 <= value < _INT64)
    return bool(value.isascii()) if kind is str else kind is bool or value is None


def unpack_dict(packed: Mapping[str, object]) -> dict[str, Any]:
    """The values that `pack_dict` packed."""
    return {name: value if type(value) in _BUILT_IN else unpack(value) for name, value in packed.items()}


def _pack(value: object, where: str, depth: int) -> Json:
    kind = type(value)
    if kind is str:
        return _text(value, where)  # type: ignore[arg-type]
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}  # type: ignore[arg-type,return-value]
    if kind is bool or value is None:
        return value  # type: ignore[return-value]
    if kind is int:
        return value if -_INT64 <= value < _INT64 else _long(value, where)  # type: ignore[operator,return-value,arg-type]
    if depth > _DEPTH:
        raise UsageError("value is nested too deeply", where=where[:200], limit=_DEPTH)
    if isinstance(value, Mapping):
        return _pack_mapping(value, where, depth)
    if isinstance(value, list):
        return [_pack(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": [_pack(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"$time": format_time(value)}
    simple = plain(value)
    if type(simple) is not kind:
        return _pack(simple, where, depth)
    raise UsageError(
        "value cannot be stored exactly",
        hint="use None, bool, int, float, str, bytes, aware datetimes, and lists, tuples and dicts of them",
        where=where,
        type=f"{kind.__module__}.{kind.__qualname__}",
    )


def _pack_mapping(value: Mapping[object, object], where: str, depth: int) -> Json:
    if all(type(key) is str and not key.startswith("$") for key in value):
        return {
            _text(key, where): _pack(item, f"{where}.{key}", depth + 1)  # type: ignore[arg-type]
            for key, item in value.items()
        }
    return {
        "$dict": [
            [_pack(key, where, depth + 1), _pack(item, f"{where}[{key!r}]", depth + 1)] for key, item in value.items()
        ]
    }


def _long(value: int, where: str) -> Json:
    try:
        return {"$int": str(value)}
    except ValueError:  # Python's own limit, which protects whoever reads it back
        raise UsageError("integer has too many digits", where=where, bits=value.bit_length()) from None


def _text(value: str, where: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(
                "text holds a lone surrogate and is not valid Unicode",
                hint="decode the bytes with their real encoding, or store bytes",
                where=where,
                text=value,
            ) from None
    return value


def plain(value: object) -> object:
    """The built-in twin of a scalar of another library (NumPy's, an enum's), or the value itself.

    Example:
        >>> from fractions import Fraction
        >>> from enum import IntEnum
        >>> plain(IntEnum("Level", "LOW").LOW), plain(Fraction(1, 3))
        (1, Fraction(1, 3))
    """
    if type(value) in _BUILT_IN:
        return value
    if isinstance(value, bool | int | float | str):
        for base in (bool, int, float, str):
            if isinstance(value, base):
                return base.__str__(value) if base is str else base(value)
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        return item()
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and hasattr(value, "is_integer") and type(value).__module__ == "numpy":
        return float(value)
    return value


_UNPACK: dict[str, Callable[[Any], object]] = {
    "$float": lambda body: float(body),
    "$int": lambda body: int(body),
    "$tuple": lambda body: tuple(unpack(item) for item in body),
    "$bytes": lambda body: base64.b64decode(body),
    "$time": lambda body: parse_time(body),
    "$dict": lambda body: {unpack(key): unpack(item) for key, item in body},
}


def unpack(value: object) -> object:
    """The value whose plain JSON form this is."""
    if isinstance(value, dict):
        if len(value) == 1:
            ((tag, body),) = value.items()
            if tag.startswith("$"):
                reader = _UNPACK.get(tag)
                if reader is None:
                    raise DamagedError("unknown kind of value", hint="upgrade trialstore", kind=tag)
                try:
                    return reader(body)
                except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
                    raise DamagedError(
                        "a stored value is not as the format says", kind=tag, reason=str(error)
                    ) from None
        return {key: unpack(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unpack(item) for item in value]
    return value
