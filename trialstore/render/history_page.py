"""The page of a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trialstore.render.cells import metric_text, trial_columns
from trialstore.render.page import Block, Grid, Line, Page

__all__ = ["history_page"]


def history_page(
    count: int,
    counts: Mapping[str, int],
    metrics: Sequence[Mapping[str, Any]],
    best: Sequence[Mapping[str, Any]],
    best_count: int,
    first: Sequence[Mapping[str, Any]],
) -> Page:
    """How many reports there are, which are best, and the first of them.

    Args:
        count: How many.
        counts: Of each status.
        metrics: What is measured.
        best: The best one, or those of the Pareto front that are shown.
        best_count: How many are best.
        first: The first ones, which are shown.
    """
    blocks: list[Block] = []
    if counts:
        blocks.append(Line("", ", ".join(f"{number:,} {status.lower()}" for status, number in counts.items())))
    names = ", ".join(map(metric_text, metrics))
    if best:
        title = f"Best by {names}" if len(metrics) == 1 else f"Pareto front of {names}"
        blocks.append(Grid(trial_columns(best), title, _left_out(best_count - len(best))))
    if first:
        blocks.append(Grid(trial_columns(first), "Reports", _left_out(count - len(first))))
    return Page("History", aside=f"{count:,} reports", blocks=blocks)


def _left_out(count: int) -> str:
    return f"{count:,} more are not shown" if count else ""
