"""The SQL of the view `repeats`: trials with equal parameters as one row a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from trialstore.model.status import Status
from trialstore.query.snapshot import ExperimentSnapshot
from trialstore.query.student import NORMAL, t_quantile_sql
from trialstore.query.views import literal, quoted
from trialstore.tables.schema import Fields, fold_name

__all__ = ["REPEATS", "repeats_view"]

POOLED, WEIGHTED = "pooled", "inverse variance"
"""What the column `method` says."""

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
    "samples": pa.int64(),
    "method": pa.string(),
    **dict.fromkeys(
        ("mean", "stddev", "sem", "ci_low", "ci_high", "min", "p25", "median", "p75", "p90", "p99", "max"), pa.float64()
    ),
}
"""Columns of the view in order; None stands for a struct column of the trials table."""

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
    return _statistics(rows, observed=exact or bool(structs.get("sem")))


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
    spellings = {
        struct: {fold_name(name): name for name in structs.get(struct, ())} for struct in ("metrics", "sem", "n")
    }
    entries = ", ".join(_entry(name, spellings, exact) for name in names) or _nothing()
    here = [f"(experiment = {literal(e.name)} AND version = {e.version})" for e in experiments]
    return (
        f"SELECT experiment, version, id, fidelity, params, trial, status, unnest([{entries}], recursive := true) "
        f"FROM {trials} WHERE {' OR '.join(here) or 'false'}"
    )


def _nothing() -> str:
    return "{'metric': NULL::VARCHAR, 'value': NULL::DOUBLE, 'error': NULL::DOUBLE, 'count': NULL::DOUBLE}"


def _entry(name: str, spellings: Mapping[str, Mapping[str, str]], exact: bool) -> str:
    value, error, count = (
        f"({_number(struct, name, fields.get(fold_name(name)), exact)})::DOUBLE" for struct, fields in spellings.items()
    )
    succeeded = f"CASE WHEN status = {literal(Status.SUCCEEDED.value)} THEN {value} END"
    return f"{{'metric': {literal(name)}, 'value': {succeeded}, 'error': {error}, 'count': {count}}}"


def _number(struct: str, name: str, field: str | None, exact: bool) -> str:
    """What a struct column says of a name, as a double; null where it says nothing, or no number."""
    value = "NULL" if field is None else f"TRY_CAST({struct}.{quoted(field)} AS DOUBLE)"
    if not exact:
        return value
    one = f"map_extract_value(CAST(exact -> '$.{struct}' AS MAP(VARCHAR, JSON)), {literal(name)})"
    number = f"""TRY_CAST(coalesce({one} ->> '$."$float"', {one} ->> '$."$int"', {one}::VARCHAR) AS DOUBLE)"""
    return f"CASE WHEN json_exists(exact, '$.{struct}') THEN {number} ELSE {value} END"


def _statistics(rows: str, observed: bool) -> str:
    counts = ", ".join(
        f"'{status.value.lower()}': count(*) FILTER (status = {literal(status.value)})" for status in Status
    )
    seen = "{'v': value, 'e': error, 'k': count}" if observed else "value"
    grouped = f"""
        SELECT {", ".join(_GROUP)}, metric, arg_min(params, trial) AS params, min(trial) AS first_trial,
            count(*) AS trials, {{{counts}}} AS statuses, count(*) FILTER (isnan(value)) AS nan,
            list({seen} ORDER BY trial) FILTER (NOT isnan(value)) AS seen
        FROM ({rows}) GROUP BY {", ".join(_GROUP)}, metric"""
    measured = _observed(grouped) if observed else _plain(grouped)
    half = f"CASE WHEN method = {literal(WEIGHTED)} THEN {NORMAL!r} ELSE {t_quantile_sql('(samples - 1)')} END * sem"
    expressions = {
        "samples": "TRY_CAST(samples AS BIGINT)",
        "ci_low": f"mean - {half}",
        "ci_high": f"mean + {half}",
        "min": "list_min(seen)",
        "max": "list_max(seen)",
        **{name: f"list_aggregate(seen, 'quantile_cont', {share})" for name, share in _QUANTILES.items()},
    }
    columns = [f"{expressions[name]} AS {name}" if name in expressions else name for name in REPEATS]
    return f"SELECT {', '.join(columns)} FROM ({measured})"


def _plain(grouped: str) -> str:
    """Each value is one sample."""
    return f"""
        SELECT *, coalesce(len(seen), 0) AS n, n AS samples, CASE WHEN n > 0 THEN {literal(POOLED)} END AS method,
            list_sum(seen) / n AS mean,
            sqrt(list_sum(list_transform(seen, lambda x: (x - mean) ** 2)) / nullif(n - 1, 0)) AS stddev,
            stddev / sqrt(n) AS sem
        FROM ({grouped})"""


def _observed(grouped: str) -> str:
    """A value with a standard error and a count stands for so many samples; see ``docs/FORMAT.md``.

    Source: the Cochrane Handbook for Systematic Reviews of Interventions, 6.5.2.10 (groups combined by counts) and
    10.3.1 (inverse variance).
    """
    known = "x.e IS NOT NULL AND isfinite(x.e)"
    alone = f"x.e > 0 AND {known} AND coalesce(x.k, 1) <= 1"
    counted = f"{known} AND x.k > 1"
    told = f"""
        SELECT * REPLACE (list_transform(seen, lambda x: x.v) AS seen), coalesce(len(seen), 0) AS n,
            list_transform(seen, lambda x: CASE WHEN {counted} THEN x.k ELSE 1 END) AS weights,
            list_sum(list_transform(seen, lambda x: CASE WHEN {counted} THEN x.k * (x.k - 1) * x.e ** 2 ELSE 0 END))
                AS within,
            list_min(list_transform(seen, lambda x: x.e)) AS least,
            list_transform(seen, lambda x: (list_min(list_transform(seen, lambda y: y.e)) / x.e) ** 2) AS precision,
            CASE WHEN n = 0 THEN NULL
                WHEN list_bool_and(list_transform(seen, lambda x: coalesce(x.e > 0 AND {known}, false)))
                AND list_bool_or(list_transform(seen, lambda x: coalesce({alone}, false)))
                THEN {literal(WEIGHTED)} ELSE {literal(POOLED)} END AS method
        FROM ({grouped})"""
    weighed = f"""
        SELECT *, CASE WHEN method = {literal(WEIGHTED)} THEN precision ELSE weights END AS shares,
            list_sum(weights) AS samples, list_sum(list_transform(shares, lambda w: w)) AS whole,
            list_sum(list_transform(list_zip(seen, shares), lambda x: x[1] * x[2])) / whole AS mean
        FROM ({told})"""
    return f"""
        SELECT *, CASE WHEN method = {literal(POOLED)} THEN sqrt(
                (within + list_sum(list_transform(list_zip(seen, weights), lambda x: x[2] * (x[1] - mean) ** 2)))
                / nullif(samples - 1, 0)) END AS stddev,
            CASE WHEN method = {literal(WEIGHTED)} THEN least / sqrt(whole) ELSE stddev / sqrt(samples) END AS sem
        FROM ({weighed})"""
