from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.counting import CountingBlobs
from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.memory import MemoryBlobs
from trialstore.model.errors import BlobNotFoundError, DamagedError
from trialstore.model.identity import new_ulid
from trialstore.model.part import Part
from trialstore.model.ranges import iterate_ranges
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.tables.encoding import ROW_GROUP_ROWS
from trialstore.tables.parts import merge_parts, read_part, read_records, write_part
from trialstore.tables.rows import rows_table
from trialstore.tables.schema import TIME
from trialstore.tables.telemetry import telemetry_from_arrow
from trialstore.tables.trials import records_from, trials_table

AT = "2026-11-21T01:02:03.123456Z"
KEY = "exp"


def record(number: int, params: dict[str, Any] | None = None, seq: int = 0) -> TrialRecord:
    return TrialRecord(
        number=number, id=f"{number:032x}", params=params or {}, status=Status.SUCCEEDED, submitted_at=AT, seq=seq
    )


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs(new_ulid())


def sample(trial: int, second: int, name: str, value: object) -> tuple[Any, ...]:
    return (trial, 1, f"2026-11-21T01:02:{second:02}.000000Z", name, value)


def test_a_part_says_what_is_in_it(blobs: MemoryBlobs) -> None:
    table = trials_table([record(5, {"x": 1}), record(2, {"x": 2.5}), record(3)])
    part = write_part(blobs, KEY, "trials", table, 17)
    info = blobs.info(f"trials/experiment={KEY}/{part.id}.parquet")
    assert info is not None
    assert info.size_bytes == part.size_bytes
    assert (part.rows, part.trials, part.seq) == (3, ((2, 3), (5, 5)), 17)
    assert part.schema == {
        "params": {"x": "double"},
        **{name: {} for name in ("metrics", "sem", "n", "fidelity", "summary")},
    }
    assert part.exact
    assert (part.first_at, part.last_at) == (None, None)
    assert [r.number for r in records_from(read_part(blobs, KEY, part))] == [2, 3, 5]
    assert Part.from_json(part.to_json()) == part


def test_a_part_of_rows_says_when_they_were(blobs: MemoryBlobs) -> None:
    rows = rows_table("telemetry", [sample(0, 9, "a", 1), sample(0, 3, "a", 2), sample(0, 9, "a", 3)])
    part = write_part(blobs, KEY, "telemetry", rows, 1)
    assert (part.first_at, part.last_at) == ("2026-11-21T01:02:03.000000Z", "2026-11-21T01:02:09.000000Z")
    assert part.rows == 2
    assert not part.exact
    assert part.schema is None
    assert read_part(blobs, KEY, part)["value"].to_pylist() == [2.0, 1.0]


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "other"])
def test_a_file_that_is_not_what_was_written_is_named(blobs: MemoryBlobs, damage: str) -> None:
    part = write_part(blobs, KEY, "trials", trials_table([record(0)]), 1)
    key = part.blob_key(KEY)
    data = bytearray(blobs.read(key))
    data[len(data) // 2] ^= 1
    broken = {"flip": bytes(data), "cut": bytes(data[:-1]), "grow": bytes(data) + b"\0", "other": b"PAR1"}[damage]
    blobs.write(key, broken)
    with pytest.raises(DamagedError, match=part.id):
        read_part(blobs, KEY, part)


def test_a_page_that_was_changed_is_not_read_as_records(blobs: MemoryBlobs) -> None:
    part = write_part(blobs, KEY, "trials", trials_table([record(n, {"x": n * 0.37}) for n in range(1000)]), 1)
    data = bytearray(blobs.read(part.blob_key(KEY)))
    data[200:210] = bytes(10)
    blobs.write(part.blob_key(KEY), bytes(data))
    with pytest.raises(DamagedError, match=part.id):
        read_records(blobs, KEY, part, [0])


def test_a_file_that_is_gone_is_not_found(blobs: MemoryBlobs) -> None:
    part = write_part(blobs, KEY, "trials", trials_table([record(0)]), 1)
    blobs.delete([part.blob_key(KEY)])
    with pytest.raises(BlobNotFoundError):
        read_part(blobs, KEY, part)


def test_records_of_some_trials_need_their_row_group_only(tmp_path: Path) -> None:
    count = 4 * ROW_GROUP_ROWS
    numbers = pa.array(range(count), pa.int64())
    one = trials_table([record(0, {"x": 0.5})])
    table = pa.concat_tables([one] * 1).take(pa.array([0] * count)).set_column(0, "trial", numbers)
    table = table.set_column(1, "id", numbers.cast(pa.string()))
    blobs = CountingBlobs(LocalBlobs(str(tmp_path)))
    part = write_part(blobs, KEY, "trials", table, 1)
    blobs.reset()
    found = read_records(blobs, KEY, part, [7, 9])
    assert [(r.number, r.id) for r in found] == [(7, "7"), (9, "9")]
    assert blobs.bytes_read < part.size_bytes * 0.5
    assert len(read_records(blobs, KEY, part)) == count


def test_the_file_is_encoded_for_its_columns(blobs: MemoryBlobs) -> None:
    rows = rows_table("telemetry", [sample(0, second, "cpu", second * 0.5) for second in range(60)])
    part = write_part(blobs, KEY, "telemetry", rows, 1)
    meta = pq.ParquetFile(pa.BufferReader(blobs.read(part.blob_key(KEY)))).metadata
    columns = {c["path_in_schema"]: c for c in meta.row_group(0).to_dict()["columns"]}
    assert "DELTA_BINARY_PACKED" in columns["at"]["encodings"]
    assert "BYTE_STREAM_SPLIT" in columns["value"]["encodings"]
    assert columns["name"]["has_dictionary_page"]
    assert all(c["compression"] == "ZSTD" and c["is_stats_set"] for c in columns.values())
    assert meta.metadata is None  # no Arrow schema: every engine sees plain Parquet types


@pytest.mark.parametrize("kind", ["steady double", "steady int", "random double", "random int"])
def test_a_counter_sampled_each_millisecond_takes_at_most_two_bytes_a_point(blobs: MemoryBlobs, kind: str) -> None:
    chance = random.Random(7)
    values, total = [], 0
    for _ in range(200_000):
        total += 1 if kind.startswith("steady") else chance.randrange(100)
        values.append(float(total) if kind.endswith("double") else total)
    at = pa.array(range(1_790_000_000_000_000, 1_790_000_200_000_000, 1000), pa.int64()).cast(TIME)
    frame = pa.table({"at": at, "name": pa.repeat("requests", len(values)), "value": pa.array(values)})
    part = write_part(blobs, KEY, "telemetry", telemetry_from_arrow(7, 1, frame), 1)
    assert part.size_bytes / part.rows <= 2


PARAMS = st.dictionaries(
    st.sampled_from(["x", "X", "y", "z"]),
    st.floats(0, 1) | st.integers(0, 3) | st.sampled_from(["a", None]),
    max_size=3,
)


@given(
    st.lists(st.dictionaries(st.integers(0, 30), PARAMS, min_size=1, max_size=6), min_size=1, max_size=6),
    st.integers(1, 8),
)
@settings(max_examples=150, deadline=None)
def test_merged_trials_are_the_ones_that_count(batches: list[dict[int, dict[str, Any]]], limit: int) -> None:
    blobs = MemoryBlobs(new_ulid())
    parts, superseded = [], {}
    newest: dict[int, TrialRecord] = {}
    for seq, batch in enumerate(batches):
        for older, numbers in zip(parts, (set(iterate_ranges(part.trials)) for part in parts), strict=True):
            superseded.setdefault(older.id, set()).update(numbers & batch.keys())
        records = [record(number, params, seq) for number, params in batch.items()]
        newest |= {r.number: r for r in records}
        parts.append(write_part(blobs, KEY, "trials", trials_table(records), seq))
    merged = merge_parts(blobs, KEY, "trials", parts, superseded, set(), limit)
    back = [r for part in merged for r in records_from(read_part(blobs, KEY, part))]
    assert [r.number for r in back] == sorted(newest)
    assert [(repr(r.params), r.seq) for r in back] == [(repr(newest[n].params), newest[n].seq) for n in sorted(newest)]
    assert all(part.rows <= limit and part.seq == len(batches) - 1 for part in merged)
    assert len(merged) == -(-len(newest) // limit)


SAMPLES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 99)), min_size=1, max_size=8
)


@given(st.lists(SAMPLES, min_size=1, max_size=5), st.integers(1, 6), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_of_equal_samples_the_first_announced_stays(
    batches: list[list[Any]], limit: int, chance: random.Random
) -> None:
    blobs = MemoryBlobs(new_ulid())
    expected: dict[Any, float] = {}
    parts = []
    for seq, batch in enumerate(batches):
        for trial, second, name, value in batch:
            expected.setdefault((trial, name, second), float(value))
        parts.append(write_part(blobs, KEY, "telemetry", rows_table("telemetry", [sample(*row) for row in batch]), seq))
    chance.shuffle(parts)
    merged = merge_parts(blobs, KEY, "telemetry", parts, {}, set(), limit)
    values = [value for part in merged for value in read_part(blobs, KEY, part)["value"].to_pylist()]
    assert values == [expected[key] for key in sorted(expected)]
    assert all(part.rows <= limit for part in merged)


def test_rows_of_removed_artifacts_are_dropped(blobs: MemoryBlobs) -> None:
    rows = [(0, 1, name, f"artifacts/{name}", 1, "00", AT, None, name) for name in ("a", "b")]
    part = write_part(blobs, KEY, "artifacts", rows_table("artifacts", rows), 1)
    (merged,) = merge_parts(blobs, KEY, "artifacts", [part], {}, {"a"}, 100)
    assert read_part(blobs, KEY, merged)["name"].to_pylist() == ["b"]


def test_nothing_left_makes_no_part(blobs: MemoryBlobs) -> None:
    part = write_part(blobs, KEY, "trials", trials_table([record(0)]), 1)
    assert merge_parts(blobs, KEY, "trials", [part], {part.id: {0}}, set(), 100) == []


def test_a_merge_that_fails_leaves_no_files(blobs: MemoryBlobs) -> None:
    parts = [write_part(blobs, KEY, "trials", trials_table([record(n)]), n) for n in range(3)]
    blobs.delete([parts[2].blob_key(KEY)])
    with pytest.raises(BlobNotFoundError):
        merge_parts(blobs, KEY, "trials", parts, {}, set(), 1)
    assert {info.key for info in blobs.list("")} == {part.blob_key(KEY) for part in parts[:2]}


def test_disjoint_parts_are_merged_a_few_at_a_time(tmp_path: Path) -> None:
    blobs = CountingBlobs(LocalBlobs(str(tmp_path)))
    parts = [write_part(blobs, KEY, "trials", trials_table([record(n)]), n) for n in range(10)]
    blobs.reset()
    order: list[str] = []
    read, write = blobs.read, blobs.write
    blobs.read = lambda *a, **k: (order.append("read"), read(*a, **k))[1]  # type: ignore[method-assign]
    blobs.write = lambda *a, **k: (order.append("write"), write(*a, **k))[1]  # type: ignore[method-assign]
    merge_parts(blobs, KEY, "trials", parts, {}, set(), 2)
    assert order == ["read", "read", "write"] * 5
