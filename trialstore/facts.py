"""What is told of experiments and trials, as plain values, for JSON, the terminal and notebooks."""

from __future__ import annotations

from typing import Any

from trialstore.model.status import BROKEN, Status
from trialstore.model.times import parse_time

__all__ = ["experiment_facts", "metric_facts", "newest_numbers", "report_facts", "trial_facts"]


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
        "metrics": [metric_facts(metric) for metric in experiment.declared_metrics],
        "space": {
            name: {"kind": dimension.kind, **{field: value for field, value in dimension if value is not None}}
            for name, dimension in experiment.space.items()
        },
        "metadata": experiment.metadata,
    }


def trial_facts(trial: Any) -> dict[str, Any]:
    """All that the trials table holds of a trial."""
    return {
        **_known(trial),
        "submitted_at": trial.submitted_at,
        "ended_at": trial.ended_at,
        "metrics": dict(trial.metrics),
        "exception": None if trial.exception is None else str(trial.exception),
        "attempts": list(trial.attempts),
    }


def report_facts(report: Any) -> dict[str, Any]:
    """What a report says, in the words of `trial_facts`."""
    return {
        **_known(report),
        "experiment": report.experiment,
        "submitted_at": report.created_at,
        "ended_at": report.reported_at,
        "metrics": dict(report.values),
        "exception": report.exception,
        "attempts": [],
    }


def metric_facts(metric: Any) -> dict[str, Any]:
    """What a metric means."""
    return {"name": metric.name, "minimize": metric.minimize, "bounds": metric.bounds}


def _known(one: Any) -> dict[str, Any]:
    """What trials and reports tell under the same names."""
    noise = {name: {"sem": o.sem, "n": o.n} for name, o in one.observations.items() if (o.sem, o.n) != (None, None)}
    return {
        "trial": one.number,
        "id": one.id,
        "name": one.name,
        "status": one.status.name,
        "attempt": one.attempt,
        "worker": one.worker,
        "runner": one.runner,
        "started_at": one.started_at,
        "seed": one.seed,
        "fidelity": one.fidelity,
        "parent": one.parent,
        "info": one.info,
        "params": dict(one.params),
        "noise": noise,
        "summary": dict(one.summary),
        "profiles": {
            name: {**profile.time.to_dict(prefix="time:"), **profile.memory.to_dict(prefix="memory:")}
            for name, profile in one.profiles.items()
        },
        "traceback": one.traceback,
        "attributes": dict(one.attributes),
        "extras": dict(one.extras),
    }


def newest_numbers(experiment: Any, limit: int) -> list[int]:
    """The highest numbers of trials there are, highest first; numbers may have gaps."""
    if not limit:
        return []
    from trialstore.query.collect import collected

    numbers = collected(experiment.history().select("trial").top_k(limit, by="trial"))
    return sorted((int(number) for number in numbers["trial"]), reverse=True)
