"""The demo's workload: write a table with the settings of a trial, read it back, and measure both."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from trialstore.demo.settings import WriterSettings
from trialstore.model.errors import DamagedError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Measurement", "evaluate", "write_file"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one candidate costs; less is better in all three.

    Attributes:
        bytes: Size of the file.
        write_seconds: Time to sort, encode, compress and write it, the best of the repeats.
        read_seconds: Time to read all of it back into memory with one thread, the best of the repeats.
    """

    bytes: int
    write_seconds: float
    read_seconds: float


def write_file(
    table: pa.Table, params: Mapping[str, object], path: str, fidelity: Mapping[str, object] | None = None
) -> int:
    """Write the Parquet file that a trial stands for, such as the winner's; returns its size in bytes.

    The same table, parameters and version of pyarrow give the same bytes.

    Raises:
        InvalidParamsError: the parameters do not fit the space, one another, or the table; nothing was written.
    """
    settings = WriterSettings.parse(params, fidelity, table.column_names)
    _write(table.slice(0, settings.rows), settings, path)
    return os.stat(path).st_size


def evaluate(
    table: pa.Table,
    params: Mapping[str, object],
    fidelity: Mapping[str, object] | None = None,
    *,
    repeats: int = 3,
    budget_s: float = 0.6,
    scratch: str | None = None,
    progress: Callable[[int, float, float], None] | None = None,
) -> Measurement:
    """Write the table as a trial's parameters say, into a folder of its own, read it back, and measure.

    What was read back has as many rows and the same columns as what was written. The folder is gone when the call
    ends; a process killed in the middle leaves it behind in `scratch`.

    Args:
        table: What to write; at least one row.
        params: The writer's settings, a point of `trialstore.demo.settings.space`.
        fidelity: ``{"rows": n}`` writes the first n rows only.
        repeats: Most rounds of writing and reading, at least 1.
        budget_s: No round starts after this time, so that slow settings are measured once and fast ones `repeats`
            times. The first round always runs.
        scratch: Where the folder is made; None means the system's place for temporary files.
        progress: Called after each round with its number from 0, and its write and read seconds.

    Raises:
        InvalidParamsError: the parameters do not fit the space, one another, or the table; nothing was written.
        DamagedError: the file read back is not the table that was written.

    Cost: 0.3 to 1.3 s for the table of flights on one idle core; twice the table's memory.
    """
    if repeats < 1 or table.num_rows < 1:
        raise UsageError("there is nothing to measure", repeats=repeats, rows=table.num_rows)
    settings = WriterSettings.parse(params, fidelity, table.column_names)
    table = table.slice(0, settings.rows)
    write_seconds: list[float] = []
    read_seconds: list[float] = []
    with tempfile.TemporaryDirectory(prefix="trialstore-demo-", dir=scratch) as folder:
        path = os.path.join(folder, "candidate.parquet")
        began = perf_counter()
        while len(read_seconds) < repeats and (not read_seconds or perf_counter() - began < budget_s):
            write_seconds.append(_seconds(lambda: _write(table, settings, path)))
            read_seconds.append(_seconds(lambda: _read(table, path)))
            if progress is not None:
                progress(len(read_seconds) - 1, write_seconds[-1], read_seconds[-1])
        return Measurement(os.stat(path).st_size, min(write_seconds), min(read_seconds))


def _seconds(work: Callable[[], None]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def _write(table: pa.Table, settings: WriterSettings, path: str) -> None:
    import pyarrow.parquet as pq

    rows = table if settings.sort_by == "none" else table.sort_by(settings.sort_by)
    pq.write_table(rows, path, **settings.writer_options(table.schema))


def _read(written: pa.Table, path: str) -> None:
    import pyarrow.parquet as pq

    found = pq.read_table(path, use_threads=False)
    if found.num_rows != written.num_rows or found.column_names != written.column_names:
        raise DamagedError(
            "the file read back is not the table that was written",
            blob=path,
            rows=found.num_rows,
            written_rows=written.num_rows,
            columns=found.column_names,
        )
