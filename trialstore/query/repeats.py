"""The SQL of the view `repeats`: trials with equal parameters as one row a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from trialstore.model.status import Status
from trialstore.query.snapshot import ExperimentSnapshot
from trialstore.query.student import t_quantile_sql
from trialstore.query.views import literal, quoted
from trialstore.tables.schema import Fields, fold_name

__all__ = ["REPEATS", "repeats_view"]

REPEATS: Mapping[str, pa.DataType | None] = {
    "experiment": pa.string(),
    "version": pa.int64(),
    "id": pa.string(),
    "fidelity": None,
    "params": None,
    "first_trial": pa.int64(),
    "trials": pa.int64(),
    "statuses": pa.struct([(status.value.lower(), pa.int64()) for status in Status]),
    "metric": pa.string(),
    "n": pa.int64(),
    "nan": pa.int64(),
    **dict.fromkeys(
        ("mean", "stddev", "sem", "ci_low", "ci_high", "min", "p25", "median", "p75", "p90", "p99", "max"), pa.float64()
    ),
}
"""Columns of the view in order; None stands for a struct column of the trials table."""

_NUMBER = """TRY_CAST(coalesce({0} ->> '$."$float"', {0} ->> '$."$int"', {0}::VARCHAR) AS DOUBLE)"""
_QUANTILES = {"p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99}
_GROUP = ("experiment", "version", "id", "fidelity")


def repeats_view(
    experiments: Sequence[ExperimentSnapshot],
    structs: Mapping[str, Fields],
    trials: str = "trials",
    *,
    exact: bool,
) -> str:
    """The query of the view: one row for each group of trials with equal parameters and fidelity, and each metric.

    A metric is what the experiment declares or a trial of it has. A group of an experiment without any metric has one
    row, whose metric is null.

    Args:
        experiments: All experiments of the snapshot.
        structs: The unified fields of the struct columns.
        trials: The view of the trials.
        exact: Whether a trial has something in its column `exact`.
    """
    groups: dict[tuple[str, ...], list[ExperimentSnapshot]] = {}
    for experiment in experiments:
        groups.setdefault(_metrics_of(experiment), []).append(experiment)
    branches = [_long(trials, names, group, structs, exact) for names, group in groups.items()]
    rows = " UNION ALL ".join(branches or [_long(trials, (), (), structs, exact)])
    return _statistics(rows)


def _metrics_of(experiment: ExperimentSnapshot) -> tuple[str, ...]:
    declared = [str(metric["name"]) for metric in experiment.metadata.get("metrics", ())]
    known = {fold_name(name) for name in declared}
    found = [name for fields in experiment.struct_fields("metrics") for name in fields if fold_name(name) not in known]
    return tuple(dict.fromkeys([*declared, *found]))


def _long(
    trials: str,
    names: Sequence[str],
    experiments: Sequence[ExperimentSnapshot],
    structs: Mapping[str, Fields],
    exact: bool,
) -> str:
    """One row a trial and metric; the value is null where the trial did not succeed or does not have it."""
    spelling = {fold_name(name): name for name in structs["metrics"]}
    entries = ", ".join(_entry(name, spelling.get(fold_name(name)), exact) for name in names) or _nothing()
    here = [f"(experiment = {literal(e.name)} AND version = {e.version})" for e in experiments]
    return (
        f"SELECT experiment, version, id, fidelity, params, trial, status, unnest([{entries}], recursive := true) "
        f"FROM {trials} WHERE {' OR '.join(here) or 'false'}"
    )


def _nothing() -> str:
    return "{'metric': NULL::VARCHAR, 'value': NULL::DOUBLE}"


def _entry(name: str, field: str | None, exact: bool) -> str:
    value = "NULL" if field is None else f"TRY_CAST(metrics.{quoted(field)} AS DOUBLE)"
    if exact:
        one = f"map_extract_value(CAST(exact -> '$.metrics' AS MAP(VARCHAR, JSON)), {literal(name)})"
        value = (
            f"CASE WHEN exact IS NOT NULL AND json_exists(exact, '$.metrics') "
            f"THEN {_NUMBER.format(one)} ELSE {value} END"
        )
    value = f"CASE WHEN status = {literal(Status.SUCCEEDED.value)} THEN {value} END"
    return f"{{'metric': {literal(name)}, 'value': ({value})::DOUBLE}}"


def _statistics(rows: str) -> str:
    counts = ", ".join(
        f"'{status.value.lower()}': count(*) FILTER (status = {literal(status.value)})" for status in Status
    )
    grouped = f"""
        SELECT {", ".join(_GROUP)}, metric, arg_min(params, trial) AS params, min(trial) AS first_trial,
            count(*) AS trials, {{{counts}}} AS statuses, count(*) FILTER (isnan(value)) AS nan,
            list(value ORDER BY trial) FILTER (NOT isnan(value)) AS seen
        FROM ({rows}) GROUP BY {", ".join(_GROUP)}, metric"""
    measured = f"""
        SELECT *, coalesce(len(seen), 0) AS n, list_sum(seen) / n AS mean,
            sqrt(list_sum(list_transform(seen, lambda x: (x - mean) ** 2)) / nullif(n - 1, 0)) AS stddev,
            stddev / sqrt(n) AS sem
        FROM ({grouped})"""
    half = f"({t_quantile_sql('(n - 1)')}) * sem"
    expressions = {
        "ci_low": f"mean - {half}",
        "ci_high": f"mean + {half}",
        "min": "list_min(seen)",
        "max": "list_max(seen)",
        **{name: f"list_aggregate(seen, 'quantile_cont', {share})" for name, share in _QUANTILES.items()},
    }
    columns = [f"{expressions[name]} AS {name}" if name in expressions else name for name in REPEATS]
    return f"SELECT {', '.join(columns)} FROM ({measured})"
