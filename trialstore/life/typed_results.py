"""Typed results of a trial, and the metrics, summary and extras that keep them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from trialstore.model.metric import Metric
from trialstore.model.record import TrialRecord
from trialstore.model.typed import Result

__all__ = ["RESULTS", "members_of", "results_of"]

RESULTS = "trialstore.results"
"""The extra of a trial that has all its typed results, exactly."""


def results_of(record: TrialRecord, declared: Sequence[Metric]) -> list[Result]:
    """The results of a trial: those that were given with types, else its metrics, the first declared as objective."""
    stored = (record.extras or {}).get(RESULTS)
    if stored is not None:
        return [Result(name=name, type=kind, value=value) for name, kind, value in stored]
    objective = declared[0].name if declared else None
    return [
        Result(name=name, type="objective" if name == objective else "statistic", value=value)
        for name, value in record.metrics.items()
    ]


def members_of(
    results: Iterable[Result], declared: Sequence[Metric]
) -> tuple[dict[str, Any], dict[str, Any], list[list[Any]]]:
    """Metrics, summary and the stored form of typed results.

    The objective is the first declared metric, whatever it is called; other results are the metric of their name where
    one is declared, and stand in the summary where none is.
    """
    results = list(results)
    names = [metric.name for metric in declared]
    metrics: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for result in results:
        if result.type == "objective" and names:
            metrics[names[0]] = result.value
    for result in results:
        name = result.name or str(result.type)
        if result.type == "objective" and names:
            continue
        if result.type == "statistic" and name in names and name not in metrics:
            metrics[name] = result.value
        else:
            summary[name] = result.value
    return metrics, summary, [[result.name, result.type, result.value] for result in results]
