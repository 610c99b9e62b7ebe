"""The trials of a snapshot as a LazyFrame from which every record can be rebuilt exactly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from polars.io.plugins import register_io_source

from trialstore.query.scan import scan_files
from trialstore.query.sources import Source, sources_of
from trialstore.tables.merge import fits, widen
from trialstore.tables.parts import read_part
from trialstore.tables.schema import STRUCTS, trials_schema

if TYPE_CHECKING:
    from trialstore.query.snapshot import ExperimentSnapshot, Snapshot

__all__ = ["exact_trials"]


def exact_trials(snapshot: Snapshot, experiment: ExperimentSnapshot) -> pl.LazyFrame:
    """One row a trial of an experiment, by number: the columns of the `trials` table, with nothing lost.

    Guarantees: `trialstore.tables.trials.records_from` gives back every record as it was written, integers and floats
    apart. The `trials` frame shows the same rows more quickly where parts differ in the types of their fields, but a
    number there has the type that all parts have in common.

    A struct column without any field has the placeholder of a part's, so that a null struct is told from an empty one.

    Cost: what the `trials` frame costs; the rows of a part whose types must be widened are converted one by one.

    Args:
        snapshot: Whose struct fields all rows get.
        experiment: One of the snapshot's.
    """
    schema = _polars(trials_schema(snapshot.structs).empty_table()).schema
    sources = sorted(sources_of([experiment], "trials"), key=lambda source: _extent(source)[0])
    extents = [_extent(source) for source in sources]
    apart = all(before[1] < after[0] for before, after in itertools.pairwise(extents))
    frames: list[pl.LazyFrame] = []
    plain: list[str] = []
    for source in sources:
        whole = source.part is not None and _widens(snapshot, source)
        if whole and not source.superseded:
            plain.append(_key(source))
            continue
        if plain:
            frames.append(scan_files(snapshot.blobs, plain, schema))
            plain = []
        rows = scan_files(snapshot.blobs, [_key(source)], schema) if whole else _converted(snapshot, source, schema)
        if source.superseded:
            rows = rows.filter(~pl.col("trial").is_in(sorted(source.superseded)))
        frames.append(rows)
    if plain:
        frames.append(scan_files(snapshot.blobs, plain, schema))
    rows = pl.concat(frames) if frames else pl.LazyFrame(schema=schema)
    who = [pl.lit(experiment.name).alias("experiment"), pl.lit(experiment.version, pl.Int64).alias("version")]
    return (rows if apart else rows.sort("trial")).select(*who, *schema)


def _extent(source: Source) -> tuple[int, int]:
    """The lowest and the highest number of a trial in a source."""
    if source.part is not None:
        return source.part.trials[0][0], source.part.trials[-1][1]
    assert source.live is not None
    limits = pc.min_max(source.live["trial"])
    return limits["min"].as_py(), limits["max"].as_py()


def _key(source: Source) -> str:
    assert source.part is not None
    return source.part.blob_key(source.experiment.key)


def _widens(snapshot: Snapshot, source: Source) -> bool:
    return all(fits(source.structs.get(name, {}), snapshot.structs[name]) for name in STRUCTS)


def _converted(snapshot: Snapshot, source: Source, schema: pl.Schema) -> pl.LazyFrame:
    """A source whose rows must be rewritten, or are in memory."""
    if source.live is not None:
        return _polars(widen(source.live, snapshot.structs)).lazy()
    return register_io_source(_Rewritten(snapshot, source), schema=schema, is_pure=True)


def _polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


class _Rewritten:
    """Reads a part whole and rewrites its rows with wider structs; can be pickled with the snapshot."""

    def __init__(self, snapshot: Snapshot, source: Source) -> None:
        self._snapshot = snapshot
        self._source = source

    def __call__(
        self,
        with_columns: Sequence[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        part = self._source.part
        assert part is not None
        table = read_part(self._snapshot.blobs, self._source.experiment.key, part)
        rows = _polars(widen(table, self._snapshot.structs))
        if n_rows is not None:
            rows = rows.head(n_rows)  # Polars asks for the first n rows of the source, and filters those.
        if predicate is not None:
            rows = rows.filter(predicate)
        yield rows if with_columns is None else rows.select(with_columns)
