"""A study as Polars frames, what it reported step by step included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trialstore.experiment import Experiment
from trialstore.integrations.optuna.storage import TrialStoreStorage

if TYPE_CHECKING:
    import polars as pl

__all__ = ["reports_frame", "trials_frame"]


def trials_frame(study: Any) -> pl.DataFrame:
    """One row a trial, as the store has it: typed ``params`` and ``metrics`` structs, and the intermediate values.

    The column ``reports`` has the intermediate values of each trial as a list of structs of ``step`` and ``value``, by
    step; of two values of one step the later one. All other columns are those of `Experiment.history`.

    Args:
        study: A study of Optuna on a `TrialStoreStorage`, or an experiment of a store.

    Raises:
        TypeError: the study is kept elsewhere.
    """
    import polars as pl

    experiment = _experiment(study)
    trials = experiment.history().collect()
    steps = reports_frame(study).group_by("trial", maintain_order=True)
    reports = steps.agg(pl.struct("step", "value").alias("reports"))
    return trials.join(reports, on="trial", how="left", maintain_order="left")


def reports_frame(study: Any) -> pl.DataFrame:
    """One row an intermediate value: ``trial``, ``step``, ``value`` and ``at``, by trial and step.

    Args:
        study: A study of Optuna on a `TrialStoreStorage`, or an experiment of a store.

    Raises:
        TypeError: the study is kept elsewhere.
    """
    import polars as pl

    rows = _experiment(study).metrics().filter(pl.col("step").is_not_null()).select("trial", "step", "value", "at")
    return (
        rows.collect()
        .sort("trial", "step", maintain_order=True)
        .unique(["trial", "step"], keep="last", maintain_order=True)
    )


def _experiment(study: Any) -> Experiment:
    if isinstance(study, Experiment):
        return study
    storage = getattr(study, "_storage", None)
    if not isinstance(storage, TrialStoreStorage):
        raise TypeError(f"the study is not kept in a store, but in {type(storage).__name__}")
    return storage.experiment(study._study_id)
