"""The trials of an experiment as mlos_bench's own frames, computed by the engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas
import polars as pl
import pytz
from pydantic_core import from_json

from trialstore.experiment import Experiment
from trialstore.integrations.mlos_bench.statuses import MLOS_NAMES
from trialstore.integrations.mlos_bench.values import text
from trialstore.interning import interning_of
from trialstore.ledger import catalog_of
from trialstore.model.codec import pack_dict, unpack_dict
from trialstore.query.collect import collected
from trialstore.session import Session

__all__ = ["HEAD", "configuration_ids", "heads", "results_frame"]

HEAD = (
    "trial_id",
    "ts_start",
    "ts_end",
    "tunable_config_id",
    "tunable_config_trial_group_id",
    "status",
    "trial_runner_id",
)
"""The first columns of every frame of results."""

_STRUCTS = {"config.": ("params",), "result.": ("metrics", "summary")}


def heads(experiment: Experiment, config_id: int | None = None, *columns: str) -> pl.DataFrame:
    """One row a trial, by id: the columns `HEAD`, and some of the trials table.

    The group of a trial is the least id of those that have its configuration. A configuration that has no id in the
    store, since another tool made the trial and nobody asked for one, has the negative of that. Times are aware UTC.

    Args:
        experiment: Whose trials.
        config_id: Only those of this configuration.
        columns: Further columns of the trials table.
    """
    group = (pl.col("trial").min().over("id") + 1).alias("tunable_config_trial_group_id")
    chosen = experiment.history().select(
        (pl.col("trial") + 1).alias("trial_id"),
        pl.coalesce("started_at", "ready_at", "submitted_at").alias("ts_start"),
        pl.when(pl.col("status").is_in(_ENDED)).then(pl.col("ended_at")).alias("ts_end"),
        group,
        pl.col("status").replace({str(one): name for one, name in MLOS_NAMES.items()}),
        pl.col("runner").alias("trial_runner_id"),
        *dict.fromkeys((*columns, "id")),
    )
    rows = _with_ids(experiment, collected(chosen.sort("trial_id"))).select(*HEAD, *columns)
    return rows if config_id is None else rows.filter(pl.col("tunable_config_id") == config_id)


def _with_ids(experiment: Experiment, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the id of every configuration; those of mlos_bench's own trials are given where they have none."""
    session = experiment._ledger.session
    found = _joined_with(configuration_ids(session), rows)
    unnamed = found.filter(pl.col("tunable_config_id").is_null())["tunable_config_trial_group_id"].unique().sort()
    if len(unnamed) and session.options.mode == "rw" and "root_env_config" in experiment.metadata:
        records = [record for group in unnamed if (record := experiment._ledger.record(group - 1)) is not None]
        packed = [pack_dict(record.params, "params") for record in records]
        interning_of(session).ids([record.id for record in records], packed)
        found = _joined_with(configuration_ids(session), rows)
    return found.with_columns(pl.coalesce("tunable_config_id", -pl.col("tunable_config_trial_group_id")))


def _joined_with(hashes: list[str], rows: pl.DataFrame) -> pl.DataFrame:
    named = {"id": hashes, "tunable_config_id": range(1, len(hashes) + 1)}
    schema = {"id": pl.String, "tunable_config_id": pl.Int64}
    return rows.join(pl.DataFrame(named, schema=schema), on="id", how="left", maintain_order="left")


def configuration_ids(session: Session) -> list[str]:
    """The hashes of the configurations that have an id, in the order of the ids, from 1 on."""
    interning_of(session).flush_lingering()
    with catalog_of(session).view() as catalog:
        return sorted(catalog.configuration_ids, key=catalog.configuration_ids.__getitem__)


_ENDED = [str(status) for status in MLOS_NAMES if status.is_final]


def results_frame(experiment: Experiment, config_id: int | None = None) -> pandas.DataFrame:
    """mlos_bench's ``results_df``: the columns `HEAD`, then ``config.`` and ``result.`` and the name, sorted.

    A column is int64 or float64 where all values are numbers or text that reads as such; NaN is NaN, and so is an
    absent value. Any other column has objects: numbers, and text for what is none.

    Args:
        experiment: Whose trials.
        config_id: Only those of this configuration.
    """
    structs = [name for names in _STRUCTS.values() for name in names]
    rows = heads(experiment, config_id, *structs, "exact")
    found: dict[str, Any] = {name: rows[name].to_pandas() for name in HEAD}
    for name in ("ts_start", "ts_end"):
        found[name] = found[name].dt.tz_convert(pytz.UTC)
    odd = _odd_rows(rows["exact"])
    for prefix, names in _STRUCTS.items():
        columns: dict[str, pl.Series] = {}
        for struct in names:
            if isinstance(rows.schema[struct], pl.Struct):
                for column in rows[struct].struct.unnest():
                    columns[column.name] = _joined(columns.get(column.name), column)
        found |= {f"{prefix}{name}": _shown(columns[name], _told(odd, names, name)) for name in sorted(columns)}
    return pandas.DataFrame(found)


def _joined(before: pl.Series | None, column: pl.Series) -> pl.Series:
    """One column of two of a name: a result is a number in one trial and text in another one."""
    if before is None:
        return column
    if before.dtype != column.dtype:
        before, column = _spelled(before), _spelled(column)
    return before.zip_with(before.is_not_null(), column)


def _spelled(column: pl.Series) -> pl.Series:
    """A column as text, in the spelling of mlos_bench: the engine's own of a float is another."""
    return pl.Series(column.name, [text(value) for value in column.to_list()], pl.String)


def _odd_rows(exact: pl.Series) -> dict[int, Mapping[str, Any]]:
    """What the columns do not say exactly, by row."""
    there = exact.is_not_null().arg_true()
    return {index: from_json(exact[index]) for index in there}


def _told(odd: Mapping[int, Mapping[str, Any]], structs: tuple[str, ...], name: str) -> Callable[[], dict[int, Any]]:
    """The values of one column that its rows tell more exactly than the column."""

    def told() -> dict[int, Any]:
        return {
            index: unpack_dict(body[struct])[name]
            for index, body in odd.items()
            for struct in structs
            if name in body.get(struct, ())
        }

    return told


def _shown(column: pl.Series, told: Callable[[], dict[int, Any]]) -> pandas.Series:
    """A column as pandas makes it of mlos_bench's text, without the text where the values are numbers."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).to_pandas() if column.null_count() == len(column) else column.to_pandas()
    if column.dtype == pl.Boolean:
        values = [text(value) for value in column.to_list()]
    else:
        values = column.to_list()
        for index, value in told().items():
            values[index] = text(value)
    shown = pandas.Series(values, dtype=object)
    shown = shown.where(shown.notna(), math.nan)
    numbers = pandas.to_numeric(shown, errors="coerce")
    told_otherwise = numbers.isna() & shown.notna()
    return numbers.astype(object).mask(told_otherwise, shown) if told_otherwise.any() else numbers
