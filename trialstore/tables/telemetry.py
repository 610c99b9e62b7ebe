"""Telemetry as users hand it in, a frame or tuples, as rows of the telemetry table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trialstore.model.errors import InvalidTimeError, UsageError
from trialstore.model.identity import check_name
from trialstore.model.times import format_time
from trialstore.tables.schema import ROW_SCHEMAS, TIME
from trialstore.tables.times import time_array
from trialstore.tables.values import SAFE_INT, split_values

__all__ = ["telemetry_from_arrow", "telemetry_from_tuples"]

_COLUMNS = ("at", "name", "value")
_EARLIEST_US = -62_135_596_800_000_000
_LATEST_US = 253_402_300_799_999_999


def telemetry_from_arrow(trial: int, attempt: int, samples: Any) -> pa.Table:
    """The telemetry rows of a frame with the columns ``at``, ``name`` and ``value``.

    Args:
        trial: The trial that was measured.
        attempt: Its attempt.
        samples: An Arrow table or record batch, a Polars frame, or anything with the Arrow stream interface. ``at``
            holds times with a zone, in any unit; ``name`` text; ``value`` numbers, text or booleans.

    Raises:
        InvalidTimeError: the times have no zone, or one is finer than a microsecond or outside the years 1 to 9999.
        InvalidNameError: a name is empty or too long.
        UsageError: a column is missing, has another type, or has nulls where none may be.
    """
    table = _as_table(samples)
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise UsageError("telemetry columns are missing", hint="the columns are at, name and value", missing=missing)
    at = _times(table["at"])
    names = _names(table["name"])
    value, text, type_ = _values(table["value"])
    return _assemble(trial, attempt, at, names, value, text, type_)


def telemetry_from_tuples(trial: int, attempt: int, samples: Sequence[tuple[datetime, str, Any]]) -> pa.Table:
    """The telemetry rows of tuples of an aware time, a name and a value.

    Raises:
        InvalidTimeError: a time has no zone, or is finer than a microsecond.
        InvalidNameError: a name is not text, is empty or too long.
        UsageError: a value has no exact encoding.
    """
    if not samples:
        return ROW_SCHEMAS["telemetry"].empty_table()
    try:
        times, names, values = zip(*samples, strict=True)
    except (TypeError, ValueError):
        raise UsageError("telemetry must be tuples of time, name and value", sample=next(iter(samples))) from None
    for name in dict.fromkeys(names):
        check_name(name, "telemetry series")
    return _assemble(trial, attempt, _exact_times(times), pa.array(names, pa.string()), *split_values(values))


def _assemble(trial: int, attempt: int, at: Any, names: Any, value: Any, text: Any, type_: Any) -> pa.Table:
    count = len(at)
    schema = ROW_SCHEMAS["telemetry"]
    trials = pa.repeat(pa.scalar(trial, pa.int64()), count)
    attempts = pa.repeat(pa.scalar(attempt, pa.int32()), count)
    return pa.table([trials, attempts, at, names, value, text, type_], schema=schema)


def _as_table(samples: Any) -> pa.Table:
    if isinstance(samples, pa.Table):
        return samples
    if isinstance(samples, pa.RecordBatch):
        return pa.Table.from_batches([samples])
    if hasattr(samples, "__arrow_c_stream__"):
        return pa.table(samples)
    raise UsageError(
        "telemetry must be tuples, an Arrow table or a Polars frame",
        type=f"{type(samples).__module__}.{type(samples).__qualname__}",
    )


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_timestamp(column.type):
        raise InvalidTimeError(
            "column at must hold times", hint="cast it to a timestamp with a zone", type=str(column.type)
        )
    if column.type.tz is None:
        raise InvalidTimeError(
            "times have no zone",
            hint='say which zone they are in, for example column.dt.replace_time_zone("UTC") in Polars',
            column="at",
        )
    _refuse_nulls(column, "at")
    try:
        times = column.cast(TIME)
    except pa.ArrowInvalid as error:
        raise InvalidTimeError(
            "times are finer than a microsecond, or too far away",
            hint='round them first, for example column.dt.round("1us") in Polars',
            reason=str(error),
        ) from None
    if len(times):
        limits = pc.min_max(times.cast(pa.int64())).as_py()
        if limits["min"] < _EARLIEST_US or limits["max"] > _LATEST_US:
            raise InvalidTimeError("times are outside the years 1 to 9999", column="at")
    return times


def _exact_times(times: Sequence[Any]) -> pa.Array:
    zones = {time.tzinfo if type(time) is datetime else None for time in times}
    if all(type(zone) is timezone for zone in zones):
        return pa.array(times, TIME)
    return time_array([_spell(time) for time in times])


def _spell(time: Any) -> str:
    if not isinstance(time, datetime):
        raise InvalidTimeError("not a time", hint="pass datetime.now(timezone.utc)", time=time)
    if getattr(time, "nanosecond", 0):
        raise InvalidTimeError("time is finer than a microsecond", hint='round it first: time.round("us")', time=time)
    return format_time(time)


def _names(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = _dense(column)
    if not (
        pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    ):
        raise UsageError("column name must hold text", type=str(column.type))
    _refuse_nulls(column, "name")
    names = column.cast(pa.string())
    for name in pc.unique(names).to_pylist():
        check_name(name, "telemetry series")
    return names


def _dense(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a dictionary-encoded column."""
    type_ = pa.string() if pa.types.is_string_view(column.type.value_type) else column.type.value_type
    return pa.chunked_array([chunk.dictionary.cast(type_).take(chunk.indices) for chunk in column.chunks], type_)


def _refuse_nulls(column: pa.ChunkedArray, name: str) -> None:
    if column.null_count:
        raise UsageError("column must not have nulls", column=name, nulls=column.null_count)


def _values(column: pa.ChunkedArray) -> tuple[Any, Any, Any]:
    """The columns value, text and type, without looking at single values where the column's type says enough."""
    if pa.types.is_dictionary(column.type):
        column = _dense(column)
    type_, count = column.type, len(column)
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        column = column.cast(pa.string())
        type_ = column.type
    if pa.types.is_floating(type_):
        return column.cast(pa.float64()), pa.nulls(count, pa.string()), _types("float", column)
    if pa.types.is_string(type_):
        return pa.nulls(count, pa.float64()), column, _types("str", column)
    if pa.types.is_boolean(type_):
        text = pc.if_else(column, "true", "false")
        return column.cast(pa.int8()).cast(pa.float64()), text, _types("bool", column)
    if pa.types.is_integer(type_):
        limits = pc.min_max(column).as_py()
        if limits["min"] is None or (limits["min"] >= -SAFE_INT and limits["max"] <= SAFE_INT):
            return column.cast(pa.float64()), pa.nulls(count, pa.string()), _types("int", column)
        return split_values(column.to_pylist())
    if pa.types.is_null(type_):
        return pa.nulls(count, pa.float64()), pa.nulls(count, pa.string()), pa.repeat("null", count)
    raise UsageError("column value must hold numbers, text or booleans", type=str(type_))


def _types(name: str, column: pa.ChunkedArray) -> Any:
    if not column.null_count:
        return pa.repeat(name, len(column))
    return pc.if_else(column.is_valid(), name, "null")
