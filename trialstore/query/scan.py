"""Parquet files of one table as a LazyFrame, on any backend."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from trialstore.blobs.protocol import Blobs
from trialstore.query.cloud import native_options

__all__ = ["scan_files"]


def scan_files(blobs: Blobs, keys: Sequence[str], schema: pl.Schema) -> pl.LazyFrame:
    """The rows of Parquet files, with the columns and struct fields of `schema`.

    A field that a file does not have is null, one that it has besides is left out, and integers become floats where
    the schema says so. Columns, predicates and slices are pushed down; no footer is read before `collect`.

    Buckets whose options Polars understands, and local disk, are read by Polars itself; anything else through `blobs`,
    a file at a time.
    """
    options = native_options(blobs)
    if options is None:
        return register_io_source(_Through(blobs, tuple(keys), schema), schema=schema, is_pure=True)
    return _scan([blobs.engine_path(key) for key in keys], schema, options)


def _scan(source: Any, schema: pl.Schema, options: Mapping[str, str] | None = None) -> pl.LazyFrame:
    return pl.scan_parquet(
        source,
        schema=schema,
        missing_columns="insert",
        extra_columns="ignore",
        cast_options=pl.ScanCastOptions(
            integer_cast=["upcast", "allow-float"],
            float_cast="upcast",
            missing_struct_fields="insert",
            extra_struct_fields="ignore",
        ),
        storage_options=dict(options) if options else None,
        glob=False,
        hive_partitioning=False,
    )


class _Through:
    """Reads files whole through `blobs`; can be pickled with them."""

    def __init__(self, blobs: Blobs, keys: tuple[str, ...], schema: pl.Schema) -> None:
        self._blobs = blobs
        self._keys = keys
        self._schema = schema

    def __call__(
        self, with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for key in self._keys:
            if left == 0:
                return
            rows = _scan(io.BytesIO(self._blobs.read(key)), self._schema)
            if left is not None:
                # Polars asks for the first n rows of the source, and filters those.
                first = rows.head(left).collect()
                left -= first.height
                rows = first.lazy()
            if predicate is not None:
                rows = rows.filter(predicate)
            yield (rows if with_columns is None else rows.select(with_columns)).collect()
