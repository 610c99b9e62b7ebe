"""The long table of profiles: one row for each stretch that was measured in a trial."""

from __future__ import annotations

import polars as pl

from trialstore.model.profile import PROFILE_FIELDS

__all__ = ["PROFILE_COLUMNS", "long_profiles", "profiles_view"]

PROFILE_COLUMNS = ("experiment", "version", "trial", "attempt", *PROFILE_FIELDS[:4], "duration_s", *PROFILE_FIELDS[4:])
"""The columns in order."""


def profiles_view(trials: str = "trials") -> str:
    """The query of the view, over the view of the trials."""
    own = ", ".join(f"p.{name} AS {name}" for name in PROFILE_FIELDS)
    columns = ", ".join(PROFILE_COLUMNS).replace("duration_s", "end_s - start_s AS duration_s")
    rows = f"SELECT experiment, version, trial, attempt, unnest(profiles) AS p FROM {trials}"
    return f"SELECT {columns} FROM (SELECT experiment, version, trial, attempt, {own} FROM ({rows}))"


def long_profiles(trials: pl.LazyFrame) -> pl.LazyFrame:
    """The same rows in Polars, of the frame of the trials."""
    rows = trials.select("experiment", "version", "trial", "attempt", "profiles").filter(
        pl.col("profiles").is_not_null()
    )
    long = rows.explode("profiles").unnest("profiles")
    return long.with_columns((pl.col("end_s") - pl.col("start_s")).alias("duration_s")).select(PROFILE_COLUMNS)
