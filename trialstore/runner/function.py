"""The user's function: how it is named, what it is given, and what its answer means."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Literal, TypeAlias

from trialstore.model.codec import plain
from trialstore.model.errors import InvalidMetricsError, UsageError
from trialstore.model.status import Status
from trialstore.trial import Trial

__all__ = ["Function", "Takes", "answer", "call", "check", "name_of", "resolve"]

Function: TypeAlias = Callable[..., Any] | str
"""What evaluates a trial, or where it is, as ``"module:function"``."""

Takes: TypeAlias = Literal["trial", "params", "keywords"]
"""What the function is given: the trial, a dict of its parameters, or each parameter by name."""


def resolve(function: Function) -> Callable[..., Any]:
    """The function itself.

    Raises:
        UsageError: there is no such module or function, or it cannot be called.
    """
    if not isinstance(function, str):
        if not callable(function):
            raise UsageError("not a function", hint='give a function, or "module:function"', function=function)
        return function
    module, colon, path = function.partition(":")
    if not colon or not module or not path:
        raise UsageError("not the name of a function", hint='such as "package.module:function"', function=function)
    try:
        found: Any = import_module(module)
        for piece in path.split("."):
            found = getattr(found, piece)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            "function cannot be found",
            hint="name a module that can be imported from here, and a function in it",
            function=function,
            reason=str(error),
        ) from error
    return resolve(found)


def name_of(function: Function) -> str:
    """Where a function is, as ``"module:function"``.

    Raises:
        UsageError: it cannot be found there, as a lambda or a function in a function cannot.
    """
    if isinstance(function, str):
        return function
    module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    name = f"{module}:{path}"
    try:
        same = module is not None and path is not None and resolve(name) is function
    except UsageError:
        same = False
    if not same:
        raise UsageError(
            "function has no name that leads to it",
            hint="define it at the top level of a module",
            function=repr(function),
        )
    return name


def check(function: Function, *, elsewhere: bool) -> None:
    """Refuse a function that cannot be called, or not be sent to another process."""
    resolve(function)
    if not elsewhere:
        return
    try:
        pickle.dumps(function)
    except Exception as error:  # whatever its parts raise
        raise UsageError(
            "function cannot be sent to another process",
            hint="define it at the top level of a module, or run it in this process with workers=0",
            function=repr(function),
            reason=str(error),
        ) from None


def call(function: Function, takes: Takes, trial: Trial) -> Any:
    """Evaluate a trial."""
    chosen = resolve(function)
    if takes == "trial":
        return chosen(trial)
    return chosen(dict(trial.params)) if takes == "params" else chosen(**trial.params)


def answer(trial: Trial, value: Any) -> None:
    """End a trial that still runs with what its function returned; what is no answer makes it CRASHED.

    A mapping gives metrics by name, a number the experiment's one metric, None none where none is declared.
    """
    try:
        trial.finish(Status.SUCCEEDED, _metrics(trial, value))
    except InvalidMetricsError as error:
        trial.crashed(error)


def _metrics(trial: Trial, value: Any) -> Mapping[str, Any]:
    declared = [metric.name for metric in trial._held.declared]
    if isinstance(value, Mapping):
        return value
    if value is None:
        if not declared:
            return {}
        raise InvalidMetricsError(
            "function returned None, and did not end its trial",
            hint="return the metrics, or call trial.success",
            trial=trial.number,
        )
    number = plain(value)
    if isinstance(number, int | float) and len(declared) == 1:
        return {declared[0]: number}
    raise InvalidMetricsError(
        "function returned no metrics",
        hint="return a mapping of metrics; a number will do where the experiment has one metric",
        trial=trial.number,
        returned=value,
    )
