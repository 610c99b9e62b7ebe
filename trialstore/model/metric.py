"""A metric: what is measured of a trial, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from trialstore.model.codec import pack, plain, unpack
from trialstore.model.errors import UsageError
from trialstore.model.identity import check_name

__all__ = ["Metric", "problems_of"]


class Metric(BaseModel):
    """A named number that every successful trial reports.

    Args:
        name: Unique in its experiment.
        minimize: Whether smaller is better.
        bounds: Lowest and highest value that makes sense, either may be infinite. They say what the worst
            and the best possible value are; a reported value outside of them is kept as it is.

    Example:
        >>> loss = Metric("loss", minimize=True, bounds=(0, float("inf")))
        >>> loss.is_better(0.1, 0.2), loss.is_better(float("nan"), 0.2)
        (True, False)

    Source: AMLTK, `amltk.optimization.Metric`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str
    minimize: bool = True
    bounds: tuple[float, float] | None = None

    def __init__(self, name: str, minimize: bool = True, bounds: tuple[float, float] | None = None) -> None:
        try:
            super().__init__(name=check_name(name, "metric"), minimize=minimize, bounds=bounds)
        except ValidationError as error:
            raise UsageError(f"not a metric: {problems_of(error)}", name=name) from None

    @field_validator("bounds")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError("the lower bound must be below the upper bound, and neither may be NaN")
        return bounds

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better. NaN is better than nothing; any number is better than NaN."""
        if math.isnan(value):
            return False
        if math.isnan(than):
            return True
        return value < than if self.minimize else value > than

    def check(self, value: object) -> tuple[int | float | None, str | None]:
        """A reported value as a built-in number and None, or None and what is wrong with it."""
        number = plain(value)
        if type(number) is int or type(number) is float:
            return number, None
        return None, f"{self.name!r} is not a number but {type(value).__name__}: {value!r:.100}"

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {
            "name": self.name,
            "minimize": self.minimize,
            "bounds": None if self.bounds is None else [pack(bound) for bound in self.bounds],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Metric:
        """The metric that `to_json` described."""
        bounds: Any = unpack(body["bounds"])
        return cls(body["name"], body["minimize"], None if bounds is None else (bounds[0], bounds[1]))


def problems_of(error: ValidationError) -> str:
    """All that pydantic found wrong, in one line."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'it'}: {problem['msg']}" for problem in error.errors()
    )
