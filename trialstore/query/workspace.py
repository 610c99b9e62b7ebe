"""A private folder of small files: the rows of a snapshot that are in no part, where DuckDB can read them."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import to_json

from trialstore.model.status import Status
from trialstore.query.snapshot import ExperimentSnapshot
from trialstore.tables.schema import ROW_SCHEMAS, Fields, trials_schema
from trialstore.tables.times import time_array

__all__ = ["Workspace", "experiments_table"]


class Workspace:
    """A folder that goes away with this object, or with the process."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="trialstore-")
        self._finalizer = weakref.finalize(self, _remove, self.folder, os.getpid())

    def write_schema(self, table: str, structs: Mapping[str, Fields]) -> str:
        """A file without rows that has all columns of a table; returns its path."""
        schema = trials_schema(structs) if table == "trials" else ROW_SCHEMAS[table]
        return self._write(f"{table}/schema.parquet", schema.empty_table())

    def write_live(self, table: str, experiment: ExperimentSnapshot, rows: pa.Table, number: int = 0) -> str:
        """Live rows of one experiment; returns the path, which is another one for each number."""
        return self._write(f"{table}/experiment={experiment.key}/live-{number}.parquet", rows)

    def write_experiments(self, experiments: Sequence[ExperimentSnapshot]) -> str:
        """The table of experiments; returns the path."""
        return self._write("experiments.parquet", experiments_table(experiments))

    def close(self) -> None:
        """Remove the folder."""
        self._finalizer()

    def _write(self, name: str, table: pa.Table) -> str:
        path = f"{self.folder}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        pq.write_table(table, path, compression="none", store_schema=False)
        return path


def _remove(folder: str, process: int) -> None:
    # A forked child must not take its parent's files away.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def experiments_table(experiments: Sequence[ExperimentSnapshot]) -> pa.Table:
    """One row an experiment: who it is, how many trials of each status, and what the catalog says, as JSON."""
    counts = [dict(experiment.metadata.get("counts") or {}) for experiment in experiments]
    columns: dict[str, pa.Array] = {
        "experiment": pa.array([experiment.name for experiment in experiments], pa.string()),
        "version": pa.array([experiment.version for experiment in experiments], pa.int64()),
        "id": pa.array([experiment.id for experiment in experiments], pa.int64()),
        "name": pa.array([experiment.name for experiment in experiments], pa.string()),
        "created_at": time_array([experiment.metadata.get("created_at") for experiment in experiments]),
        "trials": pa.array([sum(count.values()) for count in counts], pa.int64()),
    }
    for status in Status:
        columns[status.lower()] = pa.array([count.get(status, 0) for count in counts], pa.int64())
    catalog = [{k: v for k, v in experiment.metadata.items() if k != "counts"} for experiment in experiments]
    columns["metadata"] = pa.array([to_json(body).decode() for body in catalog], pa.string())
    return pa.table(columns)
