"""Collecting a frame where trialstore itself needs the rows, with Polars' errors told as ours."""

from __future__ import annotations

import polars as pl

from trialstore.model.errors import DamagedError

__all__ = ["collected"]


def collected(rows: pl.LazyFrame) -> pl.DataFrame:
    """The rows of a frame over a snapshot.

    Raises:
        DamagedError: Polars cannot read a file.
    """
    try:
        return rows.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DamagedError(
            "a table cannot be read", hint="run verify, which names the file", reason=str(error)
        ) from None
