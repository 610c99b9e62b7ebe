"""Values of any type, such as a runner's metadata, in the store's exact encoding.

A value that the encoding does not know becomes a dict with the one key ``$kind…``:

==================  ==========================================================
kind                what follows
==================  ==========================================================
``ndarray``         bytes of an ``.npy`` file
``scalar``          the same, of a NumPy scalar
``frame``           bytes of an Arrow stream of a pandas frame
``set``             a list
``local time``      ISO text of a time without a zone
``timestamp``       nanoseconds since 1970 and the zone of a pandas Timestamp
``object``          name of a `storable` type, and its fields or its pickle
``ax``              what Ax's own encoder makes of it
==================  ==========================================================
"""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from trialstore.artifacts.arrays import dump_npy, load_npy
from trialstore.model.codec import plain
from trialstore.model.errors import UsageError

__all__ = ["KIND", "decode_value", "encode_value", "storable"]

KIND = "__kind"
"""Marks the dict that stands for a value of another type."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class _Storable:
    cls: type
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


_BY_TYPE: dict[type, tuple[str, _Storable]] = {}
_BY_NAME: dict[str, _Storable] = {}


def storable(
    cls: type[T] | None = None,
    *,
    name: str | None = None,
    dump: Callable[[T], Any] | None = None,
    load: Callable[[Any], T] | None = None,
    pickled: bool = False,
) -> Any:
    """Let objects of a type be stored in the metadata of a run, and come back as they were.

    To be called, or used as a decorator, in each process that saves or loads them. A store never names code to be
    imported or run: an object of a type that was not declared is refused, when it is saved and when it is loaded.

    Args:
        cls: A dataclass, a named tuple or a pydantic model needs no more; its fields are stored, and `__init__` is not
            run again.
        name: In the store; module and name of the class by default.
        dump: Turns an object into values that can be stored.
        load: Turns them into the object.
        pickled: Store a pickle. Loading one can run any code that whoever writes to the store puts there.

    Raises:
        UsageError: the type is of none of these kinds, and neither `dump` and `load` nor `pickled` are given.

    Example:
        >>> from dataclasses import dataclass
        >>> @storable
        ... @dataclass
        ... class Result:
        ...     mean: float
        >>> decode_value(encode_value({"simulation_result": Result(1.5)}))
        {'simulation_result': Result(mean=1.5)}
    """
    if cls is None:
        return lambda decorated: storable(decorated, name=name, dump=dump, load=load, pickled=pickled)
    if (dump is None) != (load is None):
        raise UsageError("dump and load come together", type=cls.__qualname__)
    if pickled:
        how = _Storable(cls, pickle.dumps, pickle.loads)
    elif dump is not None and load is not None:
        how = _Storable(cls, dump, load)
    else:
        how = _by_fields(cls)
    name = name or f"{cls.__module__}:{cls.__qualname__}"
    _BY_TYPE[cls] = (name, how)
    _BY_NAME[name] = how
    return cls


def _by_fields(cls: type) -> _Storable:
    if dataclasses.is_dataclass(cls):
        names = [field.name for field in dataclasses.fields(cls)]

        def load(fields: Mapping[str, Any]) -> Any:
            made = object.__new__(cls)
            for name, value in fields.items():
                object.__setattr__(made, name, value)
            return made

        return _Storable(cls, lambda value: {name: getattr(value, name) for name in names}, load)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _Storable(cls, list, lambda items: tuple.__new__(cls, items))
    if hasattr(cls, "model_construct"):
        return _Storable(cls, lambda value: dict(value), lambda fields: cls.model_construct(**fields))
    raise UsageError(
        "do not know how to store objects of this type",
        hint="pass dump= and load=, or pickled=True",
        type=f"{cls.__module__}:{cls.__qualname__}",
    )


def encode_value(value: Any, fallback: Callable[[Any], Any] | None = None) -> Any:
    """A value made of what `trialstore.model.codec` encodes.

    Args:
        value: Any value.
        fallback: What encodes a type that is not known here; it raises when it does not know it either.

    Raises:
        UsageError: the type of something in it is not known.
    """
    known = _BY_TYPE.get(type(value))
    if known is not None:
        return {KIND: "object", "type": known[0], "value": encode_value(known[1].dump(value), fallback)}
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    match value:
        case np.ndarray():
            return {KIND: "ndarray", "npy": _npy(value)}
        case np.generic():
            return {KIND: "scalar", "npy": _npy(np.asarray(value))}
        case pd.DataFrame():
            return {KIND: "frame", "arrow": _arrow(value)}
        case pd.Timestamp():
            zone = None if value.tz is None else str(value.tz)
            return {KIND: "timestamp", "ns": value.as_unit("ns").value, "unit": value.unit, "zone": zone}
        case datetime():
            return value if value.tzinfo is not None else {KIND: "local time", "iso": value.isoformat()}
    if value is pd.NaT:
        return {KIND: "timestamp", "ns": None, "unit": "ns", "zone": None}
    if type(value) is list:
        return [encode_value(item, fallback) for item in value]
    if type(value) is tuple:
        return tuple(encode_value(item, fallback) for item in value)
    if type(value) is dict:
        coded = {_key(key): encode_value(item, fallback) for key, item in value.items()}
        return {KIND: "dict", "items": coded} if KIND in coded else coded
    if type(value) in (set, frozenset):
        items = [encode_value(item, fallback) for item in value]
        return {KIND: "set", "items": items, "frozen": type(value) is frozenset}
    if fallback is not None:
        return {KIND: "ax", "value": fallback(value)}
    raise UsageError(
        "value of this type cannot be stored",
        hint="declare the type with trialstore.integrations.ax.storable",
        type=f"{type(value).__module__}:{type(value).__qualname__}",
    )


def decode_value(coded: Any, fallback: Callable[[Any], Any] | None = None) -> Any:
    """The value that `encode_value` encoded.

    Raises:
        UsageError: an object is of a type that was not declared `storable` in this process.
    """
    if isinstance(coded, list):
        return [decode_value(item, fallback) for item in coded]
    if isinstance(coded, tuple):
        return tuple(decode_value(item, fallback) for item in coded)
    if not isinstance(coded, dict):
        return coded
    match coded.get(KIND):
        case None:
            return {key: decode_value(item, fallback) for key, item in coded.items()}
        case "dict":
            return {key: decode_value(item, fallback) for key, item in coded["items"].items()}
        case "ndarray":
            return load_npy(coded["npy"])
        case "scalar":
            return load_npy(coded["npy"])[()]
        case "frame":
            return pa.ipc.open_stream(coded["arrow"]).read_all().to_pandas()
        case "timestamp":
            if coded["ns"] is None:
                return pd.NaT
            return pd.Timestamp(coded["ns"], unit="ns", tz=coded["zone"]).as_unit(coded["unit"])
        case "local time":
            return datetime.fromisoformat(coded["iso"])
        case "set":
            items = [decode_value(item, fallback) for item in coded["items"]]
            return frozenset(items) if coded["frozen"] else set(items)
        case "object":
            how = _BY_NAME.get(coded["type"])
            if how is None:
                raise UsageError(
                    "object is of a type that this process does not know",
                    hint="import its module, and declare it with trialstore.integrations.ax.storable",
                    type=coded["type"],
                )
            return how.load(decode_value(coded["value"], fallback))
        case "ax" if fallback is not None:
            return fallback(coded["value"])
        case kind:
            raise UsageError("value is of a kind that this version does not know", hint="upgrade trialstore", kind=kind)


def _key(key: Any) -> Any:
    simple = plain(key)
    if type(simple) not in (str, int, float, bool, type(None), tuple):
        raise UsageError("key of a dict cannot be stored", type=type(key).__name__)
    return simple


def _npy(array: Any) -> bytes:
    try:
        return dump_npy(array)
    except TypeError as error:
        raise UsageError(f"array cannot be stored: {error}", dtype=str(array.dtype)) from None


def _arrow(frame: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(frame)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
