from __future__ import annotations

import math
from datetime import UTC
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialstore.model.codec import encode
from trialstore.model.record import TrialRecord, pack_dict
from trialstore.model.status import Status
from trialstore.tables.merge import concat_trials
from trialstore.tables.schema import fields_of, merge_names, unify_fields
from trialstore.tables.trials import records_from, trials_table

AT = "2026-11-21T01:02:03.123456Z"


def record(number: int, params: dict[str, Any], **more: Any) -> TrialRecord:
    return TrialRecord(
        number=number, id=f"{number:032x}", params=params, status=Status.SUCCEEDED, submitted_at=AT, seq=number, **more
    )


def spelled(records: list[TrialRecord]) -> list[bytes]:
    """Bit-exact and type-exact, where == is not: NaN, 1 and True, -0.0, the order of keys."""
    return [encode([list(pack_dict({"": r.params}, "")[""].items()), _rest(r)]) for r in records]


def _rest(r: TrialRecord) -> list[Any]:
    fields = [getattr(r, name) for name in r.__slots__ if name != "params"]
    return [list(field.items()) if isinstance(field, dict) else field for field in fields]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**70, 10**400]),
    st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 1.0, 1e16]),
    TEXT,
    st.sampled_from(["1", "true", "null", "$float", '{"$float":"nan"}']),
    st.binary(max_size=3),
    st.datetimes(timezones=st.just(UTC)),
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=2) | st.dictionaries(TEXT, v, max_size=2) | st.tuples(v, v), max_leaves=4
)
ODD_NAMES = ["_", "", "ß", "ss", "a.b", "$float", "n\0ul", 'q"u', "é", "*", "^a.*$"]
NAMES = st.sampled_from(["a", "A", "b", "lr", "LR", *ODD_NAMES]) | TEXT
DICTS = st.dictionaries(NAMES, VALUES, max_size=4)
PLAIN_DICTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.floats() | st.integers(0, 3), max_size=3)
TIMES = st.sampled_from([None, AT, "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"])


NOISE = st.none() | st.dictionaries(NAMES, st.floats() | st.integers(), min_size=1, max_size=3)
PROFILES = st.tuples(
    TEXT,
    st.sampled_from([None, "wall", "cpu"]),
    st.floats(),
    st.floats(),
    st.sampled_from([None, "bytes"]),
    *[st.floats()] * 6,
).map(list)
GATHERED = st.fixed_dictionaries(
    {
        "sem": NOISE,
        "n": NOISE,
        "profiles": st.none() | st.lists(PROFILES, min_size=1, max_size=2),
        "info": st.none() | VALUES,
        "extras": st.none() | DICTS,
        "storage": st.none() | st.lists(TEXT, min_size=1, max_size=2),
        "runner": st.none() | st.integers(-(2**63), 2**63 - 1),
    }
) | st.just({})


@st.composite
def record_lists(draw: st.DrawFn, dicts: st.SearchStrategy[dict[str, Any]] = DICTS) -> list[TrialRecord]:
    size = draw(st.integers(0, 4))
    return [
        record(
            number,
            draw(dicts),
            metrics=draw(dicts),
            fidelity=draw(st.none() | dicts),
            summary=draw(st.none() | dicts),
            attributes=draw(st.none() | dicts),
            seed=draw(st.none() | st.integers()),
            session=draw(st.none() | st.just("s")),
            parent=draw(st.none() | st.just(0)),
            started_at=draw(TIMES),
            attempts=draw(
                st.just([]) | st.just([{"attempt": 1, "status": "INTERRUPTED", "late": {"metrics": {"x": 1.5}}}])
            ),
            traceback=draw(st.none() | TEXT),
            **draw(GATHERED),
        )
        for number in range(size)
    ]


@given(record_lists() | record_lists(PLAIN_DICTS))
@settings(max_examples=150, deadline=None)
def test_records_come_back_exactly(records: list[TrialRecord]) -> None:
    assert spelled(records_from(trials_table(records))) == spelled(records)


@given(st.lists(record_lists() | record_lists(PLAIN_DICTS), max_size=3))
@settings(max_examples=100, deadline=None)
def test_records_of_merged_tables_come_back_exactly(batches: list[list[TrialRecord]]) -> None:
    merged = concat_trials([trials_table(records) for records in batches])
    assert spelled(records_from(merged)) == [line for records in batches for line in spelled(records)]


def kinds(table: pa.Table, column: str = "params") -> dict[str, str]:
    return fields_of(table.schema.field(column).type)


@pytest.mark.parametrize(
    ("values", "kind", "column", "exact_rows"),
    [
        ([True, False], "bool", [True, False], 0),
        ([1, 2], "int64", [1, 2], 0),
        ([1, 0.5], "double", [1.0, 0.5], 1),
        ([1, 2**70], "double", [1.0, float(2**70)], 2),
        (["a", "b"], "string", ["a", "b"], 0),
        ([1, "auto", None, True], "string", ["1", "auto", None, "true"], 3),
        ([[1], "x"], "string", ["[1]", "x"], 1),
        ([True, 1], "string", ["true", "1"], 2),
        ([None, None], "null", [None, None], 2),
        ([math.inf, 10**400], "double", [math.inf, math.inf], 1),
    ],
)
def test_the_kind_of_a_field_is_that_of_its_values(
    values: list[Any], kind: str, column: list[Any], exact_rows: int
) -> None:
    table = trials_table([record(i, {"x": value}) for i, value in enumerate(values)])
    assert kinds(table) == {"x": kind}
    assert [row["x"] for row in table["params"].to_pylist()] == column
    assert table.num_rows - table["exact"].null_count == exact_rows


def test_absent_fields_and_absent_structs_need_no_exact_text() -> None:
    table = trials_table([record(0, {"a": 1, "c": 2}), record(1, {"a": 1, "b": 3, "c": 2}, summary={}), record(2, {})])
    assert list(kinds(table)) == ["a", "b", "c"]
    assert table["exact"].null_count == 3
    assert [r.summary for r in records_from(table)] == [None, {}, None]


def test_another_order_of_keys_is_kept() -> None:
    table = trials_table([record(0, {"a": 1, "b": 2}), record(1, {"b": 2, "a": 1})])
    assert table["exact"].null_count == 1
    assert [list(r.params) for r in records_from(table)] == [["a", "b"], ["b", "a"]]


def test_names_that_differ_in_case_share_a_field_and_none_is_lost() -> None:
    records = [record(0, {"lr": 0.1}), record(1, {"LR": 0.2}), record(2, {"lr": 0.3, "LR": 9.0})]
    table = trials_table(records)
    assert kinds(table) == {"lr": "double"}
    assert [row["lr"] for row in table["params"].to_pylist()] == [0.1, 0.2, 0.3]
    assert records_from(table) == records


def test_case_counts_outside_ascii_as_it_does_for_duckdb() -> None:
    table = trials_table([record(0, {"É": 1, "é": 2, "ß": 3, "ss": 4})])
    assert list(kinds(table)) == ["É", "é", "ß", "ss"]
    assert table["exact"].null_count == 1


def test_a_struct_without_fields_has_the_placeholder() -> None:
    table = trials_table([record(0, {})])
    assert table.schema.field("params").type == pa.struct([("_", pa.int32())])
    assert kinds(table) == {}
    assert table["params"].null_count == 0
    assert table["fidelity"].null_count == 1


def test_all_columns_are_there_however_few_trials() -> None:
    assert trials_table([]).schema.names == trials_table([record(0, {"a": 1})]).schema.names


def test_merging_names_keeps_orders_that_agree() -> None:
    assert merge_names([["a", "c"], ["a", "b", "c"], ["c", "d"], ["z", "a"]]) == ["z", "a", "b", "c", "d"]


def test_unified_fields() -> None:
    assert unify_fields([{"a": "int64", "b": "null"}, {"A": "double", "c": "bool"}, {"b": "string", "c": "int64"}]) == {
        "a": "double",
        "c": "string",
        "b": "string",
    }


def test_merging_widens_columns_and_says_what_they_no_longer_tell() -> None:
    merged = concat_trials([trials_table([record(0, {"x": 1, "y": 2})]), trials_table([record(1, {"x": 0.5})])])
    assert kinds(merged) == {"x": "double", "y": "int64"}
    assert merged["exact"].is_valid().to_pylist() == [True, False]
    assert [r.params for r in records_from(merged)] == [{"x": 1, "y": 2}, {"x": 0.5}]
    assert type(records_from(merged)[0].params["x"]) is int
