"""The table that a run ends with."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.table import Table

from benchmarks.figure import Figure

__all__ = ["table"]


def table(figures: Sequence[Figure]) -> Table:
    """One row a figure: medians of both sides, the median ratio and its range, the target, and whether it is met."""
    shown = Table(title="ours against its peer: medians; ratio is ours / peer, with its range over the rounds")
    for heading, justify in (("figure", "left"), ("ours", "right"), ("peer", "right"), ("ratio", "right")):
        shown.add_column(heading, justify=justify)  # type: ignore[arg-type]
    shown.add_column("target")
    shown.add_column("met?")
    for figure in figures:
        shown.add_row(*_cells(figure))
    return shown


def _cells(figure: Figure) -> tuple[str, ...]:
    ours = f"{_short(median(figure.ours))} {figure.unit}"
    peer = f"{_short(median(figure.peer))}\n[dim]{figure.peer_name}[/dim]" if figure.peer else ""
    if not figure.peer and len(figure.ours) > 1:
        ours += f"\n[dim]{_short(min(figure.ours))} – {_short(max(figure.ours))}[/dim]"
    ratio = ""
    if figure.ratios:
        ratio = f"{median(figure.ratios):.2f}\n[dim]{min(figure.ratios):.2f} – {max(figure.ratios):.2f}[/dim]"
    target = ""
    if figure.target is not None:
        unit = f" {figure.unit}" if figure.target.of == "ours" else " ×"
        target = f"{figure.target.sense} {_short(figure.target.limit)}{unit}"
    met = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}[figure.met]
    return figure.name, ours, peer, ratio, target, met


def _short(value: float) -> str:
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
