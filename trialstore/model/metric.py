"""A metric: what is measured of a trial, and which way is better."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from trialstore.model.codec import pack, plain, unpack
from trialstore.model.errors import MissingExtraError, UsageError
from trialstore.model.identity import check_name
from trialstore.render.page import Page
from trialstore.render.rendered import Rendered

__all__ = ["Comparison", "Metric", "MetricValue", "problems_of"]

_NUMBER = r"[-+]?(?:inf|\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
_SHOWN = re.compile(rf"(.+?)(?: \[({_NUMBER}), ({_NUMBER})\])? \((minimize|maximize)\)", re.DOTALL)
_QUOTED = re.compile(rf'("(?:[^"\\]|\\.)*")(?: \[({_NUMBER}), ({_NUMBER})\])? \((minimize|maximize)\)', re.DOTALL)


class Comparison(StrEnum):
    """How one value of a metric stands to another."""

    BETTER = "better"
    WORSE = "worse"
    EQUAL = "equal"


class Metric(Rendered, BaseModel):
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

    def _page(self) -> Page:
        from trialstore.render.experiment_page import metric_page

        return metric_page({"name": self.name, "minimize": self.minimize, "bounds": self.bounds})

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better. NaN is better than nothing; any number is better than NaN."""
        if math.isnan(value):
            return False
        if math.isnan(than):
            return True
        return value < than if self.minimize else value > than

    def compare(self, value: float, than: float) -> Comparison:
        """How `value` stands to `than`. NaN is worse than any number, infinities included, and equal to NaN.

        Example:
            >>> Metric("loss").compare(0.1, 0.2), Metric("acc", minimize=False).compare(0.1, 0.2)
            (<Comparison.BETTER: 'better'>, <Comparison.WORSE: 'worse'>)
        """
        if self.is_better(value, than):
            return Comparison.BETTER
        return Comparison.WORSE if self.is_better(than, value) else Comparison.EQUAL

    @property
    def worst(self) -> float:
        """The worst value there can be: a bound where there are bounds, else an infinity."""
        if self.bounds is not None:
            return self.bounds[1] if self.minimize else self.bounds[0]
        return math.inf if self.minimize else -math.inf

    @property
    def optimal(self) -> float:
        """The best value there can be: a bound where there are bounds, else an infinity."""
        if self.bounds is not None:
            return self.bounds[0] if self.minimize else self.bounds[1]
        return -math.inf if self.minimize else math.inf

    def distance_to_optimal(self, value: float) -> float:
        """How far a value is from the optimum, never negative; infinite where the optimum is.

        Raises:
            UsageError: the metric has no bounds, or the value is not within them; NaN never is.
        """
        if self.bounds is None:
            raise UsageError("metric has no bounds, so there is no distance to an optimum", metric=self.name)
        if not self.bounds[0] <= value <= self.bounds[1]:
            raise UsageError("value is not within the bounds", metric=self.name, value=value, bounds=self.bounds)
        return 0.0 if value == self.optimal else abs(value - self.optimal)

    def loss(self, value: float) -> float:
        """The value as something to make small."""
        return float(value) if self.minimize else -float(value)

    def score(self, value: float) -> float:
        """The value as something to make large."""
        return -self.loss(value)

    def normalized_loss(self, value: float) -> float:
        """The loss with the optimum at 0 and the worst at 1, where both bounds are finite; else `loss`.

        A value outside of the bounds is below 0 or above 1.

        Example:
            >>> Metric("acc", minimize=False, bounds=(0, 1)).normalized_loss(0.75)
            0.25
        """
        if self.bounds is None or not all(map(math.isfinite, self.bounds)):
            return self.loss(value)
        low, high = self.bounds
        share = (value - low) / (high - low)
        return share if self.minimize else 1 - share

    def as_value(self, value: float) -> MetricValue:
        """The value together with the metric it is of."""
        return MetricValue(self, value)

    def as_scorer(
        self, function: Callable[..., float] | None = None, *, response_method: Any = None, **keywords: Any
    ) -> Any:
        """A scorer for scikit-learn, where larger is better whatever the metric's direction.

        Args:
            function: Takes the true and the predicted values and gives the metric's value. By default it is
                scikit-learn's own scorer of the metric's name, such as ``accuracy``.
            response_method: Of `sklearn.metrics.make_scorer`: what the function gets for the predicted values.
            keywords: Handed to the function with each call.

        Raises:
            MissingExtraError: scikit-learn is not installed.
            UsageError: no function was given, and scikit-learn has no scorer of this name, or the metric is to be
                minimised, which none of its scorers is.

        Source: AMLTK, `Metric.as_scorer`.
        """
        try:
            from sklearn.metrics import get_scorer, make_scorer
        except ImportError:
            raise MissingExtraError("scikit-learn is not installed", hint="pip install scikit-learn") from None
        if function is not None:
            method = {} if response_method is None else {"response_method": response_method}
            return make_scorer(function, greater_is_better=not self.minimize, **method, **keywords)
        if self.minimize:
            raise UsageError(
                "scikit-learn's own scorers are all to be maximised, and the metric is to be minimised",
                hint="give the function that computes the metric",
                metric=self.name,
            )
        try:
            return get_scorer(self.name)
        except ValueError:
            raise UsageError(
                "scikit-learn has no scorer of this name", hint="give the function that computes it", metric=self.name
            ) from None

    def __str__(self) -> str:
        """Name, bounds where there are some, and direction; `from_str` reads it back exactly, whatever the name.

        Example:
            >>> str(Metric("loss", bounds=(0, 1))), str(Metric("two words"))
            ('loss [0.0, 1.0] (minimize)', 'two words (minimize)')
        """
        bounds = "" if self.bounds is None else f" [{self.bounds[0]!r}, {self.bounds[1]!r}]"
        rest = f"{bounds} ({'minimize' if self.minimize else 'maximize'})"
        plain_form = _SHOWN.fullmatch(self.name + rest)
        odd = self.name.startswith('"') or any(character < " " for character in self.name)
        if odd or plain_form is None or plain_form[1] != self.name:
            return json.dumps(self.name, ensure_ascii=False) + rest  # it would be read back as another metric
        return self.name + rest

    @classmethod
    def from_str(cls, text: str) -> Metric:
        """The metric that `str` shows so.

        Raises:
            UsageError: the text is not of that form.

        Example:
            >>> Metric.from_str("accuracy [0.0, 1.0] (maximize)")
            Metric(name='accuracy', minimize=False, bounds=(0.0, 1.0))
        """
        found = _QUOTED.fullmatch(text)
        name = None
        if found is not None:
            try:
                name = json.loads(found[1], strict=False)
            except ValueError:
                found = None
        if found is None:
            found = _SHOWN.fullmatch(text)
        if found is None:
            raise UsageError("not the text of a metric", hint="such as 'loss [0.0, 1.0] (minimize)'", text=text)
        bounds = None if found[2] is None else (float(found[2]), float(found[3]))
        return cls(found[1] if name is None else name, found[4] == "minimize", bounds)

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


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A value and the metric it is of.

    Attributes:
        metric: What was measured.
        value: The value.
    """

    metric: Metric
    value: float

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.metric.name

    @property
    def loss(self) -> float:
        """The value as something to make small."""
        return self.metric.loss(self.value)

    @property
    def score(self) -> float:
        """The value as something to make large."""
        return self.metric.score(self.value)

    @property
    def normalized_loss(self) -> float:
        """See `Metric.normalized_loss`."""
        return self.metric.normalized_loss(self.value)

    @property
    def distance_to_optimal(self) -> float:
        """See `Metric.distance_to_optimal`."""
        return self.metric.distance_to_optimal(self.value)


def problems_of(error: ValidationError) -> str:
    """All that pydantic found wrong, in one line."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'it'}: {problem['msg']}" for problem in error.errors()
    )
