"""What is told of experiments and trials, as plain values, for JSON, the terminal and notebooks."""

from __future__ import annotations

from typing import Any

from trialstore.model.status import BROKEN, Status
from trialstore.model.times import parse_time

__all__ = ["best_numbers", "experiment_facts", "newest_numbers", "trial_facts"]


def experiment_facts(experiment: Any) -> dict[str, Any]:
    """An experiment with the number of its trials by status; no table is read."""
    counts = experiment.counts
    return {
        "name": experiment.name,
        "version": experiment.version,
        "id": experiment.id,
        "created_at": parse_time(experiment._ledger.entry.created_at),
        "trials": sum(counts.values()),
        "counts": {status.name: counts[status] for status in Status if status in counts},
        "max_trials": experiment.max_trials,
        "max_broken": experiment.max_broken,
        "is_done": experiment.max_trials is not None and counts.get(Status.SUCCEEDED, 0) >= experiment.max_trials,
        "is_broken": experiment.max_broken is not None
        and sum(counts.get(status, 0) for status in BROKEN) >= experiment.max_broken,
        "metrics": [
            {"name": metric.name, "minimize": metric.minimize, "bounds": metric.bounds}
            for metric in experiment.declared_metrics
        ],
        "space": {
            name: {"kind": dimension.kind, **{field: value for field, value in dimension if value is not None}}
            for name, dimension in experiment.space.items()
        },
        "metadata": experiment.metadata,
    }


def trial_facts(trial: Any) -> dict[str, Any]:
    """All that the trials table holds of a trial."""
    return {
        "trial": trial.number,
        "id": trial.id,
        "name": trial.name,
        "status": trial.status.name,
        "attempt": trial.attempt,
        "worker": trial.worker,
        "submitted_at": trial.submitted_at,
        "started_at": trial.started_at,
        "ended_at": trial.ended_at,
        "seed": trial.seed,
        "fidelity": trial.fidelity,
        "parent": trial.parent,
        "params": trial.params,
        "metrics": trial.metrics,
        "exception": None if trial.exception is None else str(trial.exception),
        "traceback": trial.traceback,
        "attributes": trial.attributes,
        "attempts": list(trial.attempts),
    }


def best_numbers(experiment: Any, limit: int) -> list[int]:
    """Numbers of the best successful trials by the first metric, best first; NaN is never among them."""
    if not experiment.declared_metrics or not experiment.counts.get(Status.SUCCEEDED):
        return []
    import polars as pl

    objective = experiment.declared_metrics[0]
    value = pl.col("metrics").struct.field(objective.name).cast(pl.Float64)
    ranked = (
        experiment.history()
        .filter(pl.col("status") == Status.SUCCEEDED.value)
        .select("trial", value.alias("value"))
        .filter(pl.col("value").is_not_null() & pl.col("value").is_not_nan())
        .sort("value", "trial", descending=[not objective.minimize, False])
        .head(limit)
        .collect()
    )
    return [int(number) for number in ranked["trial"]]


def newest_numbers(experiment: Any, limit: int) -> list[int]:
    """The highest numbers of trials there are, highest first; numbers may have gaps."""
    if not limit:
        return []
    numbers = experiment.history().select("trial").top_k(limit, by="trial").collect()
    return sorted((int(number) for number in numbers["trial"]), reverse=True)
