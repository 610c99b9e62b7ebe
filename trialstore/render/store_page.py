"""The page of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from trialstore.render.cells import metric_text
from trialstore.render.page import Column, Grid, Line, Page
from trialstore.render.values import since

__all__ = ["experiment_columns", "store_page"]


def store_page(url: str, created_at: datetime, experiments: Sequence[Mapping[str, Any]], count: int) -> Page:
    """Where a store is, and its experiments.

    Args:
        url: Where it is.
        created_at: When it was made.
        experiments: What `trialstore.facts` tells of those that are shown.
        count: How many there are.
    """
    aside = f"created {since(created_at)}"
    if not count:
        return Page(url, aside=aside, blocks=[Line("", "no experiments yet")])
    left_out = count - len(experiments)
    note = f"{left_out:,} older ones are not shown" if left_out else ""
    return Page(url, aside=aside, blocks=[Grid(experiment_columns(experiments), note=note)])


def experiment_columns(experiments: Sequence[Mapping[str, Any]]) -> list[Column]:
    """One row an experiment."""
    return [
        Column("experiment", [facts["name"] for facts in experiments]),
        Column("version", [str(facts["version"]) for facts in experiments], number=True),
        Column("trials", [str(facts["trials"]) for facts in experiments], number=True),
        Column("succeeded", [str(facts["counts"].get("SUCCEEDED", 0)) for facts in experiments], number=True),
        Column("params", [str(len(facts["space"]) or "any") for facts in experiments], number=True),
        Column("metrics", [", ".join(map(metric_text, facts["metrics"])) for facts in experiments]),
        Column("created (UTC)", [since(facts["created_at"]).rstrip("Z") for facts in experiments], number=True),
    ]
