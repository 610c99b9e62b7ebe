"""Ax experiments for the tests."""

from __future__ import annotations

import math
from typing import Any

from ax.core.arm import Arm
from ax.core.data import Data, DataRow
from ax.core.experiment import Experiment
from ax.core.generator_run import GeneratorRun
from ax.core.metric import Metric
from ax.core.objective import Objective
from ax.core.optimization_config import OptimizationConfig
from ax.core.parameter import ChoiceParameter, ParameterType, RangeParameter
from ax.core.search_space import SearchSpace

import trialstore as ts

__all__ = ["experiment", "measured", "row_of", "seq", "with_trials"]


def experiment(name: str = "tune", *, runner: Any = None, metric: type[Metric] = Metric) -> Experiment:
    space = SearchSpace(
        [
            RangeParameter("x", ParameterType.FLOAT, -5.0, 5.0),
            RangeParameter("k", ParameterType.INT, 1, 64, log_scale=True),
            ChoiceParameter("how", ParameterType.STRING, ["fast", "safe"], is_ordered=False, sort_values=False),
        ]
    )
    return Experiment(
        name=name,
        search_space=space,
        optimization_config=OptimizationConfig(
            Objective(expression="-loss", metric_name_to_signature={"loss": "loss"})
        ),
        tracking_metrics=[metric(name="loss", lower_is_better=True), metric(name="ops", lower_is_better=False)],
        runner=runner,
        properties={"owner": "db", "when": (1, 2)},
    )


def with_trials(count: int, name: str = "tune", **options: Any) -> Experiment:
    made = experiment(name, **options)
    for k in range(1, count + 1):
        made.new_trial(GeneratorRun([Arm({"x": k / 4, "k": k, "how": "fast"})]))
    return made


def measured(
    made: Experiment, index: int, loss: float, sem: float = math.nan, *, arm: str | None = None, **rest: Any
) -> None:
    arm = arm or made.trials[index].arms[0].name
    made.attach_data(Data([DataRow(index, arm, "loss", "loss", loss, sem, **rest)]))


def row_of(store: ts.Store, number: int = 0, name: str = "tune") -> dict[str, Any]:
    return store.experiment(name).history().collect().rows(named=True)[number]


def seq(store: ts.Store, name: str = "tune") -> int:
    return store.experiment(name).snapshot().experiments[0].seq
