"""Who is best: one report, a Pareto front, the incumbents over time. NaN is never among them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from trialstore.history.columns import VALUE, countable, with_value
from trialstore.model.metric import Metric
from trialstore.query.collect import collected

__all__ = ["best_row", "best_rows", "front_rows", "incumbent_rows"]

ROW = "__row"


def best_row(rows: pl.LazyFrame, metric: Metric, others: Sequence[Metric]) -> int | None:
    """Position of the row with the best value, the first of equal ones; None when no row has a value."""
    value = pl.col(VALUE)
    best = value.min() if metric.minimize else value.max()
    found = collected(
        with_value(rows, metric, others)
        .with_row_index(ROW)
        .filter(countable())
        .select(ROW, VALUE)
        .filter(value == best)
        .select(pl.col(ROW).min())
    ).item()
    return None if found is None else int(found)


def best_rows(trials: pl.LazyFrame, metric: Metric, others: Sequence[Metric], limit: int) -> pl.DataFrame:
    """The best trials, best first, of equal ones that of the lower number: columns ``trial`` and `VALUE`."""
    ranked = with_value(trials, metric, others).filter(countable()).select("trial", VALUE)
    return collected(ranked.sort(VALUE, "trial", descending=[not metric.minimize, False]).head(limit))


def front_rows(rows: pl.LazyFrame, metrics: Sequence[Metric], others: Sequence[Metric]) -> list[int]:
    """Positions of the rows that no other row dominates, in their order; of equal rows the first.

    A row dominates another when it is at least as good in every metric and better in one.

    Cost: a sort; with three metrics or more, also one pass over the rows left for each row of the front.

    Source: Kung, Luccio and Preparata, "On finding the maxima of a set of vectors", J. ACM 22 (1975).
    """
    losses = [f"__loss{index}" for index in range(len(metrics))]
    for metric, loss in zip(metrics, losses, strict=True):
        rows = with_value(rows, metric, others, loss)
    counts = pl.all_horizontal(countable(loss) for loss in losses)
    schema = rows.collect_schema()
    points = collected(
        rows.with_row_index(ROW)
        .filter(counts)
        .select(ROW, *(_loss(metric, loss, schema[loss]) for metric, loss in zip(metrics, losses, strict=True)))
        .sort(*losses, ROW)
        .unique(losses, keep="first", maintain_order=True)
    )
    front = _staircase(points, losses) if len(losses) <= 2 else _peeled(points, losses)
    return sorted(front[ROW].to_list())


def _loss(metric: Metric, name: str, dtype: pl.DataType) -> pl.Expr:
    """The column turned so that less is better, without leaving the range of its type."""
    if metric.minimize:
        return pl.col(name)
    return (-1 - pl.col(name) if dtype == pl.Int64 else -pl.col(name)).alias(name)


def _staircase(points: pl.DataFrame, losses: Sequence[str]) -> pl.DataFrame:
    """The front of distinct points in order: those whose last loss is below that of all before."""
    last = pl.col(losses[-1])
    lowest_before = last.cum_min().shift(1)
    return points.filter(lowest_before.is_null() | (last < lowest_before))


def _peeled(points: pl.DataFrame, losses: Sequence[str]) -> pl.DataFrame:
    """The front of distinct points: whoever ranks lowest in sum is on it, and takes away all that it dominates."""
    total = pl.sum_horizontal(pl.col(loss).rank("dense").cast(pl.UInt64) for loss in losses)
    left = points.with_columns(total.alias("__total")).sort("__total", maintain_order=True)
    front = []
    while left.height:
        best = left.head(1)
        front.append(best)
        left = left.filter(pl.any_horizontal(pl.col(loss) < best[loss].item() for loss in losses))
    return pl.concat(front) if front else left


def incumbent_rows(rows: pl.LazyFrame, metric: Metric, others: Sequence[Metric], order: list[int]) -> pl.DataFrame:
    """For each row in this order its position (``row``) and that of the best row up to it (``incumbent``, or null)."""
    value = pl.col(VALUE)
    values = collected(with_value(rows, metric, others).select(pl.when(countable()).then(value).alias(VALUE)))[VALUE]
    ordered = pl.DataFrame({"row": pl.Series(order, dtype=pl.UInt32)}).with_columns(values.gather(order).alias(VALUE))
    best = (value.cum_min() if metric.minimize else value.cum_max()).forward_fill()
    before = best.shift(1)
    better = value.is_not_null() & (before.is_null() | (value < before if metric.minimize else value > before))
    incumbent = pl.when(better).then("row").forward_fill().alias("incumbent")
    return ordered.select("row", value.alias("value"), incumbent, best.alias("best"))
