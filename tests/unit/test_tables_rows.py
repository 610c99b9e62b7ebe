from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialstore.model.codec import encode
from trialstore.tables.rows import order_rows, rows_table
from trialstore.tables.schema import ROW_SCHEMAS
from trialstore.tables.times import time_array, time_text, time_texts
from trialstore.tables.values import split_values, value_of

AT = "2026-11-21T01:02:03.123456Z"
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63, 10**400]),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.sampled_from(["true", "null", "1"]),
    st.lists(st.integers(), max_size=2),
    st.tuples(st.floats()),
    st.dictionaries(st.just("$float"), st.integers(), max_size=1),
)


@given(st.lists(SCALARS, max_size=5) | st.lists(st.integers(), max_size=5) | st.lists(st.floats(), max_size=5))
@settings(max_examples=150, deadline=None)
def test_values_come_back_exactly(values: list[Any]) -> None:
    columns = [column.to_pylist() for column in split_values(values)]
    back = [value_of(type_, value, text) for value, text, type_ in zip(*columns, strict=True)]
    assert [encode(value) for value in back] == [encode(value) for value in values]


@pytest.mark.parametrize(
    ("value", "row"),
    [
        (0.5, (0.5, None, "float")),
        (math.inf, (math.inf, None, "float")),
        (3, (3.0, None, "int")),
        (2**53 + 1, (float(2**53), "9007199254740993", "int")),
        (2**60, (float(2**60), None, "int")),
        (True, (1.0, "true", "bool")),
        ("x", (None, "x", "str")),
        (None, (None, None, "null")),
        ([1, 2.0], (None, "[1,2.0]", "json")),
    ],
)
def test_a_value_is_a_number_a_text_and_a_type(value: object, row: tuple[object, ...]) -> None:
    assert tuple(column[0].as_py() for column in split_values([value])) == row


def test_times_are_spelled_as_they_were() -> None:
    texts = [AT, "0001-01-01T00:00:00.000000Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z", None]
    assert time_texts(time_array(texts)) == texts
    assert time_text(time_array([AT])[0]) == AT


ROWS: dict[str, list[tuple[Any, ...]]] = {
    "metrics": [(1, 1, "loss", None, AT, 0.5), (0, 1, "loss", 3, AT, "x")],
    "telemetry": [(1, 1, AT, "cpu", 0.5), (0, 1, AT, "cpu", True)],
    "status": [(1, 0, "PENDING", AT, None, None), (0, 1, "RUNNING", AT, "host:1", "because")],
    "artifacts": [
        (1, 1, "a.json", "artifacts/x", 12, "ab", AT, None, "I1"),
        (0, 1, "b", "artifacts/y", 0, "cd", AT, "json", "I2"),
    ],
}


@pytest.mark.parametrize("name", ROW_SCHEMAS)
def test_rows_have_the_table_s_columns_and_keep_their_order(name: str) -> None:
    table = rows_table(name, ROWS[name])
    assert table.schema == ROW_SCHEMAS[name]
    assert table["trial"].to_pylist() == [1, 0]
    assert rows_table(name, []).schema == ROW_SCHEMAS[name]
    assert order_rows(name, table)["trial"].to_pylist() == [0, 1]


def sample(trial: int, second: int, name: str, value: object) -> tuple[Any, ...]:
    return (trial, 1, f"2026-11-21T01:02:{second:02}.000000Z", name, value)


def test_telemetry_of_one_key_is_the_first_that_was_written() -> None:
    rows = [
        sample(0, 2, "cpu", 1),
        sample(0, 1, "cpu", 2),
        sample(0, 2, "cpu", 3),
        sample(0, 2, "mem", 4),
        sample(0, 1, "cpu", 5),
    ]
    table = order_rows("telemetry", rows_table("telemetry", rows))
    assert table["value"].to_pylist() == [2.0, 1.0, 4.0]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from(["a", "b", "é"]), st.integers(0, 99)),
        max_size=12,
    ),
    st.sampled_from([1, 3]),
)
@settings(deadline=None)
def test_order_is_that_of_a_plain_stable_sort(keys: list[tuple[int, int, str, int]], chunks: int) -> None:
    table = rows_table("telemetry", [sample(*key) for key in keys])
    table = pa.concat_tables(
        [table.slice(i, len(keys) // chunks + 1) for i in range(0, len(keys), len(keys) // chunks + 1)] or [table]
    )
    expected: dict[Any, int] = {}
    for trial, second, name, value in keys:
        expected.setdefault((trial, name.encode(), second), value)
    assert order_rows("telemetry", table)["value"].to_pylist() == [float(expected[key]) for key in sorted(expected)]


def test_reported_values_of_one_key_are_all_kept_in_order() -> None:
    rows = [(0, 1, "loss", step, AT, float(step)) for step in (3, 1, 2)] + [(0, 1, "acc", 0, AT, 9.0)]
    table = order_rows("metrics", rows_table("metrics", rows))
    assert table["value"].to_pylist() == [9.0, 3.0, 1.0, 2.0]
