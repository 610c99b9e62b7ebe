"""What differs between the released mlos_bench and its main branch: arguments that only one of them knows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["accepted"]


def accepted(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Those of the arguments that a function of the installed mlos_bench takes.

    Example:
        >>> def released(*, trial_id): ...
        >>> accepted(released, trial_id=1, trial_runner_id=None)
        {'trial_id': 1}
    """
    known = _parameters(function)
    return {name: value for name, value in arguments.items() if name in known}


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)
