"""Whether two trials of Optuna say the same, whatever storages they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial

__all__ = ["differing", "first_difference"]


def first_difference(ours: Sequence[FrozenTrial], theirs: Sequence[FrozenTrial]) -> tuple[int, list[str]] | None:
    """The first trial that differs, and in what; None when the shorter list is the beginning of the longer one."""
    for mine, other in zip(ours, theirs, strict=False):
        names = differing(mine, other)
        if names:
            return mine.number, names
    return None


def differing(mine: FrozenTrial, other: FrozenTrial) -> list[str]:
    """In what two trials differ. Ids are not looked at; NaN is equal to itself, and 1 is not True, nor 1.0."""
    left, right = _said(mine), _said(other)
    return [name for name in left if left[name] != right[name]]


def _said(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "values": repr(trial.values),
        "datetime_start": trial.datetime_start,
        "datetime_complete": trial.datetime_complete,
        "params": repr(list(trial.params.items())),
        "distributions": {name: distribution_to_json(d) for name, d in trial.distributions.items()},
        "user_attrs": _json(trial.user_attrs),
        "system_attrs": _json(trial.system_attrs),
        "intermediate_values": repr(sorted(trial.intermediate_values.items())),
    }


def _json(attrs: Mapping[str, Any]) -> str:
    return json.dumps(attrs, sort_keys=True) if attrs else ""
