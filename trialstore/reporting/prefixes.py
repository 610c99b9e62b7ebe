"""Frames of trials in AMLTK's columns, and back, without a loop over rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from trialstore.model.errors import UsageError
from trialstore.model.metric import Metric
from trialstore.model.profile import PROFILE_FIELDS, MemoryUnit
from trialstore.model.status import Status
from trialstore.reporting.facts import TRIAL, parse_status, status_word
from trialstore.tables.fieldnames import column_of, field_of
from trialstore.tables.schema import PLACEHOLDER

__all__ = ["flatten", "is_flat", "unflatten"]

_PREFIXES = {
    "params": "config:",
    "sem": "sem:",
    "n": "n:",
    "fidelity": "fidelities:",
    "summary": "summary:",
}
_RENAMED = {"seed": "trial_seed", "submitted_at": "created_at", "ended_at": "reported_at"}
_MEMORY = ("vms", "rss", "shared")
_UNIT_BYTES = {unit.value: float(unit.in_bytes) for unit in MemoryUnit}
_WORDS = {status.value: status_word(status) for status in Status}


def flatten(frame: pl.DataFrame, metrics: Sequence[Metric] = ()) -> pl.DataFrame:
    """Rows of the `trials` table in AMLTK's columns; `unflatten` is the inverse.

    ``config:``, ``fidelities:``, ``summary:``, ``metric:<str(metric)>``, ``value:`` for metrics without a definition,
    ``sem:``, ``n:``, ``memory:`` and ``time:`` for what `Trial.begin` measured, ``profile:<name>:`` for the rest. Null
    means absent. The other columns stay as they are, `exact` among them, under AMLTK's names where it has some.

    Args:
        frame: Rows of `Experiment.history`, or of `Report.df`.
        metrics: The declared metrics; the frame's own column `metric_defs` goes before.

    Cost: a pass over the columns for each measured name.
    """
    columns: list[pl.Expr] = []
    for name, dtype in frame.schema.items():
        if name == "metrics":
            columns += _metric_columns(dtype, metrics)
        elif name in _PREFIXES:
            columns += [_field(name, dtype, field).alias(_PREFIXES[name] + field) for field in _struct_fields(dtype)]
        elif name == "profiles":
            columns += [column for measured in _measured(frame) for column in _profile_columns(measured)]
        elif name == "status":
            columns.append(pl.col("status").replace_strict(_WORDS, default=pl.col("status"), return_dtype=pl.String))
        elif name == "name" and {"experiment", "trial"} <= set(frame.columns):
            shown = pl.format("{}-{}", pl.col("experiment"), pl.col("trial"))
            columns.append(pl.col("name").fill_null(shown))
        else:
            columns.append(column_of(frame.columns, name).alias(_RENAMED.get(name, name)))
    return frame.select(columns)


def is_flat(columns: Iterable[str]) -> bool:
    """Whether these are AMLTK's columns."""
    names = set(columns)
    return "trial_seed" in names or any(name.startswith(("config:", "metric:", "time:", "summary:")) for name in names)


def unflatten(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Metric, ...]]:
    """Rows in AMLTK's columns as rows of the `trials` table, and the metrics that the columns define.

    Raises:
        UsageError: a column of a metric cannot be read, a time is not in seconds, or a status is unknown.
    """
    groups: dict[str, list[pl.Expr]] = {name: [] for name in ("params", "metrics", *_PREFIXES)}
    of_prefix = {prefix: name for name, prefix in _PREFIXES.items()}
    metrics: list[Metric] = []
    measured: dict[str, set[str]] = {}
    columns: list[pl.Expr] = []
    back = {new: old for old, new in _RENAMED.items()}
    for name in frame.columns:
        prefix, colon, rest = name.partition(":")
        if prefix == "metric" and colon:
            metrics.append(Metric.from_str(rest))
            groups["metrics"].append(pl.col(name).alias(metrics[-1].name))
        elif prefix == "value" and colon:
            groups["metrics"].append(pl.col(name).alias(rest))
        elif f"{prefix}{colon}" in of_prefix:
            groups[of_prefix[f"{prefix}:"]].append(pl.col(name).alias(rest))
        elif prefix in ("memory", "time") and colon:
            measured.setdefault(TRIAL, set()).add(name)
        elif prefix == "profile" and rest.count(":") >= 2:
            measured.setdefault(rest.rsplit(":", 2)[0], set()).add(name)
        elif name == "status":
            known = {word: parse_status(word).value for word in frame["status"].unique().drop_nulls().to_list()}
            columns.append(pl.col("status").replace_strict(known, return_dtype=pl.String))
        else:
            columns.append(column_of(frame.columns, name).alias(back.get(name, name)))
    for name, fields in groups.items():
        if fields:
            value = pl.struct(fields)
            if name not in (
                "params",
                "metrics",
            ):  # without any value it is absent, unless `exact` says that it is empty
                value = pl.when(pl.any_horizontal(field.is_not_null() for field in fields)).then(value)
            columns.append(value.alias(name))
    if measured:
        rows = [_profile_struct(frame, name, there) for name, there in measured.items()]
        measured_rows = pl.concat_list(rows).list.drop_nulls()
        columns.append(pl.when(measured_rows.list.len() > 0).then(measured_rows).alias("profiles"))
    return frame.select(columns), tuple(metrics)


def _struct_fields(dtype: pl.DataType) -> list[str]:
    if not isinstance(dtype, pl.Struct):
        return []  # a struct without fields is a column of nulls
    return [field.name for field in dtype.fields if field.name != PLACEHOLDER]


def _metric_columns(dtype: pl.DataType, metrics: Sequence[Metric]) -> list[pl.Expr]:
    fields = _struct_fields(dtype)
    columns = []
    for metric in metrics:
        known = metric.name in fields
        value = _field("metrics", dtype, metric.name) if known else pl.lit(None, pl.Float64)
        columns.append(value.alias(f"metric:{metric}"))
    declared = {metric.name for metric in metrics}
    rest = [field for field in fields if field not in declared]
    return columns + [_field("metrics", dtype, field).alias(f"value:{field}") for field in rest]


def _field(column: str, dtype: pl.DataType, name: str) -> pl.Expr:
    assert isinstance(dtype, pl.Struct)
    return field_of(pl.col(column), (field.name for field in dtype.fields), name)


def _measured(frame: pl.DataFrame) -> list[str]:
    """Names of what was measured in any row, in the order in which they first stand."""
    if not isinstance(frame.schema["profiles"], pl.List):
        return []
    rows = frame["profiles"].drop_nulls().explode().drop_nulls()
    return rows.struct.field("name").unique(maintain_order=True).to_list() if len(rows) else []


def _profile_columns(name: str) -> list[pl.Expr]:
    there = pl.element().filter(pl.element().struct.field("name") == name)
    profile = pl.col("profiles").list.eval(there).list.first()
    before = "" if name == TRIAL else f"profile:{name}:"
    unit = profile.struct.field("memory_unit")
    factor = unit.replace_strict(_UNIT_BYTES, default=1.0, return_dtype=pl.Float64)
    columns = []
    for kind in _MEMORY:
        start, end = (profile.struct.field(f"{when}_{kind}_bytes") / factor for when in ("start", "end"))
        columns += [
            start.alias(f"{before}memory:start_{kind}"),
            end.alias(f"{before}memory:end_{kind}"),
            (end - start).alias(f"{before}memory:diff_{kind}"),
        ]
    kind_ = profile.struct.field("time_kind")
    start, end = profile.struct.field("start_s"), profile.struct.field("end_s")
    return [
        *columns,
        unit.alias(f"{before}memory:unit"),
        start.alias(f"{before}time:start"),
        end.alias(f"{before}time:end"),
        (end - start).alias(f"{before}time:duration"),
        kind_.alias(f"{before}time:kind"),
        pl.when(kind_.is_not_null()).then(pl.lit("seconds")).alias(f"{before}time:unit"),
    ]


def _profile_struct(frame: pl.DataFrame, name: str, there: set[str]) -> pl.Expr:
    """One measured name as the struct of the list `profiles`, null where a row has none of its columns."""
    before = "" if name == TRIAL else f"profile:{name}:"
    unit_column = f"{before}time:unit"
    if unit_column in there:
        units = set(frame[unit_column].cast(pl.String).drop_nulls().unique()) - {"seconds"}
        if units:
            raise UsageError("time of a profile must be in seconds", profile=name, unit=min(units))

    def column(field: str, dtype: type[pl.DataType]) -> pl.Expr:
        full = f"{before}{field}"
        return pl.col(full).cast(dtype) if full in there else pl.lit(None, dtype)

    unit = column("memory:unit", pl.String)
    spelled = unit.str.to_lowercase().replace({"b": "bytes", "kb": "kilobytes", "mb": "megabytes", "gb": "gigabytes"})
    factor = spelled.replace_strict(_UNIT_BYTES, default=1.0, return_dtype=pl.Float64)
    nan = pl.lit(float("nan"))
    values = [
        pl.lit(name).alias("name"),
        column("time:kind", pl.String).str.to_lowercase().alias("time_kind"),
        column("time:start", pl.Float64).fill_null(nan).alias("start_s"),
        column("time:end", pl.Float64).fill_null(nan).alias("end_s"),
        spelled.alias("memory_unit"),
        *(
            (column(f"memory:{when}_{kind}", pl.Float64).fill_null(nan) * factor).alias(f"{when}_{kind}_bytes")
            for kind in ("rss", "vms", "shared")
            for when in ("start", "end")
        ),
    ]
    struct = pl.struct(values)
    assert len(values) == len(PROFILE_FIELDS)
    present = pl.any_horizontal(*(pl.col(full).is_not_null() for full in sorted(there)))
    return pl.when(present).then(struct)
