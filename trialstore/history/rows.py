"""Reports as the rows of a frame, and back, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl
import pyarrow as pa
from pydantic_core import from_json, to_json

from trialstore.model.errors import UsageError
from trialstore.model.metric import Metric
from trialstore.query.collect import collected
from trialstore.report import Report
from trialstore.tables.merge import concat_trials
from trialstore.tables.schema import STRUCTS, TRIAL_COLUMNS, Fields, fields_of, trials_schema
from trialstore.tables.trials import records_from, trials_table

__all__ = [
    "COLUMNS",
    "DEFINED",
    "IDENTITY",
    "arrow_fields",
    "join_metrics",
    "metrics_of",
    "metrics_text",
    "reports_of",
    "rows_of",
    "stacked",
    "trials_of",
    "with_storage",
]

DEFINED = "metric_defs"
"""The column that says what the metrics of a row's experiment mean: a JSON list of their stored forms."""

IDENTITY: Mapping[str, pa.DataType] = {"experiment": pa.string(), "version": pa.int64(), DEFINED: pa.string()}
"""What a row of a history has besides the columns of the trials table."""

COLUMNS = ("experiment", "version", *TRIAL_COLUMNS, DEFINED)
"""The columns of a history in order."""


def metrics_text(metrics: Iterable[Metric]) -> str:
    """What stands in the column `DEFINED` of a trial with these metrics."""
    return to_json([metric.to_json() for metric in metrics]).decode()


def metrics_of(text: str) -> tuple[Metric, ...]:
    """The metrics that `metrics_text` wrote."""
    return tuple(Metric.from_json(body) for body in from_json(text))


def join_metrics(groups: Iterable[Iterable[Metric]]) -> dict[str, Metric]:
    """All metrics of these groups by name.

    Raises:
        UsageError: one name stands for two different metrics.
    """
    joined: dict[str, Metric] = {}
    for group in groups:
        for metric in group:
            known = joined.setdefault(metric.name, metric)
            if known is not metric and known != metric:
                raise UsageError(
                    "two trials mean different things by one metric",
                    hint="keep a history of each experiment",
                    metric=metric.name,
                    one=str(known),
                    other=str(metric),
                )
    return joined


def rows_of(reports: Sequence[Report]) -> pl.DataFrame:
    """One row a report, in their order."""
    facts = [report._facts() for report in reports]
    texts: dict[int, str] = {}
    for one in facts:
        if id(one.metrics) not in texts:
            texts[id(one.metrics)] = metrics_text(one.metrics)
    who = {
        "experiment": [one.experiment for one in facts],
        "version": [one.version for one in facts],
        DEFINED: [texts[id(one.metrics)] for one in facts],
    }
    table = pa.table([pa.array(who[name], type_) for name, type_ in IDENTITY.items()], names=list(IDENTITY))
    return _frame(table, trials_table([one.record for one in facts]))


def reports_of(rows: pl.DataFrame) -> Iterator[Report]:
    """The reports that the rows hold, one after another."""
    defined: dict[str, tuple[Metric, ...]] = {}
    for batch in rows.iter_slices(4096):
        records = records_from(trials_of(batch))
        for record, experiment, version, text in zip(records, *(batch[name] for name in IDENTITY), strict=True):
            if text not in defined:
                defined[text] = metrics_of(text)
            yield Report(record, experiment=experiment, version=version, metrics=defined[text])


def trials_of(rows: pl.DataFrame) -> pa.Table:
    """The columns of the trials table as Arrow has them in a part."""
    table = rows.select(list(TRIAL_COLUMNS)).to_arrow()
    return table.cast(trials_schema({name: arrow_fields(table.schema.field(name).type) for name in STRUCTS}))


def with_storage(rows: pl.LazyFrame, artifacts: pl.LazyFrame | None) -> pl.DataFrame:
    """The rows, read, with the names of a trial's artifacts among those of what it stored elsewhere."""
    read = collected(rows)
    if artifacts is None or read.is_empty():
        return read
    key = ["experiment", "version", "trial"]
    names = artifacts.select(*key, "name").join(read.lazy().select(key), on=key, how="semi")
    stored = collected(names.group_by(key).agg(pl.col("name").unique().alias("__names")))
    if stored.is_empty():
        return read
    both = pl.concat_list(pl.col("storage").fill_null([]), "__names").list.unique().list.sort()
    known = pl.when(pl.col("__names").is_null()).then("storage").otherwise(both)
    return (
        read.join(stored, on=key, how="left", maintain_order="left")
        .with_columns(known.alias("storage"))
        .select(COLUMNS)
    )


def stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The rows of all frames, one after another, with nothing lost where the types of their fields differ."""
    who = pa.concat_tables([_identity(rows) for rows in frames])
    return _frame(who, concat_trials([trials_of(rows) for rows in frames]))


def arrow_fields(type_: pa.DataType) -> Fields:
    """The fields of a struct column that came from Polars, which spells text otherwise."""
    if not pa.types.is_struct(type_):
        return {}
    fields = [type_.field(index) for index in range(type_.num_fields)]
    return fields_of(pa.struct([(field.name, pa.string() if _is_text(field.type) else field.type) for field in fields]))


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _identity(rows: pl.DataFrame) -> pa.Table:
    return rows.select(list(IDENTITY)).to_arrow().cast(pa.schema(list(IDENTITY.items())))


def _frame(who: pa.Table, trials: pa.Table) -> pl.DataFrame:
    for field in trials.schema:
        who = who.append_column(field, trials[field.name])
    frame = pl.from_arrow(who)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(COLUMNS)
