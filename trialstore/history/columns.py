"""The columns of a history that names mean, and the values of its metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl
from pydantic_core import from_json

from trialstore.model.codec import unpack
from trialstore.model.errors import UsageError, nearest
from trialstore.model.metric import Metric
from trialstore.model.status import Status
from trialstore.tables.fieldnames import field_of
from trialstore.tables.schema import PLACEHOLDER, STRUCTS, fold_name
from trialstore.tables.values import nearest_double

__all__ = ["VALUE", "column", "countable", "fields", "with_value"]

VALUE = "__value"
"""The column that `with_value` adds."""


def column(name: str, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """The column of a name: as it is, or a field of a struct column such as ``params.lr``.

    Raises:
        UsageError: there is none; near ones are named.
    """
    if name in schema:
        return pl.col(name)
    struct, dot, field = name.partition(".")
    if dot and struct in STRUCTS and field in fields(schema, struct):
        return field_of(pl.col(struct), schema[struct].to_schema(), field)  # type: ignore[attr-defined]
    known = [*schema, *(f"{struct}.{field}" for struct in STRUCTS for field in fields(schema, struct))]
    near = nearest(name, known)
    raise UsageError(
        "history has no such column",
        hint=f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known[:30])}",
        name=name,
    )


def fields(schema: Mapping[str, pl.DataType], struct: str) -> list[str]:
    """The fields of a struct column, without the placeholder."""
    dtype = schema[struct]
    names = [field.name for field in dtype.fields] if isinstance(dtype, pl.Struct) else []
    return [] if names == [PLACEHOLDER] else names


def with_value(rows: pl.LazyFrame, metric: Metric, others: Iterable[Metric], alias: str = VALUE) -> pl.LazyFrame:
    """The rows with the value of a metric in the column `VALUE`, null where there is none.

    Integers of 64 bits stay integers; a larger one is the nearest double.

    Cost: none to speak of. Where another metric's name differs in nothing but the case of ASCII letters, or the name
    cannot be a field's, a look at each row.
    """
    schema = rows.collect_schema()
    known = fields(schema, "metrics")
    alike = [other.name for other in others if fold_name(other.name) == fold_name(metric.name)]
    if metric.name in known and alike in ([], [metric.name]):
        value = field_of(pl.col("metrics"), schema["metrics"].to_schema(), metric.name)  # type: ignore[attr-defined]
        whole = schema["metrics"].to_schema()[metric.name] == pl.Int64  # type: ignore[attr-defined]
        return rows.with_columns((value if whole else value.cast(pl.Float64, strict=False)).alias(alias))
    return rows.map_batches(
        lambda frame: _looked_up(frame, metric.name, metric.name in known, alias),
        schema={**schema, alias: pl.Float64()},
        projection_pushdown=False,
        predicate_pushdown=False,
        slice_pushdown=False,
    )


def _looked_up(frame: pl.DataFrame, name: str, field: bool, alias: str) -> pl.DataFrame:
    shown = frame["metrics"].struct.unnest()[name] if field else pl.Series([None] * frame.height)
    values = [
        _number(
            value
            if text is None or '"metrics"' not in text
            else from_json(text).get("metrics", {name: value}).get(name)
        )
        for value, text in zip(shown, frame["exact"], strict=True)
    ]
    return frame.with_columns(pl.Series(alias, values, pl.Float64))


def _number(packed: object) -> float | None:
    value = unpack(packed)
    return nearest_double(value) if isinstance(value, int) else value if isinstance(value, float) else None


def countable(alias: str = VALUE) -> pl.Expr:
    """Whether a row that `with_value` made counts among the best: its trial succeeded, with a value that is not NaN."""
    value = pl.col(alias)
    return (pl.col("status") == Status.SUCCEEDED.value) & value.is_not_null() & value.cast(pl.Float64).is_not_nan()
