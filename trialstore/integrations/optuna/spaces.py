"""Optuna's distributions as text, and those that stand for a store's own parameter spaces."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

from trialstore.model.space import Categorical, Dimension, Integer, Real, Space

__all__ = ["distribution_of_text", "distribution_of_value", "distributions_of", "known_distribution", "text_of"]


def text_of(distribution: BaseDistribution) -> str:
    """The JSON of a distribution, as Optuna writes it.

    Raises:
        TypeError: a choice is nothing that JSON can say.
    """
    if type(distribution) is FloatDistribution:
        return _float_text(distribution.low, distribution.high, distribution.log, distribution.step)
    if type(distribution) is IntDistribution:
        return _int_text(distribution.low, distribution.high, distribution.log, distribution.step)
    return str(distribution_to_json(distribution))


@lru_cache(maxsize=1024, typed=True)
def _float_text(low: float, high: float, log: bool, step: float | None) -> str:
    return str(distribution_to_json(FloatDistribution(low, high, log=log, step=step)))


@lru_cache(maxsize=1024, typed=True)
def _int_text(low: int, high: int, log: bool, step: int) -> str:
    return str(distribution_to_json(IntDistribution(low, high, log=log, step=step)))


@lru_cache(maxsize=4096)
def distribution_of_text(text: str) -> BaseDistribution:
    """The distribution that `text_of` spelled. Equal texts share one object, which nobody changes."""
    return json_to_distribution(text)


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """What Optuna says of the parameters of a space; a fidelity is none."""
    found = {name: _of_dimension(dimension) for name, dimension in space.items()}
    return {name: distribution for name, distribution in found.items() if distribution is not None}


def _of_dimension(dimension: Dimension) -> BaseDistribution | None:
    if isinstance(dimension, Real):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    if isinstance(dimension, Integer):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return _choices(dimension.choices) if isinstance(dimension, Categorical) else None


def distribution_of_value(value: Any) -> BaseDistribution:
    """What Optuna says of a parameter of which nothing is known but its value: that it can be nothing else."""
    if type(value) is float and math.isfinite(value):
        return FloatDistribution(value, value)
    if type(value) is int:
        return IntDistribution(value, value)
    return _choices((value,))


def _choices(choices: tuple[Any, ...]) -> CategoricalDistribution:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a choice of a type that Optuna does not write down
        return CategoricalDistribution(choices)


def known_distribution(known: Mapping[str, BaseDistribution], name: str, value: Any) -> BaseDistribution:
    """The distribution of a space's parameter, or that of the value where it does not fit the space."""
    distribution = known.get(name)
    if distribution is not None:
        try:
            if distribution._contains(distribution.to_internal_repr(value)):
                return distribution
        except (TypeError, ValueError):
            pass
    return distribution_of_value(value)
