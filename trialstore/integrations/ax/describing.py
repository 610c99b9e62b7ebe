"""What a store says of an Ax experiment's metrics and parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ax.core.experiment import Experiment as AxExperiment
from ax.core.parameter import ChoiceParameter, FixedParameter, ParameterType, RangeParameter

from trialstore.model.metric import Metric
from trialstore.model.space import Categorical, Dimension, Integer, Real

__all__ = ["declared_metrics", "search_space"]


def declared_metrics(experiment: AxExperiment, before: Iterable[Metric]) -> list[Metric]:
    """The objectives first, then the other metrics, and those of which there is only data.

    A metric that was declared once stays, and keeps its place.

    Args:
        experiment: Ax's.
        before: What was declared until now.
    """
    directions: dict[str, bool] = {}
    config = experiment.optimization_config
    if config is not None:
        directions = {name: weight < 0 for name, weight in config.objective.metric_weights}
    for name, metric in experiment.metrics.items():
        directions.setdefault(name, metric.lower_is_better is not False)
    kept = [Metric(m.name, directions.pop(m.name, m.minimize), m.bounds) for m in before]
    names = {metric.name for metric in kept} | directions.keys()
    extra = [name for name in sorted(experiment.data.metric_names) if name not in names]
    return [*kept, *(Metric(name, minimize) for name, minimize in directions.items()), *(Metric(n) for n in extra)]


def search_space(experiment: AxExperiment) -> dict[str, Dimension]:
    """The parameters; none when one of them, such as a derived one, has no twin in a store."""
    space: dict[str, Dimension] = {}
    for name, parameter in experiment.search_space.parameters.items():
        dimension = _dimension(parameter)
        if dimension is None:
            return {}
        space[name] = dimension
    return space


def _dimension(parameter: Any) -> Dimension | None:
    match parameter:
        case RangeParameter(parameter_type=ParameterType.INT):
            return Integer(int(parameter.lower), int(parameter.upper), log=parameter.log_scale and parameter.lower > 0)
        case RangeParameter():
            low, high = float(parameter.lower), float(parameter.upper)
            if not (math.isfinite(low) and math.isfinite(high)):
                return None
            return Real(low, high, log=parameter.log_scale and low > 0)
        case ChoiceParameter():
            return Categorical(list(dict.fromkeys(parameter.values)))
        case FixedParameter():
            return Categorical([parameter.value])
    return None
