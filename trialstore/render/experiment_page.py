"""The page of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trialstore.render.cells import better, bounds, metric_text, trial_columns
from trialstore.render.page import Block, Column, Grid, Line, Page
from trialstore.render.values import shown, since

__all__ = ["experiment_page", "metric_page"]


def experiment_page(facts: Mapping[str, Any]) -> Page:
    """What an experiment is, its metrics, its space, its best and newest trials.

    Args:
        facts: What `trialstore.facts` tells of it, and of the trials ``best`` and ``newest``.
    """
    counts = [f"{count} {name.lower()}" for name, count in facts["counts"].items()]
    limits = [
        f"{facts[name]} {text}" for name, text in (("max_trials", "wanted"), ("max_broken", "may break")) if facts[name]
    ]
    line = ", ".join(counts) or "no trials yet"
    blocks: list[Block] = [Line("", line + (f"  ({', '.join(limits)})" if limits else ""))]
    if facts["metadata"]:
        blocks.append(Line("metadata", shown(facts["metadata"])))
    blocks += [*_metrics(facts["metrics"]), *_space(facts["space"])]
    if facts["best"]:
        blocks.append(Grid(trial_columns(facts["best"]), f"Best by {metric_text(facts['metrics'][0])}"))
    if facts["newest"]:
        blocks.append(Grid(trial_columns(facts["newest"]), "Newest others" if facts["best"] else "Newest"))
    aside = f"version {facts['version']}, created {since(facts['created_at'])}"
    return Page(facts["name"], aside=aside, blocks=blocks)


def metric_page(metric: Mapping[str, Any]) -> Page:
    """Which way is better, and what values make sense."""
    aside = f"metric, {'lower' if metric['minimize'] else 'higher'} is better"
    limits = metric["bounds"]
    return Page(metric["name"], aside=aside + (f", from {bounds(*limits)}" if limits else ""))


def _metrics(metrics: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not metrics:
        return []
    columns = [
        Column("metric", [metric["name"] for metric in metrics]),
        Column("better is", [better(metric["minimize"]) for metric in metrics]),
    ]
    if any(metric["bounds"] for metric in metrics):
        columns.append(Column("bounds", [bounds(*metric["bounds"]) if metric["bounds"] else "" for metric in metrics]))
    return [Grid(columns)]


def _space(space: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    if not space:
        return []
    columns = [
        Column("parameter", list(space)),
        Column("kind", [dimension["kind"] for dimension in space.values()]),
        Column("values", [_values(dimension) for dimension in space.values()]),
    ]
    if any("default" in dimension for dimension in space.values()):
        columns.append(Column("default", [shown(dimension.get("default")) for dimension in space.values()]))
    return [Grid(columns)]


def _values(dimension: Mapping[str, Any]) -> str:
    if "choices" in dimension:
        return ", ".join(repr(choice) if isinstance(choice, str) else str(choice) for choice in dimension["choices"])
    text = bounds(dimension["low"], dimension["high"])
    if dimension.get("log"):
        text += ", log scale"
    if dimension.get("precision"):
        text += f", {dimension['precision']} digits"
    if dimension["kind"] == "fidelity":
        text += f", base {shown(dimension['base'])}"
    return text
