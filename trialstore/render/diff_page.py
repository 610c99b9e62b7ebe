"""The page of what changed between two snapshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from trialstore.render.page import Block, Column, Grid, Line, Page, style_of_status

__all__ = ["diff_page"]

Row: TypeAlias = Mapping[str, Any]

_STYLES = {"added": "green", "created": "green", "removed": "red", "dropped": "red", "changed": "yellow"}


def diff_page(
    title: str,
    experiments: Sequence[Row],
    counts: Mapping[tuple[str, int], Counter[str]],
    trials: Sequence[Row],
    rows: Sequence[Row],
) -> Page:
    """What was created, dropped, added, removed and changed.

    Args:
        title: From where to where.
        experiments: Of `SnapshotDiff.experiments`.
        counts: How many trials of each experiment changed in which way.
        trials: The trials to show: of `SnapshotDiff.trials`, with the changed fields as texts under ``fields``.
        rows: Of `SnapshotDiff.rows`.
    """
    blocks: list[Block] = []
    if experiments:
        blocks.append(_experiments(experiments))
    for (name, version), found in counts.items():
        told = ", ".join(f"{found[change]:,} {change}" for change in ("added", "removed", "changed") if found[change])
        blocks.append(Line("", f"{name} version {version}: trials {told}"))
    if trials:
        blocks.append(_trials(trials, sum(map(Counter.total, counts.values()))))
    if rows:
        blocks.append(_rows(rows))
    return Page(title, blocks=blocks or [Line("", "nothing changed")])


def _experiments(rows: Sequence[Row]) -> Grid:
    return Grid(
        [
            Column("experiment", [row["experiment"] for row in rows]),
            Column("version", [str(row["version"]) for row in rows], number=True),
            Column("change", [row["change"] for row in rows], style=_style),
            Column("from what to what", [_told(row) if row["field"] else "" for row in rows]),
        ]
    )


def _trials(rows: Sequence[Row], total: int) -> Grid:
    note = f"{len(rows):,} of {total:,} trials" if len(rows) < total else ""
    return Grid(
        [
            Column("experiment", [row["experiment"] for row in rows]),
            Column("trial", [str(row["trial"]) for row in rows], number=True),
            Column("change", [row["change"] for row in rows], style=_style),
            Column("status", [row["status_after"] or row["status_before"] for row in rows], style=style_of_status),
            Column("from what to what", ["; ".join(map(_told, row["fields"])) for row in rows]),
        ],
        note=note,
    )


def _rows(rows: Sequence[Row]) -> Grid:
    return Grid(
        [
            Column("experiment", [row["experiment"] for row in rows]),
            Column("version", [str(row["version"]) for row in rows], number=True),
            Column("table", [row["table"] for row in rows]),
            Column("rows before", [f"{row['before']:,}" for row in rows], number=True),
            Column("rows after", [f"{row['after']:,}" for row in rows], number=True),
        ]
    )


def _told(row: Row) -> str:
    before, after = row["before"], row["after"]
    return f"{row['field']} {'absent' if before is None else before} → {'absent' if after is None else after}"


def _style(change: str) -> str:
    return _STYLES.get(change, "")
