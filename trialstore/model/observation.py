"""An observation: a measured mean with what is known of its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trialstore.model.codec import plain
from trialstore.model.errors import InvalidMetricsError

__all__ = ["Observation"]

_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Observation:
    """A metric's value with its standard error and the number of measurements that it stands for.

    It may be given wherever the value of a metric is: ``trial.success(latency_ms=Observation(3.2, sem=0.1, n=40))``.
    The mean is stored as the plain value, so whatever only compares numbers need not know of observations.

    Args:
        mean: The value of the metric; NaN and infinities are allowed.
        sem: Standard error of the mean, in the unit of the mean: 0 for a value without noise, None or NaN where it is
            not known.
        n: How many measurements the mean is of, at least 1; None where it is not known.

    Raises:
        InvalidMetricsError: one of them is not a number, `sem` is negative, or `n` below 1 or beyond 64 bits.

    Example:
        >>> from trialstore.model.observation import Observation
        >>> Observation.of([3.0, 5.0, 4.0])
        Observation(mean=4.0, sem=0.577..., n=3)

    Source: Ax, the columns ``mean``, ``sem`` and ``n`` of `ax.core.data.Data`.
    """

    mean: int | float
    sem: int | float | None = None
    n: int | None = None

    def __post_init__(self) -> None:
        mean, sem, n = plain(self.mean), plain(self.sem), plain(self.n)
        if type(mean) is not int and type(mean) is not float:
            raise InvalidMetricsError("mean of an observation is not a number", mean=self.mean)
        if sem is not None and ((type(sem) is not int and type(sem) is not float) or sem < 0):
            raise InvalidMetricsError("standard error must be a number that is not negative", sem=self.sem)
        if n is not None and (type(n) is not int or not 1 <= n < _INT64):
            raise InvalidMetricsError("count of an observation must be a whole number of at least 1", n=self.n)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "sem", sem)
        object.__setattr__(self, "n", n)

    @classmethod
    def of(cls, values: list[float] | tuple[float, ...]) -> Observation:
        """The observation of repeated measurements: their mean, and their standard error where there are two or more.

        Args:
            values: At least one measurement.

        Raises:
            InvalidMetricsError: there is none.
        """
        numbers = [float(value) for value in values]
        if not numbers:
            raise InvalidMetricsError("an observation needs at least one measurement")
        n = len(numbers)
        try:
            mean = math.fsum(numbers) / n
        except (OverflowError, ValueError):  # infinities of both signs, or a sum beyond the largest float
            mean = sum(number / n for number in numbers)
        if n == 1:
            return cls(mean, None, 1)
        variance = math.fsum((number - mean) ** 2 for number in numbers) / (n - 1) if math.isfinite(mean) else math.nan
        return cls(mean, math.sqrt(variance / n), n)
