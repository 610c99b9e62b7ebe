from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from trialstore.model.errors import InvalidNameError, InvalidTimeError, UsageError
from trialstore.tables.schema import ROW_SCHEMAS, TIME
from trialstore.tables.telemetry import telemetry_from_arrow, telemetry_from_tuples
from trialstore.tables.times import time_texts

NOW = datetime(2026, 11, 21, 1, 2, 3, 123456, tzinfo=UTC)
TEXT = "2026-11-21T01:02:03.123456Z"


def frame(at: pa.DataType = TIME, name: Any = None, value: Any = None) -> pa.Table:
    stamp = pa.array([NOW], TIME) if at == TIME else pa.array([NOW], TIME).cast(at, safe=False)
    return pa.table({"at": stamp, "name": name or pa.array(["cpu"]), "value": value or pa.array([0.5])})


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    assert table.schema == ROW_SCHEMAS["telemetry"]
    columns = [time_texts(table["at"]), *(table[name].to_pylist() for name in ("name", "value", "text", "type"))]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize(
    "at", [TIME, pa.timestamp("ns", "UTC"), pa.timestamp("us", "Europe/Rome"), pa.timestamp("ns", "-03:00")], ids=str
)
def test_times_of_any_unit_and_zone_mean_their_instant(at: pa.DataType) -> None:
    assert rows(telemetry_from_arrow(3, 2, frame(at))) == [(TEXT, "cpu", 0.5, None, "float")]


def test_times_that_would_lose_digits_are_refused() -> None:
    at = pa.array([1_700_000_000_000_000_001], pa.timestamp("ns", "UTC"))
    with pytest.raises(InvalidTimeError, match="finer than a microsecond"):
        telemetry_from_arrow(0, 1, pa.table({"at": at, "name": ["a"], "value": [1.0]}))


def test_times_without_a_zone_are_refused_with_a_hint() -> None:
    with pytest.raises(InvalidTimeError, match="replace_time_zone"):
        telemetry_from_arrow(0, 1, frame(pa.timestamp("us")))
    with pytest.raises(InvalidTimeError, match="no zone"):
        telemetry_from_tuples(0, 1, [(NOW, "a", 1), (NOW.replace(tzinfo=None), "b", 1)])


def test_times_outside_the_calendar_are_refused() -> None:
    at = pa.array([2**62], TIME)
    with pytest.raises(InvalidTimeError, match="years 1 to 9999"):
        telemetry_from_arrow(0, 1, pa.table({"at": at, "name": ["a"], "value": [1.0]}))


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (pa.array([0.5], pa.float32()), (0.5, None, "float")),
        (pa.array([7], pa.uint8()), (7.0, None, "int")),
        (pa.array([2**64 - 1], pa.uint64()), (2.0**64, "18446744073709551615", "int")),
        (pa.array([True]), (1.0, "true", "bool")),
        (pa.array(["warm"]), (None, "warm", "str")),
        (pa.array(["warm"]).dictionary_encode(), (None, "warm", "str")),
        (pa.array(["warm"], pa.large_string()), (None, "warm", "str")),
        (pa.array([None], pa.float64()), (None, None, "null")),
        (pa.array([None], pa.bool_()), (None, None, "null")),
        (pa.array([None], pa.int64()), (None, None, "null")),
        (pa.nulls(1), (None, None, "null")),
    ],
)
def test_values_of_every_kind(value: pa.Array, row: tuple[Any, ...]) -> None:
    assert rows(telemetry_from_arrow(0, 1, frame(value=value))) == [(TEXT, "cpu", *row)]


def test_frames_of_polars_and_pandas() -> None:
    data = {"at": [NOW], "name": ["cpu"], "value": [0.5]}
    expected = [(TEXT, "cpu", 0.5, None, "float")]
    assert rows(telemetry_from_arrow(0, 1, pl.DataFrame(data))) == expected
    assert (
        rows(telemetry_from_arrow(0, 1, pl.DataFrame(data).with_columns(pl.col("name").cast(pl.Categorical))))
        == expected
    )
    assert rows(telemetry_from_arrow(0, 1, pa.Table.from_pandas(pd.DataFrame(data)))) == expected


@pytest.mark.parametrize(
    ("samples", "error", "match"),
    [
        (pa.table({"at": [NOW], "name": ["a"]}), UsageError, "columns are missing"),
        (pa.table({"at": ["now"], "name": ["a"], "value": [1]}), InvalidTimeError, "must hold times"),
        (frame(name=pa.array([None], pa.string())), UsageError, "nulls"),
        (frame(name=pa.array([""])), InvalidNameError, "empty"),
        (frame(name=pa.array([7])), UsageError, "must hold text"),
        (frame(value=pa.array([[1]])), UsageError, "numbers, text or booleans"),
        ({"at": 1}, UsageError, "Polars frame"),
    ],
)
def test_frames_that_are_refused(samples: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        telemetry_from_arrow(0, 1, samples)


def test_tuples_in_mixed_zones_and_kinds() -> None:
    east = timezone(timedelta(hours=5))
    samples = [
        (NOW, "cpu", 1),
        (NOW.astimezone(east), "phase", "warm-up"),
        (NOW.astimezone(ZoneInfo("Europe/Rome")), "on", True),
        (pd.Timestamp(NOW), "x", [1]),
    ]
    assert rows(telemetry_from_tuples(0, 1, samples)) == [
        (TEXT, "cpu", 1.0, None, "int"),
        (TEXT, "phase", None, "warm-up", "str"),
        (TEXT, "on", 1.0, "true", "bool"),
        (TEXT, "x", None, "[1]", "json"),
    ]
    assert telemetry_from_tuples(0, 1, []).schema == ROW_SCHEMAS["telemetry"]


@pytest.mark.parametrize(
    ("sample", "error"),
    [
        ((1.5, "a", 1), InvalidTimeError),
        ((pd.Timestamp(1, tz="UTC"), "a", 1), InvalidTimeError),
        ((NOW, "", 1), InvalidNameError),
        ((NOW, 3, 1), InvalidNameError),
        ((NOW, "a", object()), UsageError),
        ((NOW, "a"), UsageError),
    ],
)
def test_tuples_that_are_refused(sample: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        telemetry_from_tuples(0, 1, [sample])
