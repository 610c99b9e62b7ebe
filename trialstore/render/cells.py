"""Columns and lines that several pages have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trialstore.render.page import Column, style_of_status
from trialstore.render.values import shown, spell_duration

__all__ = ["better", "bounds", "exactly", "metric_text", "trial_columns"]

_ABSENT = object()


def metric_text(metric: Mapping[str, Any]) -> str:
    """A metric with an arrow that says which way is better."""
    return f"{metric['name']} {'↓' if metric['minimize'] else '↑'}"


def better(minimize: bool) -> str:
    """Which way is better, in a word."""
    return "lower ↓" if minimize else "higher ↑"


def bounds(low: float, high: float) -> str:
    """A range in words."""
    return f"{shown(low)} to {shown(high)}"


def exactly(value: object) -> str:
    """A value with all its digits; text in quotes, and None as null."""
    return "null" if value is None else repr(value) if isinstance(value, float | str) else shown(value)


def trial_columns(trials: Sequence[Mapping[str, Any]]) -> list[Column]:
    """One row a trial: number, status, metrics, how long it took, parameters. Empty is absent, null is None.

    Trials of several experiments also say whose they are.
    """
    owners = [trial.get("experiment", "") for trial in trials]
    return [
        *([Column("experiment", owners)] if len(set(owners)) > 1 else []),
        Column("trial", [str(trial["trial"]) for trial in trials], number=True),
        Column("status", [trial["status"] for trial in trials], style=style_of_status),
        *_fields("metrics", trials),
        Column("took", [_took(trial) for trial in trials], number=True),
        *_fields("params", trials),
    ]


def _fields(struct: str, trials: Sequence[Mapping[str, Any]]) -> list[Column]:
    names = dict.fromkeys(name for trial in trials for name in trial[struct])
    columns = []
    for name in names:
        values = [trial[struct].get(name, _ABSENT) for trial in trials]
        number = all(value is _ABSENT or isinstance(value, int | float) for value in values)
        cells = ["" if value is _ABSENT else "null" if value is None else shown(value) for value in values]
        columns.append(Column(name, cells, number=number))
    return columns


def _took(trial: Mapping[str, Any]) -> str:
    if trial["started_at"] is None or trial["ended_at"] is None:
        return ""
    return spell_duration(trial["ended_at"] - trial["started_at"])
