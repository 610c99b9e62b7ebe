"""Polars LazyFrames of a snapshot's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from trialstore.model.errors import UsageError
from trialstore.query.profiles import long_profiles
from trialstore.query.repeats import REPEATS
from trialstore.query.scan import scan_files
from trialstore.query.sources import Source, sources_of
from trialstore.query.workspace import experiments_table
from trialstore.tables.fieldnames import field_of
from trialstore.tables.schema import PLACEHOLDER, ROW_SCHEMAS, STRUCTS, TRIAL_COLUMNS, Fields, fold_name, trials_schema

if TYPE_CHECKING:
    from trialstore.query.snapshot import ExperimentSnapshot, Snapshot

__all__ = ["FRAMES", "frame"]

FRAMES = ("trials", "params", "profiles", "repeats", "metrics", "telemetry", "status", "artifacts", "experiments")
"""The tables that there are frames of."""

_LONG = {"trial": pl.Int64, "name": pl.String, "value": pl.Float64, "text": pl.String, "type": pl.String}
_IDENTITY = {"experiment": pl.String, "version": pl.Int64}


def frame(snapshot: Snapshot, table: str, experiments: Sequence[ExperimentSnapshot], trial: int | None) -> pl.LazyFrame:
    """One table of these experiments, of one trial or of all."""
    if table == "experiments":
        rows = pl.from_arrow(experiments_table(experiments))
        assert isinstance(rows, pl.DataFrame)
        return rows.lazy()
    if table in ("params", "repeats"):
        return _by_sql(snapshot, table, experiments, trial)
    if table == "profiles":
        return long_profiles(frame(snapshot, "trials", experiments, trial))
    frames = [_experiment(snapshot, table, experiment, trial) for experiment in experiments]
    if not frames:
        return pl.LazyFrame(schema={**_IDENTITY, **_columns(table, snapshot.structs)})
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def _experiment(snapshot: Snapshot, table: str, experiment: ExperimentSnapshot, trial: int | None) -> pl.LazyFrame:
    sources = sources_of([experiment], table, trial)
    plain = [source for source in sources if not source.repeated]
    repeated = [source for source in sources if source.repeated]
    frames = _scans(snapshot, table, plain, ordered=False)
    if repeated:
        samples = pl.concat(_scans(snapshot, table, repeated, ordered=True))
        frames.append(samples.unique(["trial", "name", "at"], keep="first", maintain_order=True))
    rows = pl.concat(frames) if frames else pl.LazyFrame(schema=_columns(table, snapshot.structs))
    if table == "artifacts" and experiment.removed_artifacts:
        rows = rows.filter(~pl.col("id").is_in(sorted(experiment.removed_artifacts)))
    if trial is not None:
        rows = rows.filter(pl.col("trial") == trial)
    who = [pl.lit(experiment.name).alias("experiment"), pl.lit(experiment.version, pl.Int64).alias("version")]
    return rows.select(*who, *_columns(table, snapshot.structs))


def _scans(snapshot: Snapshot, table: str, sources: Sequence[Source], *, ordered: bool) -> list[pl.LazyFrame]:
    """The rows of the sources; those that can be read with one schema are one scan, unless their order matters."""
    structs: Mapping[str, Fields] = snapshot.structs if table == "trials" else {}
    target = _columns(table, structs)
    groups: dict[object, list[Source]] = {}
    for index, source in enumerate(sources):
        if source.live is not None or source.superseded or ordered:
            groups[index] = [source]
        else:
            groups.setdefault(_group(source.structs, structs), []).append(source)
    frames = []
    for group in groups.values():
        first = group[0]
        if first.live is not None:
            live = pl.from_arrow(first.live)
            assert isinstance(live, pl.DataFrame)
            rows = _conform(live.lazy(), first.structs, structs)
        else:
            own = _group(first.structs, structs) is not None
            schema = pl.Schema(_readable_columns(table, first.structs if own else structs, keep_empty=own))
            keys = [s.part.blob_key(s.experiment.key) for s in group if s.part is not None]
            rows = _conform(scan_files(snapshot.blobs, keys, schema), first.structs if own else structs, structs)
        if first.superseded:
            rows = rows.filter(~pl.col("trial").is_in(sorted(first.superseded)))
        frames.append(rows.select(list(target)))
    return frames


def _group(own: Mapping[str, Fields], structs: Mapping[str, Fields]) -> object:
    """None when a scan with the unified schema reads a part with these fields, else what such parts have in common."""
    for column, fields in structs.items():
        if not all(_reads(kind, fields.get(name)) for name, kind in own.get(column, {}).items()):
            return tuple((column, tuple(own.get(column, {}).items())) for column in structs)
    return None


def _reads(kind: str, wide: str | None) -> bool:
    """Whether a scan that expects a field of kind `wide` reads one of this kind."""
    return kind == wide or (kind, wide) in {("int64", "double"), ("null", "int64"), ("null", "double")}


def _conform(rows: pl.LazyFrame, own: Mapping[str, Fields], structs: Mapping[str, Fields]) -> pl.LazyFrame:
    """The rows with struct columns that have the unified fields."""
    changed = []
    for column, fields in structs.items():
        mine = own.get(column, {})
        if not fields:
            changed.append(pl.lit(None).alias(column))
            continue
        if list(mine.items()) == list(fields.items()):
            continue
        spelling = {fold_name(name): name for name in mine}
        values = []
        for name, kind in fields.items():
            there = spelling.get(fold_name(name))
            value = pl.lit(None) if there is None else field_of(pl.col(column), mine, there)
            values.append(value.cast(_dtype(kind)).alias(name))
        changed.append(pl.when(pl.col(column).is_not_null()).then(pl.struct(values)).alias(column))
    return rows.with_columns(changed) if changed else rows


def _columns(table: str, structs: Mapping[str, Fields]) -> dict[str, pl.DataType]:
    """The columns of a table in Polars' types; a struct without fields is a column of nulls."""
    if table != "trials":
        return _types(ROW_SCHEMAS[table])
    types = _types(trials_schema({}))
    for column in STRUCTS:
        fields = structs.get(column, {})
        types[column] = pl.Struct({name: _dtype(kind) for name, kind in fields.items()}) if fields else pl.Null()
    return {name: types[name] for name in TRIAL_COLUMNS}


def _readable_columns(table: str, structs: Mapping[str, Fields], *, keep_empty: bool) -> dict[str, pl.DataType]:
    """The columns to ask of files: a struct without fields has its placeholder, or is not asked for."""
    columns = _columns(table, structs)
    if keep_empty:
        placeholder = pl.Struct({PLACEHOLDER: _dtype("null")})
        return {name: placeholder if dtype == pl.Null else dtype for name, dtype in columns.items()}
    return {name: dtype for name, dtype in columns.items() if dtype != pl.Null}


def _types(schema: pa.Schema) -> dict[str, pl.DataType]:
    empty = pl.from_arrow(schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    return dict(empty.schema)


def _dtype(kind: str) -> pl.DataType:
    return {
        "null": pl.Int32(),
        "bool": pl.Boolean(),
        "int64": pl.Int64(),
        "double": pl.Float64(),
        "string": pl.String(),
    }[kind]


def _by_sql(
    snapshot: Snapshot, table: str, experiments: Sequence[ExperimentSnapshot], trial: int | None
) -> pl.LazyFrame:
    """A table that DuckDB makes when it is collected."""
    chosen = snapshot if tuple(experiments) == snapshot.experiments else type(snapshot)(snapshot.blobs, experiments)
    schema: dict[str, Any] = {**_IDENTITY, **_LONG}
    if table == "repeats":
        if trial is not None:
            raise UsageError("a table of groups has no rows of one trial", hint="filter it by id", table=table)
        own = _types(pa.schema([(name, pa.null() if type_ is None else type_) for name, type_ in REPEATS.items()]))
        schema = {**own, **{name: _columns("trials", chosen.structs)[name] for name in ("fidelity", "params")}}
    return register_io_source(_BySql(chosen, table, schema, trial), schema=schema, is_pure=True)


class _BySql:
    """Runs the query of a table; can be pickled with its snapshot."""

    def __init__(self, snapshot: Snapshot, table: str, schema: Mapping[str, Any], trial: int | None) -> None:
        self._snapshot = snapshot
        self._table = table
        self._schema = schema
        self._trial = trial

    def __call__(
        self, with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        shown = with_columns or list(self._schema)
        needed = dict.fromkeys([*shown, *(() if predicate is None else predicate.meta.root_names())])
        where = "" if self._trial is None else f" WHERE trial = {int(self._trial)}"
        # Polars asks for the first n rows of the source, and filters those.
        limit = "" if n_rows is None else f" LIMIT {n_rows}"
        columns = ", ".join(f'"{name}"' for name in needed)
        for batch in self._snapshot.sql(f"SELECT {columns} FROM {self._table}{where}{limit}").batches():
            rows = pl.DataFrame(batch)
            empty = [pl.lit(None).alias(name) for name in needed if self._schema[name] == pl.Null()]
            rows = rows.with_columns(empty)
            yield (rows if predicate is None else rows.filter(predicate)).select(shown)
