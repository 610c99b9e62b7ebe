"""What an evaluation may return, and how a metric's mean and standard error are read from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trialstore.integrations.ax.values import storable
from trialstore.model.codec import plain
from trialstore.model.errors import InvalidMetricsError
from trialstore.model.observation import Observation

__all__ = ["PointResults", "observed"]


@storable(name="trialstore:PointResults")
@dataclass(frozen=True, eq=False)
class PointResults:
    """Means of several metrics at one point, and how their errors go together.

    Args:
        metric_names: One for each mean.
        means: Array of shape (m,).
        cov: Covariance of the means, of shape (m, m); None where it is not known.

    Raises:
        InvalidMetricsError: the shapes do not fit.

    Example:
        >>> import numpy as np
        >>> PointResults(["loss"], np.array([0.5]), np.array([[0.04]])).metric_data("loss")
        {'mean': 0.5, 'sem': 0.2}

    Source: axtreme, `SimulationPointResults`.
    """

    metric_names: Sequence[str]
    means: npt.NDArray[Any]
    cov: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        count = len(self.metric_names)
        if np.shape(self.means) != (count,) or (self.cov is not None and np.shape(self.cov) != (count, count)):
            raise InvalidMetricsError(
                "results do not fit their metrics",
                metrics=count,
                means=np.shape(self.means),
                cov=None if self.cov is None else np.shape(self.cov),
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PointResults):
            return NotImplemented
        return (
            list(self.metric_names) == list(other.metric_names)
            and np.array_equal(self.means, other.means, equal_nan=True)
            and (self.cov is None) == (other.cov is None)
            and (self.cov is None or np.array_equal(self.cov, other.cov, equal_nan=True))  # type: ignore[arg-type]
        )

    __hash__ = None  # type: ignore[assignment]

    def metric_data(self, metric_name: str) -> dict[str, float | None]:
        """Mean and standard error of one metric."""
        index = list(self.metric_names).index(metric_name)
        sem = None if self.cov is None else math.sqrt(float(self.cov[index, index]))
        return {"mean": float(self.means[index]), "sem": sem}


def observed(result: Any, metric_name: str) -> Observation:
    """A metric's mean, standard error and count in what an evaluation returned.

    Args:
        result: An object with `metric_data`, such as `PointResults`; a mapping of names to numbers, to pairs of mean
            and standard error, to mappings with ``mean``, ``sem`` and ``n``, or to `Observation`s; or such a value
            itself, when there is but one metric.
        metric_name: The metric.

    Raises:
        InvalidMetricsError: the metric is not in it, or is not a number.

    Example:
        >>> observed({"loss": (0.5, 0.1)}, "loss"), observed(2, "loss")
        (Observation(mean=0.5, sem=0.1, n=None), Observation(mean=2, sem=None, n=None))
    """
    if hasattr(result, "metric_data"):
        try:
            found = result.metric_data(metric_name)
        except (KeyError, ValueError, LookupError):
            raise InvalidMetricsError("result has no such metric", metric=metric_name) from None
    elif isinstance(result, Mapping):
        if metric_name not in result:
            raise InvalidMetricsError(
                "result has no such metric",
                hint=f"it has {', '.join(map(repr, result)) or 'none'}",
                metric=metric_name,
            )
        found = result[metric_name]
    else:
        found = result
    if isinstance(found, Observation):
        return found
    if isinstance(found, Mapping):
        unknown = sorted(map(str, found.keys() - {"mean", "sem", "n"}))
        if unknown or "mean" not in found:
            raise InvalidMetricsError(
                "observation of a metric has a mean, a sem and an n", metric=metric_name, unknown=unknown
            )
        return Observation(found["mean"], found.get("sem"), found.get("n"))
    if isinstance(found, tuple | list) and len(found) == 2:
        return Observation(found[0], found[1])
    number = plain(found)
    if type(number) is not int and type(number) is not float:
        raise InvalidMetricsError("metric is not a number", metric=metric_name, value=found)
    return Observation(number)
