"""A report as a frame of one row, in Polars or pandas, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
from pydantic_core import from_json, to_json

from trialstore.model.codec import decode, encode, pack_dict, unpack
from trialstore.model.errors import MissingExtraError, UsageError
from trialstore.model.identity import params_hash
from trialstore.model.metric import Metric
from trialstore.model.profile import PROFILE_FIELDS
from trialstore.model.record import TrialRecord
from trialstore.model.times import format_time, now_text
from trialstore.reporting.facts import Facts, default_name, parse_status
from trialstore.reporting.prefixes import flatten, is_flat, unflatten
from trialstore.tables.schema import PLACEHOLDER, STRUCTS
from trialstore.tables.trials import trials_table

__all__ = ["facts_from_frame", "frame_of", "rows_from"]

_GROUPS = {"metrics": ("metrics", "sem", "n")}
_OPTIONAL = frozenset({"fidelity", "summary", "sem", "n"})
_DIRECT = ("name", "worker", "runner", "parent", "exception", "traceback")
_TIMES = ("submitted_at", "started_at", "ended_at", "ready_at")


def frame_of(facts: Facts, dropped: set[str], prefixes: bool, pandas: bool) -> Any:
    """See `Report.df`; `dropped` are the groups of columns to leave out."""
    rows = pl.from_arrow(trials_table([facts.record]))
    assert isinstance(rows, pl.DataFrame)
    rows = rows.with_columns(
        pl.lit(None).alias(name)
        for name in STRUCTS
        if list(rows.schema[name].to_schema()) == [PLACEHOLDER]  # type: ignore[attr-defined]
    )
    about = [pl.lit(facts.experiment).alias("experiment"), pl.lit(facts.version, pl.Int64).alias("version")]
    defined = to_json([metric.to_json() for metric in facts.metrics]).decode()
    rows = rows.select(*about, pl.all(), pl.lit(defined).alias("metric_defs"))
    exact = _inexact(facts.record, rows)
    if exact:
        kept = {**from_json(rows["exact"][0] or "{}"), **exact}
        rows = rows.with_columns(pl.lit(to_json(kept).decode()).alias("exact"))
    unwanted = [name for group in dropped for name in _GROUPS.get(group, (group,))]
    rows = rows.drop(unwanted)
    if prefixes:
        rows = flatten(rows, () if "metrics" in dropped else facts.metrics).drop("metric_defs")
    if not pandas:
        return rows
    if any("\0" in column for column in rows.columns):
        raise UsageError("pandas takes no column whose name has a NUL in it", hint="leave prefixes out, or use to_dict")
    try:
        return rows.to_pandas(use_pyarrow_extension_array=True)
    except ImportError:
        raise MissingExtraError("pandas is not installed", hint='pip install "trialstore[pandas]"') from None


def _inexact(record: TrialRecord, rows: pl.DataFrame) -> dict[str, Any]:
    """What the columns do not give back, packed."""
    again = _record(rows.row(0, named=True), "")
    return {
        name: pack_dict(getattr(record, name), name)
        for name in STRUCTS
        if getattr(record, name) is not None
        and (getattr(again, name) is None or encode(getattr(again, name)) != encode(getattr(record, name)))
    }


def facts_from_frame(frame: Any) -> Facts:
    """See `Report.from_df`."""
    rows, metrics = rows_from(frame)
    if rows.height != 1:
        raise UsageError(
            "a report is made of one row", hint="choose one with frame[i] or frame.slice", rows=rows.height
        )
    row = rows.row(0, named=True)
    if row.get("status") is None:
        raise UsageError("frame has not the columns of a report", hint="use Report.df or Experiment.history")
    if row.get("metric_defs") is not None:
        metrics = tuple(Metric.from_json(body) for body in json.loads(row["metric_defs"]))
    experiment = row.get("experiment") or ""
    return Facts(_record(row, experiment), experiment, int(row.get("version") or 1), metrics)


def rows_from(frame: Any) -> tuple[pl.DataFrame, tuple[Metric, ...]]:
    """Rows with the columns of the `trials` table, and the metrics that flat columns define; AMLTK's frames too.

    Raises:
        UsageError: it is no frame, or a column cannot be read.
    """
    rows = _polars(frame)
    if not is_flat(rows.columns):
        return rows, ()
    if "experiment" not in rows.columns:  # AMLTK's own frame
        text = [name for name in ("exception", "traceback") if name in rows.columns]
        rows = rows.with_columns(pl.col(name).cast(pl.String).replace("NA", None) for name in text)
    return unflatten(rows)


def _polars(frame: Any) -> pl.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pa.Table | pa.RecordBatch):
        rows = pl.from_arrow(frame)
        assert isinstance(rows, pl.DataFrame)
        return rows
    if hasattr(frame, "to_frame") and hasattr(frame, "name"):  # a row of a pandas frame
        frame = frame.to_frame().T.convert_dtypes().rename_axis("name")
    if hasattr(frame, "columns") and hasattr(frame, "index"):
        if getattr(frame.index, "name", None) == "name" and "name" not in frame.columns:
            frame = frame.reset_index()
        rows = pl.from_arrow(pa.Table.from_pandas(frame, preserve_index=False))
        assert isinstance(rows, pl.DataFrame)
        return rows
    raise UsageError("not a frame", hint="a Polars or pandas frame or an Arrow table", type=type(frame).__name__)


def _record(row: Mapping[str, Any], experiment: str) -> TrialRecord:
    """The record that a row of the `trials` table says."""
    exact = from_json(row.get("exact") or "{}")
    structs: dict[str, Any] = {}
    for name in STRUCTS:
        value = row.get(name)
        if name in exact:
            structs[name] = {key: unpack(item) for key, item in exact[name].items()}
        elif isinstance(value, Mapping):
            structs[name] = {k: v for k, v in value.items() if v is not None and k != PLACEHOLDER}
            if name in _OPTIONAL and not structs[name]:
                structs[name] = None
        else:
            structs[name] = None if name in _OPTIONAL else {}
    number = -1 if row.get("trial") is None else int(row["trial"])
    times = {name: _time(row.get(name)) for name in _TIMES}
    submitted_at = times.pop("submitted_at") or times["ended_at"] or now_text()
    attributes = None if row.get("attributes") is None else _dict(row["attributes"])
    if row.get("bucket") is not None:
        attributes = {**(attributes or {}), "bucket": str(row["bucket"])}
    rest: dict[str, Any] = {**{name: row.get(name) for name in _DIRECT}, **times, **structs}
    if rest["name"] == default_name(experiment, number):
        rest["name"] = None
    return TrialRecord(
        number=number,
        id=row.get("id") or params_hash(structs["params"]),
        status=parse_status(row["status"]),
        submitted_at=submitted_at,
        seq=-1 if row.get("seq") is None else int(row["seq"]),
        attempt=int(row.get("attempt") or 0),
        seed=_seed(unpack(exact["seed"]) if "seed" in exact else row.get("seed")),
        profiles=_profiles(row.get("profiles")),
        info=None if row.get("info") is None else decode(row["info"]),
        attributes=attributes,
        extras=None if row.get("extras") is None else _dict(row["extras"]),
        storage=list(row["storage"]) if row.get("storage") else None,
        attempts=[] if row.get("attempts") is None else from_json(row["attempts"]),
        **rest,
    )


def _seed(value: Any) -> int | None:
    if isinstance(value, float):  # AMLTK's frames have floats where a seed is missing
        return int(value) if value.is_integer() else None
    return None if value is None else int(value)


def _profiles(rows: list[Mapping[str, Any]] | None) -> list[list[Any]] | None:
    return [[row[name] for name in PROFILE_FIELDS] for row in rows] if rows else None


def _dict(text: str) -> dict[str, Any]:
    return {name: unpack(value) for name, value in from_json(text).items()}


def _time(value: datetime | None) -> str | None:
    if value is None:
        return None
    # AMLTK's times are local and say no zone.
    return format_time(value.astimezone(UTC) if value.tzinfo is None else value)
