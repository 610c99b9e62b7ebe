"""Oríon's parameter space, a mapping of priors written as text, as the store's typed one."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

from trialstore.model.errors import TrialStoreError
from trialstore.model.space import Categorical, Dimension, Fidelity, Integer, Real, Space

__all__ = ["space_of"]

_PRECISION = 4
"""Significant digits that Oríon draws where nothing else is said."""


def space_of(document: Mapping[str, Any]) -> Space:
    """The space of an experiment's document; empty where a prior says something that the store has no form for.

    Those are priors without bounds, such as ``normal``, and parameters with a shape. Nothing of the text is run.

    Example:
        >>> space_of({"space": {"lr": "loguniform(1e-05, 1)", "layers": "uniform(1, 4, discrete=True)"}})["layers"]
        Integer(default=None, low=1, high=4, log=False)
        >>> len(space_of({"space": {"lr": "normal(0, 1)"}}))
        0
    """
    priors = document.get("space")
    if not isinstance(priors, Mapping):
        return Space({})
    try:
        return Space({name: _dimension(prior) for name, prior in priors.items()})
    except (SyntaxError, TypeError, ValueError, LookupError, OverflowError, RecursionError, TrialStoreError):
        return Space({})


def _dimension(prior: object) -> Dimension:
    if not isinstance(prior, str):
        raise ValueError(prior)
    call = ast.parse(prior.strip(), mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(prior)
    given = [ast.literal_eval(value) for value in call.args]
    named: dict[str, Any] = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    if named.pop("shape", None) is not None or any(value is ... for value in given):
        raise ValueError(prior)
    kind = call.func.id
    if kind in ("uniform", "loguniform"):
        return _number(kind == "loguniform", *given, **named)
    if kind == "choices":
        (choices,) = given
        return Categorical(list(choices), default=named.get("default_value"))
    if kind == "fidelity":
        return _fidelity(*given, **named)
    raise ValueError(prior)


def _number(
    log: bool,
    low: float,
    high: float,
    default_value: Any = None,
    discrete: bool = False,
    precision: int | None = _PRECISION,
) -> Dimension:
    if discrete:
        least = math.floor(low)
        return Integer(least, math.ceil(high), log=log and least > 0, default=default_value)
    return Real(low, high, log=log, precision=precision, default=default_value)


def _fidelity(low: float, high: float, base: float = 2, default_value: float | None = None) -> Fidelity:
    return Fidelity(low, high, base=base, default=default_value)
