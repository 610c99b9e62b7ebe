"""Typed trials as columns of a frame: all parameters and all results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trialstore.model.codec import encode
from trialstore.model.typed import Result
from trialstore.model.typed_trial import TypedTrial

__all__ = ["trial_columns"]


def trial_columns(trials: Sequence[TypedTrial]) -> dict[str, list[Any]]:
    """A list of equal length a column; what a trial does not have is None.

    A column whose values are of several types, or of one that no frame has, holds JSON text instead of them.
    """
    columns: dict[str, list[Any]] = {
        "id": [trial.id_override for trial in trials],
        "hash": [trial.id for trial in trials],
        "experiment_id": [trial.experiment for trial in trials],
        "status": [trial.status.name for trial in trials],
        "suggested": [trial.submit_time for trial in trials],
        "reserved": [trial.start_time for trial in trials],
        "completed": [trial.end_time for trial in trials],
        "objective": [None if trial.objective is None else trial.objective.value for trial in trials],
    }
    columns |= _spread("params", [trial.params for trial in trials])
    return columns | _spread("results", [_named(trial.results) for trial in trials])


def _named(results: Iterable[Result]) -> dict[str, Any]:
    """Values by name; by type and name where a name stands for several."""
    named: dict[str, Any] = {}
    for result in results:
        name = result.name or str(result.type)
        named[f"{result.type}.{name}" if name in named else name] = result.value
    return named


def _spread(prefix: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {f"{prefix}.{name}": _alike([row.get(name) for row in rows]) for name in names}


def _alike(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and not any(type(value) is int and abs(value) >= 2**63 for value in values):
        return [None if value is None else float(value) for value in values] if float in kinds else values
    if len(kinds) == 1 and kinds <= {str, bool}:
        return values
    return [None if value is None else encode(value).decode() for value in values]
