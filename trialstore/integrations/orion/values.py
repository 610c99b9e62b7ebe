"""Oríon's values in a store: what the exact encoding has no form for, and both ways of writing it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

from trialstore.model.codec import plain
from trialstore.model.errors import UsageError

__all__ = ["from_stored", "from_time", "to_stored", "to_time"]

_MARK = "orion"
_SCALARS = frozenset({bool, int, float, str, bytes, type(None)})


def to_stored(value: Any) -> Any:
    """A value of a document as one that `trialstore.model.codec` encodes.

    Oríon's times have no zone and mean UTC; they, sets and paths become a marked mapping. So does any other object,
    as a pickle, which is what Oríon's own databases make of all of them.

    Example:
        >>> to_stored({"at": datetime(2026, 1, 1), "shape": (3, 2**63)})
        {'at': {'orion': 'time', 'value': '2026-01-01T00:00:00.000000Z'}, 'shape': (3, 9223372036854775808)}
    """
    kind = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, datetime) and value.tzinfo is None:
        return {_MARK: "time", "value": to_time(value)}
    if isinstance(value, Mapping):
        stored = {to_stored(name): to_stored(item) for name, item in value.items()}
        return {_MARK: "mapping", "value": stored} if _MARK in stored else stored
    if isinstance(value, list):
        return [to_stored(item) for item in value]
    if isinstance(value, tuple):
        return tuple(to_stored(item) for item in value)
    if isinstance(value, set | frozenset):
        return {_MARK: kind.__name__, "value": [to_stored(item) for item in value]}
    if kind.__name__ == "ObjectId" and kind.__module__.startswith("bson"):
        return str(value)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return to_stored(value.tolist())
    if isinstance(value, PurePath):
        return {_MARK: "path", "value": str(value)}
    simple = plain(value)
    return simple if type(simple) in _SCALARS or isinstance(simple, datetime) else _pickled(value)


def _pickled(value: Any) -> dict[str, Any]:
    try:
        return {_MARK: "pickle", "value": pickle.dumps(value)}
    except Exception as error:
        raise UsageError("value cannot be stored", type=type(value).__name__, reason=str(error)) from None


def from_stored(value: Any) -> Any:
    """The value that `to_stored` wrote."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        mark = value.get(_MARK)
        if mark == "time":
            return from_time(value["value"])
        if mark == "path":
            return Path(value["value"])
        if mark == "pickle":
            return pickle.loads(value["value"])
        if mark == "mapping":
            return {name: from_stored(item) for name, item in value["value"].items()}
        if mark in ("set", "frozenset"):
            items = (from_stored(item) for item in value["value"])
            return set(items) if mark == "set" else frozenset(items)
        return {name: from_stored(item) for name, item in value.items()}
    if kind is list:
        return [from_stored(item) for item in value]
    if kind is tuple:
        return tuple(from_stored(item) for item in value)
    return value


def to_time(value: datetime) -> str:
    """A time of Oríon's, without zone and in UTC, as it is stored."""
    return value.isoformat(timespec="microseconds") + "Z"


def from_time(text: str) -> datetime:
    """The time without zone, in UTC, that a stored time is for Oríon."""
    return datetime.fromisoformat(text.removesuffix("Z"))
