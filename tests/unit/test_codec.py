from __future__ import annotations

import json
import math
import struct
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialstore.model.codec import decode, encode, pack, plain, unpack
from trialstore.model.errors import DamagedError, InvalidTimeError, UsageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TAGS = st.sampled_from(["$float", "$int", "$tuple", "$bytes", "$time", "$dict", "$unheard", "$", "value"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**400, -0.0, 5e-324, 1.7976931348623157e308])
    | st.floats()
    | TEXT
    | st.binary(max_size=6)
    | st.datetimes(timezones=st.just(UTC))
)
KEYS = TEXT | TAGS | st.integers() | st.booleans() | st.none() | st.tuples(st.integers(), TEXT)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(TEXT | TAGS, inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


def same(left: Any, right: Any) -> bool:
    """Equal in type, value and, for floats, in every bit that Python shows."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return struct.pack(">d", left) == struct.pack(">d", right)
    if isinstance(left, dict):
        pairs = zip(left.items(), right.items(), strict=True) if len(left) == len(right) else None
        return pairs is not None and all(same(a, c) and same(b, d) for (a, b), (c, d) in pairs)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_what_goes_in_comes_out(value: Any) -> None:
    data = encode(value)
    assert same(decode(data), value)
    assert same(decode(data.decode()), value)
    assert same(unpack(pack(value)), value)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_the_encoding_is_one_line_of_standard_json(value: Any) -> None:
    data = encode(value)
    assert b"\n" not in data
    assert b"\r" not in data

    def refuse(constant: str) -> None:
        raise AssertionError(f"not standard JSON: {constant}")

    json.loads(data, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, b"null"),
        (True, b"true"),
        (1, b"1"),
        (1.0, b"1.0"),
        (-0.0, b"-0.0"),
        (1e300, b"1e+300"),
        (2**63 - 1, b"9223372036854775807"),
        (2**63, b'{"$int":"9223372036854775808"}'),
        (-(2**63) - 1, b'{"$int":"-9223372036854775809"}'),
        (math.nan, b'{"$float":"nan"}'),
        (math.inf, b'{"$float":"inf"}'),
        (-math.inf, b'{"$float":"-inf"}'),
        ("é\n", '"é\\n"'.encode()),
        ((1, (2.0,)), b'{"$tuple":[1,{"$tuple":[2.0]}]}'),
        (b"\x00\xff", b'{"$bytes":"AP8="}'),
        (datetime(2026, 11, 21, 1, 2, 3, 45, UTC), b'{"$time":"2026-11-21T01:02:03.000045Z"}'),
        ({"a": [1, None]}, b'{"a":[1,null]}'),
        ({"$int": 1}, b'{"$dict":[["$int",1]]}'),
        ({1: "x", None: 2}, b'{"$dict":[[1,"x"],[null,2]]}'),
        ({}, b"{}"),
    ],
)
def test_the_bytes_are_pinned(value: Any, data: bytes) -> None:
    assert encode(value) == data
    assert same(decode(data), value)


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    HIGH = "high"


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int16(-3), -3),
        (np.bool_(True), True),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.str_("x"), "x"),
        (np.array(7), 7),
        (np.float32("nan"), math.nan),
        (Level.LOW, 1),
        (Word.HIGH, "high"),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (bytearray(b"x"), b"x"),
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_twins_of_builtin_values_are_stored_as_these(value: Any, stored: Any) -> None:
    assert same(decode(encode(value)), stored)
    assert same(decode(encode([{"k": value}])), [{"k": stored}])


def test_a_scalar_of_another_library_becomes_plain() -> None:
    assert same(plain(np.int64(4)), 4)
    assert same(plain(Word.HIGH), "high")
    assert plain(plain) is plain


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, np.array([1, 2]), range(3)])
def test_what_has_no_exact_encoding_is_refused_and_located(value: Any) -> None:
    with pytest.raises(UsageError, match=r"cannot be stored exactly") as caught:
        pack({"a": [0, value]}, "params")
    assert caught.value.facts["where"] == "params.a[1]"
    assert "hint: use None, bool" in str(caught.value)


def test_a_lone_surrogate_is_refused_in_values_and_keys() -> None:
    for value in ("\ud800", {"\ud800": 1}, {1: "\udfff"}):
        with pytest.raises(UsageError, match="lone surrogate"):
            encode(value)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(InvalidTimeError, match="no zone"):
        encode({"at": datetime(2026, 1, 1)})


def test_an_integer_longer_than_python_reads_back_is_refused() -> None:
    with pytest.raises(UsageError, match="too many digits"):
        encode({"a": 10**5000})


def test_nesting_has_a_limit_and_no_stack_overflow() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(UsageError, match="nested too deeply"):
        encode(value)
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert decode(encode(deep)) == deep


@pytest.mark.parametrize("data", [b"", b"{", b"nul", b'{"a":}', b"\xff", b'"\xed\xa0\x80"'])
def test_bytes_that_are_not_json_are_damage(data: bytes) -> None:
    with pytest.raises(DamagedError, match="not valid JSON"):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"$unheard":1}',
        b'{"$float":"x"}',
        b'{"$float":[]}',
        b'{"$int":"1.5"}',
        b'{"$tuple":1}',
        b'{"$bytes":"a"}',
        b'{"$time":"yesterday"}',
        b'{"$dict":[[1]]}',
        b'{"$dict":[[[],1]]}',
    ],
)
def test_tags_that_cannot_be_read_are_damage(data: bytes) -> None:
    with pytest.raises(DamagedError):
        decode(data)
