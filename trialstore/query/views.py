"""The SQL of the views: text only, from what a snapshot says of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trialstore.model.ranges import ranges_of
from trialstore.query.snapshot import ExperimentSnapshot
from trialstore.tables.schema import ROW_SCHEMAS, STRUCTS, TRIAL_COLUMNS, Fields

__all__ = ["FileSource", "literal", "params_view", "quoted", "table_view"]


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file that a view reads, and what to leave out of it.

    Attributes:
        path: As DuckDB names it.
        params: The fields of its struct column `params`.
        superseded: Trials whose row here does not count.
        exact: Whether a row has something in its column `exact`.
        repeated: Whether another file may hold some of the same telemetry samples.
    """

    path: str
    params: Fields
    superseded: frozenset[int] = frozenset()
    exact: bool = False
    repeated: bool = False

    @property
    def tail(self) -> str:
        """Folder and name: what of the path is the same in every spelling that DuckDB gives back as `filename`."""
        return "/".join(self.path.split("/")[-2:])


def literal(text: str) -> str:
    """A SQL string."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def table_view(
    table: str,
    experiments: Sequence[ExperimentSnapshot],
    schema_file: str,
    files: Sequence[FileSource],
    structs: Mapping[str, Fields],
) -> str:
    """The query of one table.

    The first file has no rows and the columns of all: DuckDB takes the view's schema from it, reads no footer but
    those of the files that a query needs, and pushes projections and filters into structs.

    Args:
        table: trials, metrics, telemetry, status or artifacts.
        experiments: All experiments of the snapshot.
        schema_file: A file without rows that has all columns.
        files: The files with rows, those whose rows came first in front.
        structs: The unified fields of the struct columns.
    """
    columns = [
        f"NULL AS {name}" if name in STRUCTS and table == "trials" and not structs[name] else quoted(name)
        for name in (TRIAL_COLUMNS if table == "trials" else ROW_SCHEMAS[table].names)
    ]
    conditions = [*_superseded(files), *_removed(table, experiments)]
    plain = [file for file in files if not file.repeated]
    repeated = [file for file in files if file.repeated]
    query = _select(experiments, columns, [schema_file, *(file.path for file in plain)], conditions)
    if not repeated:
        return query
    order = ", ".join(literal(file.tail) for file in repeated)
    rank = f"list_position([{order}], regexp_extract(filename, '[^/]*/[^/]*$')) AS rank"
    distinct = _select(experiments, columns, [schema_file, *(file.path for file in repeated)], conditions, rank)
    return (
        f"{query} UNION ALL SELECT * EXCLUDE (rank) FROM ({distinct}) "
        'QUALIFY row_number() OVER (PARTITION BY experiment, version, trial, name, "at" ORDER BY rank) = 1'
    )


def _select(
    experiments: Sequence[ExperimentSnapshot],
    columns: Sequence[str],
    files: Sequence[str],
    conditions: Sequence[str],
    *more: str,
) -> str:
    names = _identity(experiments)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {', '.join([*names, *columns, *more])} FROM {_scan(files)}{where}"


def _scan(files: Sequence[str]) -> str:
    paths = ", ".join(map(literal, files))
    return f"read_parquet([{paths}], filename = true, hive_partitioning = false)"


def _identity(experiments: Sequence[ExperimentSnapshot]) -> list[str]:
    """The columns experiment and version: constants, or what the file's folder says, by which files are pruned."""
    if len(experiments) == 1:
        return [f"{literal(experiments[0].name)} AS experiment", f"{experiments[0].version}::BIGINT AS version"]
    if not experiments:
        return ["NULL::VARCHAR AS experiment", "NULL::BIGINT AS version"]
    key = "regexp_extract(filename, 'experiment=([^/]*)/[^/]*$', 1)"
    names = " ".join(f"WHEN {literal(e.key)} THEN {literal(e.name)}" for e in experiments)
    versions = " ".join(f"WHEN {literal(e.key)} THEN {e.version}::BIGINT" for e in experiments)
    return [f"CASE {key} {names} END AS experiment", f"CASE {key} {versions} END AS version"]


def _superseded(files: Sequence[FileSource]) -> list[str]:
    return [
        f"NOT (ends_with(filename, {literal(file.tail)}) AND ({_trial_in(file.superseded)}))"
        for file in files
        if file.superseded
    ]


def _trial_in(numbers: frozenset[int]) -> str:
    ranges = ranges_of(numbers)
    alone = [str(first) for first, last in ranges if first == last]
    tests = [f"trial BETWEEN {first} AND {last}" for first, last in ranges if first != last]
    return " OR ".join([*tests, *([f"trial IN ({', '.join(alone)})"] if alone else [])])


def _removed(table: str, experiments: Sequence[ExperimentSnapshot]) -> list[str]:
    if table != "artifacts":
        return []
    ids = sorted({removed for experiment in experiments for removed in experiment.removed_artifacts})
    return [f"id NOT IN ({', '.join(map(literal, ids))})"] if ids else []


def params_view(experiments: Sequence[ExperimentSnapshot], files: Sequence[FileSource]) -> str:
    """The long table of parameters: one row a parameter of a trial, with the exact type of each value."""
    groups: dict[tuple[tuple[str, str], ...], list[FileSource]] = {}
    for file in files:
        if file.params:
            groups.setdefault(tuple(file.params.items()), []).append(file)
    branches = [_typed(experiments, dict(fields), group) for fields, group in groups.items()]
    exact = [file for file in files if file.exact]
    if exact:
        branches.append(_untyped(experiments, exact))
    if not branches:
        branches.append(
            "SELECT NULL::VARCHAR AS experiment, NULL::BIGINT AS version, NULL::BIGINT AS trial, "
            "NULL::VARCHAR AS name, NULL::DOUBLE AS value, NULL::VARCHAR AS text, NULL::VARCHAR AS type WHERE false"
        )
    return " UNION ALL ".join(branches)


_LONG = "experiment, version, trial, u.name AS name, u.value AS value, u.text AS text, u.type AS type"


def _typed(experiments: Sequence[ExperimentSnapshot], fields: Fields, files: Sequence[FileSource]) -> str:
    """The values of rows that their columns tell exactly."""
    entries = ", ".join(_entry(name, kind) for name, kind in fields.items())
    conditions = _superseded(files)
    if any(file.exact for file in files):
        conditions.append("(exact IS NULL OR NOT json_exists(exact, '$.params'))")
    paths = [file.path for file in files]
    inner = _select(experiments, ["trial"], paths, conditions, f"unnest([{entries}]) AS u")
    return f"SELECT {_LONG} FROM ({inner}) WHERE u.type IS NOT NULL"


def _entry(name: str, kind: str) -> str:
    column = f"params.{quoted(name)}"
    value, text, type_ = {
        "double": (column, "NULL", "float"),
        "int64": (
            f"{column}::DOUBLE",
            f"CASE WHEN {column}::DOUBLE::HUGEINT <> {column} THEN {column}::VARCHAR END",
            "int",
        ),
        "bool": (f"{column}::INTEGER::DOUBLE", f"{column}::VARCHAR", "bool"),
        "string": ("NULL", column, "str"),
        "null": ("NULL", "NULL", "null"),
    }[kind]
    shown = f"CASE WHEN {column} IS NOT NULL THEN {literal(type_)} END"
    return f"{{'name': {literal(name)}, 'value': {value}::DOUBLE, 'text': {text}::VARCHAR, 'type': {shown}}}"


_JSON_TYPE = """CASE j.type WHEN 'DOUBLE' THEN 'float' WHEN 'BIGINT' THEN 'int' WHEN 'UBIGINT' THEN 'int'
 WHEN 'BOOLEAN' THEN 'bool' WHEN 'VARCHAR' THEN 'str' WHEN 'NULL' THEN 'null' WHEN 'ARRAY' THEN 'json'
 ELSE CASE WHEN json_exists(j.value, '$."$float"') THEN 'float' WHEN json_exists(j.value, '$."$int"') THEN 'int'
 ELSE 'json' END END"""
_JSON_NUMBER = """CASE WHEN j.type IN ('DOUBLE', 'BIGINT', 'UBIGINT') THEN TRY_CAST(j.value::VARCHAR AS DOUBLE)
 WHEN j.type = 'BOOLEAN' THEN CASE WHEN j.value::VARCHAR = 'true' THEN 1.0 ELSE 0.0 END WHEN j.type = 'OBJECT' THEN
 TRY_CAST(coalesce(j.value ->> '$."$float"', j.value ->> '$."$int"') AS DOUBLE) END"""
_JSON_TEXT = """CASE type WHEN 'str' THEN raw ->> '$' WHEN 'bool' THEN raw::VARCHAR WHEN 'json' THEN raw::VARCHAR
 WHEN 'int' THEN CASE WHEN coalesce(TRY_CAST(value AS HUGEINT) <> TRY_CAST(digits AS HUGEINT), true)
 THEN digits END END"""


def _untyped(experiments: Sequence[ExperimentSnapshot], files: Sequence[FileSource]) -> str:
    """The values of rows that stand in the column `exact`."""
    conditions = [*_superseded(files), "exact IS NOT NULL"]
    rows = _select(experiments, ["trial", "exact"], [file.path for file in files], conditions)
    values = (
        f"SELECT experiment, version, trial, j.key AS name, {_JSON_NUMBER} AS value, {_JSON_TYPE} AS type, "
        "j.value AS raw, "
        "coalesce(CASE WHEN j.type = 'OBJECT' THEN j.value ->> '$.\"$int\"' END, j.value::VARCHAR) AS digits "
        f"FROM ({rows}) AS t, json_each(t.exact, '$.params') AS j"
    )
    return f"SELECT experiment, version, trial, name, value, {_JSON_TEXT} AS text, type FROM ({values})"
