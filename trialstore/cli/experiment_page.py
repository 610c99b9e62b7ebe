"""What `trialstore show` prints of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from trialstore.cli.facts import metric_text
from trialstore.cli.render import Column, output, printable, shown, since, spell_duration, style_of_status, table

__all__ = ["print_experiment"]


def print_experiment(facts: Mapping[str, Any]) -> None:
    """Print an experiment: what it is, its metrics, its space, its best and newest trials."""
    console = output()
    head = printable(facts["name"])
    head.stylize("bold")
    head.append(f"  version {facts['version']}, created {since(facts['created_at'])}", style="dim")
    console.print(head, soft_wrap=True)
    counts = [f"{count} {name.lower()}" for name, count in facts["counts"].items()]
    limits = [
        f"{facts[name]} {text}" for name, text in (("max_trials", "wanted"), ("max_broken", "may break")) if facts[name]
    ]
    line = ", ".join(counts) or "no trials yet"
    console.print(printable(line + (f"  ({', '.join(limits)})" if limits else "")), soft_wrap=True)
    if facts["metadata"]:
        console.print(
            Text().append("metadata ", style="dim").append_text(printable(shown(facts["metadata"]))), soft_wrap=True
        )
    _print_metrics(console, facts["metrics"])
    _print_space(console, facts["space"])
    if facts["best"]:
        _print_trials(console, f"Best by {metric_text(facts['metrics'][0])}", facts["best"])
    if facts["newest"]:
        _print_trials(console, "Newest others" if facts["best"] else "Newest", facts["newest"])


def _print_metrics(console: Console, metrics: Sequence[Mapping[str, Any]]) -> None:
    if not metrics:
        return
    columns = [
        Column("metric", [metric["name"] for metric in metrics]),
        Column("better is", ["lower ↓" if metric["minimize"] else "higher ↑" for metric in metrics]),
    ]
    if any(metric["bounds"] for metric in metrics):
        columns.append(Column("bounds", [_range(*metric["bounds"]) if metric["bounds"] else "" for metric in metrics]))
    console.print()
    console.print(table(columns, console.width)[0])


def _print_space(console: Console, space: Mapping[str, Mapping[str, Any]]) -> None:
    if not space:
        return
    columns = [
        Column("parameter", list(space)),
        Column("kind", [dimension["kind"] for dimension in space.values()]),
        Column("values", [_values(dimension) for dimension in space.values()]),
    ]
    if any("default" in dimension for dimension in space.values()):
        columns.append(Column("default", [shown(dimension.get("default")) for dimension in space.values()]))
    console.print()
    console.print(table(columns, console.width)[0])


def _values(dimension: Mapping[str, Any]) -> str:
    if "choices" in dimension:
        return ", ".join(repr(choice) if isinstance(choice, str) else str(choice) for choice in dimension["choices"])
    text = _range(dimension["low"], dimension["high"])
    if dimension.get("log"):
        text += ", log scale"
    if dimension.get("precision"):
        text += f", {dimension['precision']} digits"
    if dimension["kind"] == "fidelity":
        text += f", base {shown(dimension['base'])}"
    return text


def _range(low: float, high: float) -> str:
    return f"{shown(low)} to {shown(high)}"


def _print_trials(console: Console, title: str, trials: Sequence[Mapping[str, Any]]) -> None:
    columns = [
        Column("trial", [str(trial["trial"]) for trial in trials], number=True),
        Column("status", [trial["status"] for trial in trials], style=style_of_status),
        *_fields("metrics", trials),
        Column("took", [_took(trial) for trial in trials], number=True),
        *_fields("params", trials),
    ]
    grid, hidden = table(columns, console.width, title=title)
    console.print()
    console.print(grid)
    if hidden:
        console.print(printable(f"not shown for lack of width: {', '.join(hidden)}"), style="dim", soft_wrap=True)


def _fields(struct: str, trials: Sequence[Mapping[str, Any]]) -> list[Column]:
    names = dict.fromkeys(name for trial in trials for name in trial[struct])
    columns = []
    for name in names:
        values = [trial[struct].get(name) for trial in trials]
        number = all(value is None or isinstance(value, int | float) for value in values)
        columns.append(Column(name, [shown(value) for value in values], number=number))
    return columns


def _took(trial: Mapping[str, Any]) -> str:
    if trial["started_at"] is None or trial["ended_at"] is None:
        return ""
    return spell_duration(trial["ended_at"] - trial["started_at"])
