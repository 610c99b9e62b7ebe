"""Rows of a history as frames for people and other tools, and back, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

import polars as pl
import pyarrow as pa
from pydantic_core import from_json, to_json

from trialstore.history.columns import fields
from trialstore.history.rows import (
    COLUMNS,
    DEFINED,
    IDENTITY,
    arrow_fields,
    join_metrics,
    metrics_of,
    metrics_text,
    trials_of,
)
from trialstore.model.codec import pack
from trialstore.model.errors import MissingExtraError, UsageError, nearest
from trialstore.model.identity import params_hash
from trialstore.model.metric import Metric
from trialstore.model.times import now_text, parse_time
from trialstore.reporting.facts import parse_status
from trialstore.reporting.prefixes import flatten
from trialstore.reporting.rows import rows_from
from trialstore.tables.fieldnames import column_of, field_of
from trialstore.tables.schema import STRUCTS, trials_schema
from trialstore.tables.trials import records_from

__all__ = ["frame_of", "from_frame", "shifted", "to_pandas"]

_EMPTY_MEANS_ABSENT = ("params", "metrics")
_DEFAULTS: Mapping[str, Any] = {"experiment": "", "version": 1, DEFINED: "[]", "trial": -1, "attempt": 0, "seq": -1}
_PROFILES = "profiles"


def shifted(rows: pl.DataFrame, normalize: bool | float) -> pl.DataFrame:
    """The rows with the times of their profiles counted from another second.

    Args:
        rows: Rows of a history.
        normalize: True for the earliest start of a trial's own profile, a number for that second, False for none.
    """
    if normalize is False:
        return rows
    first = float(normalize)
    if normalize is True:
        own = rows[_PROFILES].explode().drop_nulls().struct.unnest().filter(pl.col("name") == "trial")
        first = own["start_s"].drop_nans().min() or 0.0  # type: ignore[assignment]
    moved = [(pl.element().struct.field(name) - first).alias(name) for name in ("start_s", "end_s")]
    return rows.with_columns(pl.col(_PROFILES).list.eval(pl.element().struct.with_fields(*moved)))


def frame_of(
    rows: pl.DataFrame, metrics: Mapping[str, Metric], left_out: Iterable[str], prefixes: bool
) -> pl.DataFrame:
    """The rows for people: a struct column without fields is one of nulls; with `prefixes`, in AMLTK's columns."""
    kept = _told(rows, by_name=prefixes)
    empty = [name for name in STRUCTS if not fields(rows.schema, name)]
    shown = kept.with_columns(pl.lit(None).alias(name) for name in empty).drop(list(left_out))
    if not prefixes:
        return shown
    flat = flatten(shown, [] if "metrics" in left_out else list(metrics.values()))
    return flat if shown[DEFINED].n_unique() > 1 else flat.drop(DEFINED)


def _told(rows: pl.DataFrame, *, by_name: bool) -> pl.DataFrame:
    """The rows, where the column `exact` says what is lost when structs without values become nulls.

    Args:
        rows: Rows of a history.
        by_name: Also what is lost when each profile has columns of its own: the order in which a row has them.
    """
    lost: dict[int, dict[str, Any]] = {}
    for name in STRUCTS:
        if name not in _EMPTY_MEANS_ABSENT:
            known = rows.schema[name].to_schema()  # type: ignore[attr-defined]
            values = [field_of(pl.col(name), known, field).is_null() for field in known]
            for index in _where(rows, pl.col(name).is_not_null() & pl.all_horizontal(values)):
                lost.setdefault(index, {})[name] = {}
    if by_name:
        for index in _where(rows, _out_of_order(rows)):
            profiles = [list(row.values()) for row in rows[_PROFILES][index].to_list()]
            lost.setdefault(index, {})[_PROFILES] = _packed(profiles)
    if not lost:
        return rows
    texts = rows["exact"].to_list()
    for index, found in lost.items():
        texts[index] = to_json({**found, **from_json(texts[index] or "{}")}).decode()
    return rows.with_columns(pl.Series("exact", texts, pl.String))


def _where(rows: pl.DataFrame, condition: pl.Expr) -> list[int]:
    return rows.select(condition.fill_null(value=False).arg_true()).to_series().to_list()


def _out_of_order(rows: pl.DataFrame) -> pl.Expr:
    """Whether a row's profiles stand in another order than that in which their names first occur, or are none."""
    profiles = pl.col(_PROFILES)
    named = rows[_PROFILES].explode().drop_nulls()
    names = named.struct.field("name").unique(maintain_order=True) if len(named) else pl.Series([], dtype=pl.String)
    if names.is_empty():
        return profiles.list.len() == 0
    place = pl.element().struct.field("name").replace_strict(names, range(len(names)), return_dtype=pl.Int64)
    return (profiles.list.len() == 0) | profiles.list.eval(place.diff() <= 0).list.any()


def _packed(rows: list[list[Any]]) -> Any:
    return [[pack(value) for value in row] for row in rows]


def to_pandas(rows: pl.DataFrame) -> Any:
    """The rows as a pandas frame whose columns keep Arrow's types, so that null, NaN and large integers stay apart.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        return rows.to_pandas(use_pyarrow_extension_array=True)
    except ImportError:
        raise MissingExtraError("pandas is not installed", hint='pip install "trialstore[pandas]"') from None


def from_frame(frame: Any, metrics: Iterable[Metric]) -> tuple[pl.DataFrame, dict[str, Metric]]:
    """The rows of a history, and its metrics, from a frame that `frame_of` made, or AMLTK.

    Raises:
        UsageError: a column is missing, unknown, or of a type that no trial has.
    """
    rows, described = rows_from(frame)
    named = {metric.name: metric for metric in (*described, *metrics)}
    if DEFINED not in rows.columns:
        rows = rows.with_columns(pl.lit(metrics_text(named.values())).alias(DEFINED))
    rows = _whole(rows)
    return rows, {**join_metrics(map(metrics_of, rows[DEFINED].unique(maintain_order=True))), **named}


def _whole(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with all columns of a history in their order and types."""
    if "bucket" in rows.columns:  # AMLTK's
        bucket = pl.when(pl.col("bucket").is_not_null()).then(
            pl.struct(pl.col("bucket").cast(pl.String)).struct.json_encode()
        )
        rows = rows.with_columns(bucket.alias("attributes")).drop("bucket")
    _check(rows.columns)
    statuses = {word: parse_status(word).value for word in rows["status"].unique().to_list()}
    rows = rows.with_columns(pl.col("status").replace_strict(statuses, return_dtype=pl.String))
    structs = {name: _struct(rows, name) for name in STRUCTS}
    empty = pl.from_arrow(pa.schema([*IDENTITY.items(), *trials_schema(structs)]).empty_table())
    assert isinstance(empty, pl.DataFrame)
    types = empty.schema
    rows = rows.with_columns(
        pl.lit(_DEFAULTS.get(name), dtype).alias(name) for name, dtype in types.items() if name not in rows.columns
    )
    rows = pl.DataFrame([_cast(rows[name], types[name]) for name in COLUMNS])
    own_name = pl.format("{}-{}", "experiment", "trial")
    rows = rows.with_columns(
        pl.coalesce("submitted_at", "ended_at", pl.lit(parse_time(now_text()))).alias("submitted_at"),
        *(pl.col(name).fill_null(value) for name, value in _DEFAULTS.items()),
    ).with_columns(pl.when(pl.col("name") != own_name).then("name").alias("name"))
    if rows["id"].null_count():
        ids = [params_hash(record.params) for record in records_from(trials_of(rows))]
        rows = rows.with_columns(pl.coalesce("id", pl.Series("id", ids, pl.String)))
    return rows


def _check(columns: Iterable[str]) -> None:
    there = list(columns)
    if "status" not in there:
        raise UsageError("frame has not the columns of a history", hint="use History.df or Experiment.history")
    for name in there:
        if name not in COLUMNS:
            near = nearest(name, COLUMNS)
            hint = f"did you mean {near[0]!r}?" if near else "drop it"
            raise UsageError("not a column of a history", hint=hint, name=name)


def _cast(values: pl.Series, target: pl.DataType) -> pl.Series:
    """A column in the type that a history has it in."""
    dtype = values.dtype
    if dtype == target:
        return values
    if isinstance(dtype, pl.Struct) and isinstance(target, pl.Struct):
        names = [field.name for field in target.fields]
        known = dtype.to_schema()
        typed = [_typed(f"{values.name}.{name}", known[name], column_of(known, name)) for name in names]
        there = values.is_not_null()
        return values.struct.unnest().select(pl.when(there).then(pl.struct(typed)).alias(values.name)).to_series()
    if dtype == pl.Datetime and dtype.time_zone is None:  # type: ignore[attr-defined]
        # AMLTK's times are local and say no zone.
        return pl.Series(values.name, [None if time is None else time.astimezone(UTC) for time in values], target)
    try:
        # pandas has floats where an integer is missing
        return (values.fill_nan(None) if dtype.is_float() else values).cast(target)
    except pl.exceptions.PolarsError:
        raise UsageError("column is of a type that no trial has", name=values.name, type=str(dtype)) from None


def _struct(rows: pl.DataFrame, name: str) -> Mapping[str, str]:
    """The kinds of the fields that a struct column will have; none when it is absent."""
    dtype = rows.schema.get(name, pl.Null())
    if not isinstance(dtype, pl.Struct):
        return {}
    typed = [
        _typed(f"{name}.{field.name}", field.dtype, pl.lit(None, field.dtype)).alias(field.name)
        for field in dtype.fields
    ]
    return arrow_fields(pl.select(pl.struct(typed).alias(name)).to_arrow().schema.field(0).type)


def _typed(name: str, dtype: Any, value: pl.Expr) -> pl.Expr:
    """A value in a type that a field of a struct may have."""
    if dtype in (pl.Int64, pl.Float64, pl.String, pl.Boolean):
        return value
    if dtype in (pl.Null, pl.Int32):
        return value.cast(pl.Int32)
    if dtype.is_integer():
        return value.cast(pl.Int64)
    if dtype.is_float():
        return value.cast(pl.Float64)
    if dtype in (pl.Categorical, pl.Enum):
        return value.cast(pl.String)
    raise UsageError("a value of this type has no place in a trial", name=name, type=str(dtype))
