"""Parts: immutable Parquet files, written, read back with their checksum, and merged."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trialstore.blobs.protocol import Blobs
from trialstore.journal.arrival import arrival
from trialstore.model.damage import as_damage
from trialstore.model.errors import DamagedError, StorageFullError
from trialstore.model.identity import new_ulid
from trialstore.model.part import Part, Ranges
from trialstore.model.ranges import ranges_of
from trialstore.model.record import TrialRecord
from trialstore.tables.conform import conform, read_checked
from trialstore.tables.encoding import parquet_bytes
from trialstore.tables.merge import concat_trials
from trialstore.tables.rows import order_rows
from trialstore.tables.schema import STRUCTS, fields_of
from trialstore.tables.times import time_text
from trialstore.tables.trials import records_from

__all__ = [
    "describe_part",
    "merge_parts",
    "none_if_full",
    "read_part",
    "read_records",
    "read_trials_of",
    "whole_or_none",
    "write_part",
]


def write_part(blobs: Blobs, experiment_key: str, name: str, table: pa.Table, seq: int, after: int = 0) -> Part:
    """Write rows as one part, in the order of its table, and say what is in it. Nobody sees it until it is announced.

    Of telemetry rows with equal trial, name and time only the first is written.

    Args:
        blobs: Where the part is written.
        experiment_key: The experiment's folder.
        name: The table.
        table: The rows, as `trials_table`, `rows_table` or the telemetry functions give them; at least one.
        seq: The sequence number of the journal that the rows reach up to.
        after: Of telemetry, how many rows of the row log came before the rows.
    """
    table = order_rows(name, table)
    data = parquet_bytes(table, name)
    part = replace(describe_part(new_ulid(), name, table, data, seq), after=after)
    blobs.write(part.blob_key(experiment_key), bytes(data))
    return part


@contextmanager
def whole_or_none(blobs: Blobs, experiment_key: str) -> Iterator[list[Part]]:
    """A list for the parts that are written in a with-block: their files are deleted when it ends with an error."""
    written: list[Part] = []
    try:
        yield written
    except BaseException:
        blobs.delete([part.blob_key(experiment_key) for part in written])
        raise


@contextmanager
def none_if_full(blobs: Blobs, experiment_key: str, parts: Sequence[Part]) -> Iterator[None]:
    """Delete parts again when there is no space to announce them: each further attempt would leave more."""
    try:
        yield
    except StorageFullError:
        blobs.delete([part.blob_key(experiment_key) for part in parts])
        raise


def describe_part(part_id: str, name: str, table: pa.Table, data: bytes | memoryview, seq: int) -> Part:
    """What the journal says of a part with these rows and these bytes."""
    first_at, last_at = (None, None) if name == "trials" else _time_range(table)
    return Part(
        id=part_id,
        table=name,
        rows=table.num_rows,
        size_bytes=len(data),
        crc32=zlib.crc32(data),
        trials=_trial_ranges(table["trial"]),
        seq=seq,
        first_at=first_at,
        last_at=last_at,
        schema={n: fields_of(table.schema.field(n).type) for n in STRUCTS} if name == "trials" else None,
        exact=name == "trials" and table["exact"].null_count < table.num_rows,
    )


def read_part(blobs: Blobs, experiment_key: str, part: Part) -> pa.Table:
    """All rows of a part.

    Raises:
        BlobNotFoundError: the file is gone.
        DamagedError: the file is not what was written.
    """
    key = part.blob_key(experiment_key)
    data = blobs.read(key)
    if len(data) != part.size_bytes or zlib.crc32(data) != part.crc32:
        raise DamagedError(
            "part is not what was written",
            hint="restore the file from a copy",
            blob=key,
            size_bytes=len(data),
            expected_bytes=part.size_bytes,
        )
    with as_damage("a part", blob=key):
        return read_checked(data, part.table)


def read_columns(blobs: Blobs, experiment_key: str, part: Part, names: Sequence[str]) -> pa.Table:
    """Some columns of a part, for all of its rows.

    Raises:
        DamagedError: the file cannot be read.
    """
    key = part.blob_key(experiment_key)
    with blobs.open(key) as source:
        try:
            return pq.read_table(source, columns=list(names))
        except (pa.ArrowException, OSError) as error:
            raise DamagedError("part cannot be read", blob=key, reason=str(error)) from None


def read_records(
    blobs: Blobs, experiment_key: str, part: Part, numbers: Sequence[int] | None = None
) -> list[TrialRecord]:
    """The records of these trials that a trials part holds, or of all, by number.

    Only the row groups that can hold one of them are decoded.
    """
    key = part.blob_key(experiment_key)
    rows = read_part(blobs, experiment_key, part) if numbers is None else read_trials_of(blobs, key, numbers, "trials")
    with as_damage("a part", blob=key):
        return records_from(rows)


def read_trials_of(blobs: Blobs, key: str, numbers: Sequence[int], name: str) -> pa.Table:
    """The rows of some trials in a part's file. Only the row groups that can hold some are decoded.

    Raises:
        DamagedError: the file cannot be read.
    """
    with blobs.open(key) as source:
        try:
            rows = pq.read_table(source, filters=pc.field("trial").isin(list(numbers)))
        except (pa.ArrowException, OSError) as error:
            raise DamagedError("part cannot be read", blob=key, reason=str(error)) from None
    with as_damage("a part", blob=key):
        return conform(rows, name)


def merge_parts(
    blobs: Blobs,
    experiment_key: str,
    name: str,
    parts: Sequence[Part],
    superseded: Mapping[str, set[int]],
    removed_artifacts: set[str],
    rows_per_part: int,
) -> list[Part]:
    """Write the rows of these parts that still count as new parts, sorted over all of them.

    Guarantees: every row that is neither superseded nor removed is in exactly one new part, with values that read
    back exactly; of telemetry with equal trial, name and time the row that came first stays.

    Memory: the rows of one new part and of the old parts that overlap in trial numbers.

    Args:
        blobs: Where the parts are.
        experiment_key: The experiment's folder.
        name: The table.
        parts: Parts of this table, in the order of the manifest.
        superseded: By part, the trials whose row there no longer counts.
        removed_artifacts: Ids of artifacts whose rows are dropped.
        rows_per_part: Most rows of a new part.
    """
    after, seq = max(map(arrival, parts), default=(0, 0))
    with whole_or_none(blobs, experiment_key) as written:
        for table in _merged(blobs, experiment_key, name, parts, superseded, removed_artifacts, rows_per_part):
            part = write_part(blobs, experiment_key, name, table, seq, after)
            written.append(part)
    return written


def _merged(
    blobs: Blobs,
    experiment_key: str,
    name: str,
    parts: Sequence[Part],
    superseded: Mapping[str, set[int]],
    removed_artifacts: set[str],
    rows_per_part: int,
) -> Iterator[pa.Table]:
    """The counting rows in the order of the table, in tables of at most `rows_per_part` rows."""
    rank = {part.id: place for place, part in enumerate(sorted(parts, key=arrival))}
    queue = sorted((part for part in parts if part.trials), key=lambda part: part.trials[0][0])
    waiting: list[tuple[int, pa.Table]] = []
    for position, part in enumerate(queue):
        table = _counting(read_part(blobs, experiment_key, part), name, superseded.get(part.id, ()), removed_artifacts)
        waiting.append((rank[part.id], table))
        after = queue[position + 1].trials[0][0] if position + 1 < len(queue) else None
        if after is not None and sum(table.num_rows for _, table in waiting) < rows_per_part:
            continue
        # No later part has a trial before `after`, so the rows before it are complete.
        waiting.sort(key=lambda item: item[0])
        complete = [table if after is None else table.filter(pc.less(table["trial"], after)) for _, table in waiting]
        rest = _concat(name, complete)
        spill = after is not None
        while rest.num_rows and (not spill or rest.num_rows >= rows_per_part):
            yield rest.slice(0, rows_per_part)
            rest = rest.slice(rows_per_part)
        if after is None:
            return
        later = [(place, table.filter(pc.greater_equal(table["trial"], after))) for place, table in waiting]
        waiting = [(place, table) for place, table in [(-1, rest), *later] if table.num_rows]


def _counting(table: pa.Table, name: str, superseded: Iterable[int], removed_artifacts: set[str]) -> pa.Table:
    numbers = list(superseded)
    if numbers:
        table = table.filter(pc.invert(pc.is_in(table["trial"], value_set=pa.array(numbers, pa.int64()))))
    if name == "artifacts" and removed_artifacts:
        removed = pa.array(sorted(removed_artifacts), pa.string())
        table = table.filter(pc.invert(pc.is_in(table["id"], value_set=removed)))
    return table


def _concat(name: str, tables: list[pa.Table]) -> pa.Table:
    table = concat_trials(tables) if name == "trials" else pa.concat_tables(tables)
    return order_rows(name, table)


def _trial_ranges(column: pa.ChunkedArray) -> Ranges:
    limits = pc.min_max(column).as_py()
    if limits["min"] is None or limits["min"] == limits["max"]:
        return () if limits["min"] is None else ((limits["min"], limits["max"]),)
    return ranges_of(pc.unique(column).to_pylist())


def _time_range(table: pa.Table) -> tuple[str | None, str | None]:
    limits = pc.min_max(table["at"])
    if not limits["min"].is_valid:
        return None, None
    return time_text(limits["min"]), time_text(limits["max"])
