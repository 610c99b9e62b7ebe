"""Orders and groups of rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import polars as pl

from trialstore.history.columns import column, with_value
from trialstore.model.errors import UsageError
from trialstore.model.metric import Metric
from trialstore.model.status import Status

__all__ = ["arranged", "fitting", "grouped", "steps"]

T = TypeVar("T")
_KEY = "__key"


def fitting(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows, whose expressions were checked; nothing is read.

    Raises:
        UsageError: one of them does not fit the columns.
    """
    try:
        rows.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise UsageError(
            "expression does not fit a history",
            hint="history.lazy().collect_schema() has its columns",
            reason=str(error),
        ) from None
    return rows


def arranged(
    rows: pl.LazyFrame, key: str | Metric | pl.Expr, metrics: Mapping[str, Metric], reverse: bool | None
) -> pl.LazyFrame:
    """The rows sorted by a metric, of which those without a value are left out, or by a column or an expression.

    NaN and null come last in either direction; equal rows keep their order.
    """
    schema = rows.collect_schema()
    metric = key if isinstance(key, Metric) else metrics.get(key) if isinstance(key, str) else None
    if metric is not None:
        rows = with_value(rows, metric, list(metrics.values()), _KEY).filter(pl.col(_KEY).is_not_null())
        reverse = not metric.minimize if reverse is None else reverse
    else:
        rows = fitting(rows.with_columns((key if isinstance(key, pl.Expr) else column(str(key), schema)).alias(_KEY)))
    value = pl.col(_KEY)
    order = [value.is_nan(), value] if rows.collect_schema()[_KEY].is_float() else [value]
    descending = [False] * (len(order) - 1) + [bool(reverse)]
    return rows.sort(order, descending=descending, nulls_last=True, maintain_order=True).select(list(schema))


def grouped(rows: pl.DataFrame, key: str | pl.Expr) -> dict[Hashable, pl.DataFrame]:
    """The rows by the value of a column or an expression, in the order in which values first occur.

    Raises:
        UsageError: a value cannot be the key of a dict.
    """
    expression = key if isinstance(key, pl.Expr) else column(key, rows.schema)
    keyed = fitting(rows.lazy().with_columns(expression.alias(_KEY))).collect()
    if keyed.schema[_KEY].is_nested():
        raise UsageError("cannot group by lists or structs", hint='group by a field, such as "params.lr"', key=str(key))
    parts = keyed.partition_by(_KEY, maintain_order=True, include_key=False, as_dict=True)
    named = {value: part for (value,), part in parts.items()}
    by_status = isinstance(key, str) and key == "status"
    return {Status(value) if by_status else value: part for value, part in named.items()}


def steps(items: Sequence[T], better: Callable[[T, T], bool], ffill: bool) -> list[int]:
    """Positions of the items that are better than the best one before; with `ffill`, the best one's for every item."""
    best = 0
    found = [0] if items else []
    for index in range(1, len(items)):
        if better(items[index], items[best]):
            best = index
            found.append(index)
        elif ffill:
            found.append(best)
    return found
