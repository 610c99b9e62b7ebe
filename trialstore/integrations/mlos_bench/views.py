"""The tables of mlos_bench's database as views in SQL, and two more: its frame of results, alone and with statistics.

Text only, from what a snapshot says of its fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trialstore.integrations.mlos_bench.statuses import MLOS_NAMES
from trialstore.query.result import Result
from trialstore.query.snapshot import Snapshot
from trialstore.query.views import literal, quoted
from trialstore.tables.schema import Fields

__all__ = ["MLOS_VIEWS", "run_sql", "view_query"]

MLOS_VIEWS = (
    "config",
    "experiment",
    "objectives",
    "trial",
    "config_param",
    "trial_param",
    "trial_status",
    "trial_result",
    "trial_telemetry",
    "results",
    "results_stats",
)
"""The views, each of which needs at most those before it."""

_NEEDS = {
    "trial": ("config",),
    "config_param": ("config", "trial"),
    "results": ("config", "trial"),
    "results_stats": ("config", "trial", "results"),
}
_QUANTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_WORD = re.compile(r"\w+")


def run_sql(
    snapshot: Snapshot,
    configurations: Callable[[], Sequence[str]],
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None = None,
) -> Result:
    """Run a query over the store's own tables and those of `MLOS_VIEWS` that it names.

    Args:
        snapshot: The tables.
        configurations: Tells the hashes of the store's configurations by their ids, 1, 2, 3 …
        query: What to run.
        parameters: Values for ``?`` or ``$name`` in it.

    Raises:
        QueryError: DuckDB's message.
    """
    words = {word.lower() for word in _WORD.findall(query)}
    wanted = {view for name in words & set(MLOS_VIEWS) for view in (*_NEEDS.get(name, ()), name)}
    if "config" in wanted:
        # One text is taken over at once, a list of many thousands value by value.
        snapshot.sql(_CONFIG, [",".join(configurations())]).arrow()
        wanted.remove("config")
    for view in MLOS_VIEWS:
        if view in wanted:
            snapshot.sql(f"CREATE OR REPLACE VIEW {view} AS {view_query(view, snapshot.structs)}").arrow()
    return snapshot.sql(query, parameters)


def view_query(view: str, structs: Mapping[str, Fields]) -> str:
    """The query of one of `MLOS_VIEWS`.

    Args:
        view: Its name.
        structs: The fields of the struct columns of the snapshot's trials.
    """
    if view == "trial_result":
        return _results_long(structs)
    if view == "results":
        return _results(structs)
    if view == "results_stats":
        return _results_stats(structs)
    return _PLAIN[view]


_STATUS = (
    "CASE status "
    + " ".join(f"WHEN {literal(str(one))} THEN {literal(name)}" for one, name in MLOS_NAMES.items() if one != name)
    + " ELSE status END"
)
_ENDED = ", ".join(literal(str(status)) for status in MLOS_NAMES if status.is_final)
_VALUE = """CASE type WHEN 'int' THEN coalesce(text, value::HUGEINT::VARCHAR) WHEN 'float' THEN value::VARCHAR
 WHEN 'bool' THEN CASE WHEN value = 1 THEN 'True' ELSE 'False' END ELSE text END"""

_CONFIG = """
    CREATE OR REPLACE TABLE config AS
    SELECT unnest(range(1, len(hashes) + 1)) AS config_id, unnest(hashes) AS config_hash
    FROM (SELECT string_split(?, ',') AS hashes) WHERE hashes <> ['']
"""
_PLAIN = {
    "experiment": """
        SELECT experiment AS exp_id, coalesce(metadata ->> '$.metadata.description', '') AS description,
               coalesce(metadata ->> '$.metadata.root_env_config', '') AS root_env_config,
               coalesce(metadata ->> '$.metadata.git_repo', '') AS git_repo,
               coalesce(metadata ->> '$.metadata.git_commit', '') AS git_commit
        FROM experiments
    """,
    "objectives": """
        SELECT experiment AS exp_id, m ->> '$.name' AS optimization_target,
               CASE WHEN (m ->> '$.minimize')::BOOLEAN THEN 'min' ELSE 'max' END AS optimization_direction,
               NULL::DOUBLE AS weight
        FROM (SELECT experiment, unnest((metadata -> '$.metrics')::JSON[]) AS m FROM experiments)
    """,
    "trial": f"""
        SELECT experiment AS exp_id, trial + 1 AS trial_id,
               coalesce(c.config_id, -(min(trial) OVER same) - 1) AS config_id,
               runner AS trial_runner_id, coalesce(started_at, ready_at, submitted_at) AS ts_start,
               CASE WHEN status IN ({_ENDED}) THEN ended_at END AS ts_end, {_STATUS} AS status,
               min(trial) OVER same + 1 AS tunable_config_trial_group_id
        FROM trials LEFT JOIN config AS c ON c.config_hash = trials.id
        WINDOW same AS (PARTITION BY experiment, version, trials.id)
    """,
    "config_param": f"""
        SELECT DISTINCT t.config_id, p.name AS param_id, {_VALUE} AS param_value
        FROM params AS p JOIN trial AS t ON t.exp_id = p.experiment AND t.trial_id = p.trial + 1
    """,
    "trial_param": """
        SELECT experiment AS exp_id, trial + 1 AS trial_id, j.key AS param_id,
               CASE j.type WHEN 'BOOLEAN' THEN CASE WHEN j.value::VARCHAR = 'true' THEN 'True' ELSE 'False' END
               ELSE j.value ->> '$' END AS param_value
        FROM (SELECT experiment, trial, attributes FROM trials WHERE attributes IS NOT NULL) AS t,
             json_each(t.attributes) AS j
    """,
    "trial_status": f"""
        SELECT experiment AS exp_id, trial + 1 AS trial_id, "at" AS ts, first({_STATUS}) AS status
        FROM status GROUP BY ALL
    """,
    "trial_telemetry": f"""
        SELECT experiment AS exp_id, trial + 1 AS trial_id, "at" AS ts, name AS metric_id, {_VALUE} AS metric_value
        FROM telemetry
    """,
}


def _results_columns(structs: Mapping[str, Fields]) -> dict[str, tuple[str, str]]:
    """The SQL of each result by name, and its kind: a metric, or something else in the summary."""
    found: dict[str, tuple[str, str]] = {}
    for struct in ("metrics", "summary"):
        for name, kind in structs.get(struct, {}).items():
            column = f"{struct}.{quoted(name)}"
            if kind == "bool":
                column, kind = f"CASE {column} WHEN true THEN 'True' WHEN false THEN 'False' END", "string"
            before = found.get(name)
            if before is not None and before[1] != kind:
                column, kind = f"coalesce(({before[0]})::VARCHAR, ({column})::VARCHAR)", "string"
            elif before is not None:
                column = f"coalesce({before[0]}, {column})"
            found[name] = (column, kind)
    return dict(sorted(found.items()))


def _results_long(structs: Mapping[str, Fields]) -> str:
    values = ", ".join(
        f"{{'metric_id': {literal(name)}, 'metric_value': ({column})::VARCHAR}}"
        for name, (column, _) in _results_columns(structs).items()
    )
    if not values:
        values = "{'metric_id': NULL::VARCHAR, 'metric_value': NULL::VARCHAR}"
    return f"""
        SELECT exp_id, trial_id, r.metric_id AS metric_id, r.metric_value AS metric_value
        FROM (SELECT experiment AS exp_id, trial + 1 AS trial_id, unnest([{values}]) AS r FROM trials)
        WHERE r.metric_value IS NOT NULL
    """


def _results(structs: Mapping[str, Fields]) -> str:
    columns = [f"params.{quoted(name)} AS {quoted(f'config.{name}')}" for name in sorted(structs.get("params", {}))]
    columns += [f"{column} AS {quoted(f'result.{name}')}" for name, (column, _) in _results_columns(structs).items()]
    wide = "".join(f", {column}" for column in columns)
    return f"""
        SELECT t.exp_id, t.trial_id, t.ts_start, t.ts_end, t.config_id AS tunable_config_id,
               t.tunable_config_trial_group_id, t.status, t.trial_runner_id{wide}
        FROM trial AS t JOIN trials ON t.exp_id = trials.experiment AND t.trial_id = trials.trial + 1
    """


def _results_stats(structs: Mapping[str, Fields]) -> str:
    """The view `results` with what mlos_viz adds to it.

    That is the size of each group, and for each result that is a number its mean, variance, deviation and percentiles
    in the group, and how far its variance is from that of other groups.
    """
    numbers = [name for name, (_, kind) in _results_columns(structs).items() if kind in ("int64", "double")]
    inner, outer = [], []
    for name in numbers:
        column = quoted(f"result.{name}")
        value = f"CASE WHEN NOT isnan({column}::DOUBLE) THEN {column}::DOUBLE END"
        named = {kind: quoted(f"result.{name}.{kind}") for kind in ("mean", "var", "stddev", *_QUANTILES)}
        inner += [
            f"avg({value}) AS {named['mean']}",
            f"var_samp({value}) AS {named['var']}",
            f"stddev_samp({value}) AS {named['stddev']}",
            *(f"quantile_cont({value}, {share}) AS {named[kind]}" for kind, share in _QUANTILES.items()),
        ]
        variance = f"s.{named['var']}"
        score = f"({variance} - avg({variance}) OVER of) / nullif(stddev_samp({variance}) OVER of, 0)"
        outer += [
            *(f"s.{one}" for one in named.values()),
            f"{score} AS {quoted(f'result.{name}.var_zscore')}",
        ]
    more = "".join(f", {column}" for column in inner)
    shown = "".join(f", {column}" for column in outer)
    return f"""
        SELECT r.*, g.* EXCLUDE (exp_id, tunable_config_id)
        FROM results AS r JOIN (
            SELECT s.exp_id, s.tunable_config_id, s.tunable_config_trial_group_size{shown}
            FROM (
                SELECT exp_id, tunable_config_id, count(*) AS tunable_config_trial_group_size{more}
                FROM results GROUP BY exp_id, tunable_config_id
            ) AS s WINDOW of AS (PARTITION BY exp_id)
        ) AS g ON g.exp_id = r.exp_id AND g.tunable_config_id = r.tunable_config_id
    """
