"""A runner of Ax that evaluates a function in this process and keeps what it returned with the trial."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ax.core.base_trial import BaseTrial
from ax.core.runner import Runner
from ax.core.trial_status import TrialStatus

from trialstore.model.errors import UsageError

__all__ = ["RESULT", "TrialStoreRunner"]

RESULT = "simulation_result"
"""Where the run metadata has the result."""

_functions: dict[str, Callable[..., Any]] = {}


class TrialStoreRunner(Runner):
    """Evaluates a function for each arm when a trial is run; the trial is completed then.

    The run metadata has ``name`` and ``simulation_result``: what the function returned, of any type that
    `trialstore.integrations.ax.storable` knows, NumPy's among them. A trial of several arms has a dict by arm name.

    A store keeps the function's name, and never imports what a name names: the process that goes on with a loaded
    experiment must itself have made a runner with the function, or called `register`.

    Args:
        evaluation_function: Is called with the parameters of an arm, by name in one dict.

    Example:
        >>> from ax.core.runner import Runner
        >>> def evaluate(parameters):
        ...     return {"loss": (parameters["x"] ** 2, 0.1)}
        >>> isinstance(TrialStoreRunner(evaluate), Runner)
        True

    Source: axtreme, `LocalMetadataRunner`.
    """

    def __init__(self, evaluation_function: Callable[[Mapping[str, Any]], Any]) -> None:
        if isinstance(evaluation_function, str):
            evaluation_function = _functions.get(evaluation_function) or _Unknown(evaluation_function)
        elif not callable(evaluation_function):
            raise UsageError("evaluation_function must be something to call", given=evaluation_function)
        self.evaluation_function = evaluation_function
        self.register(evaluation_function)

    @staticmethod
    def register(function: Callable[..., Any]) -> None:
        """Let runners that are loaded in this process find a function."""
        if not isinstance(function, _Unknown):
            _functions[_name(function)] = function

    def run(self, trial: BaseTrial) -> dict[str, Any]:
        """Evaluate the arms of a trial; an exception of the function comes through.

        Raises:
            UsageError: the trial has no arm, or this process does not know the function.
        """
        if not trial.arms:
            raise UsageError("trial has no arm to evaluate", trial=trial.index)
        results = {arm.name: self.evaluation_function(dict(arm.parameters)) for arm in trial.arms}
        single = not hasattr(trial, "generator_runs") or len(results) == 1
        result: Any = next(iter(results.values())) if single else results
        return {"name": str(trial.index), RESULT: result}

    def poll_trial_status(self, trials: Iterable[BaseTrial]) -> dict[TrialStatus, set[int]]:
        """Trials that have a result are completed, the others run."""
        found: dict[TrialStatus, set[int]] = {}
        for trial in trials:
            status = TrialStatus.COMPLETED if RESULT in trial.run_metadata else TrialStatus.RUNNING
            found.setdefault(status, set()).add(trial.index)
        return found

    @property
    def run_metadata_report_keys(self) -> list[str]:
        """``name`` alone: a result may be large."""
        return ["name"]

    def to_json(self) -> dict[str, Any]:
        """What a store keeps of the runner."""
        return {"__type": type(self).__name__, "evaluation_function": _name(self.evaluation_function)}


class _Unknown:
    """Stands for a function that this process does not know."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        raise UsageError(
            "this process does not know the evaluation function of the runner",
            hint="call TrialStoreRunner.register with it, or set experiment.runner",
            function=self.name,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unknown) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


def _name(function: Callable[..., Any]) -> str:
    if isinstance(function, _Unknown):
        return function.name
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"
