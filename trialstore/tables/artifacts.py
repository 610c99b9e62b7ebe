"""Artifacts of a part as rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from trialstore.blobs.protocol import Blobs
from trialstore.model.part import Part
from trialstore.tables.parts import read_trials_of
from trialstore.tables.schema import ROW_SCHEMAS
from trialstore.tables.times import time_texts

__all__ = ["artifact_rows", "read_artifacts"]


def read_artifacts(blobs: Blobs, experiment_key: str, part: Part, trial: int) -> list[list[Any]]:
    """The rows of a trial, in the order of the table's columns. Only row groups that can hold some are decoded."""
    return artifact_rows(read_trials_of(blobs, part.blob_key(experiment_key), [trial], "artifacts"))


def artifact_rows(table: pa.Table) -> list[list[Any]]:
    """The rows of an artifacts table, in the order of its columns, with stored times."""
    columns = [
        time_texts(table[name]) if name == "at" else table[name].to_pylist() for name in ROW_SCHEMAS["artifacts"].names
    ]
    return [list(row) for row in zip(*columns, strict=True)]
