"""AMLTK's metrics as a store's, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from amltk.optimization import Metric

from trialstore.model.errors import UnsupportedError
from trialstore.model.metric import Metric as StoreMetric

__all__ = ["amltk_metrics", "store_metrics"]


def store_metrics(metrics: Metric[Any] | Iterable[Metric[Any]]) -> tuple[StoreMetric, ...]:
    """The same metrics for a store; the function that AMLTK may have attached to one is not kept.

    Raises:
        UsageError: the bounds of one are equal or NaN.
    """
    several = [metrics] if isinstance(metrics, Metric) else metrics
    return tuple(StoreMetric(metric.name, metric.minimize, metric.bounds) for metric in several)


def amltk_metrics(metrics: Sequence[StoreMetric]) -> tuple[Metric[Any], ...]:
    """The same metrics for AMLTK.

    Raises:
        UnsupportedError: AMLTK does not allow the name of one.
    """
    found = []
    for metric in metrics:
        try:
            found.append(Metric(metric.name, minimize=metric.minimize, bounds=metric.bounds))
        except ValueError as error:
            raise UnsupportedError(
                "AMLTK does not allow this name of a metric",
                hint="read the trials with experiment.history() or experiment.reports()",
                metric=metric.name,
                reason=str(error),
            ) from None
    return tuple(found)
