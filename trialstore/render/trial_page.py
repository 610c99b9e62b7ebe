"""The page of a trial, or of its report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from trialstore.render.cells import exactly
from trialstore.render.page import Block, Column, Grid, Line, Page, Prose
from trialstore.render.values import shown, since, spell_duration

__all__ = ["trial_page"]

_UNITS = ("B", "kB", "MB", "GB", "TB")


def trial_page(facts: Mapping[str, Any]) -> Page:
    """One trial in full: life, parameters, results, what it logged, its artifacts and what went wrong.

    Args:
        facts: What `trialstore.facts` tells of it; ``reported``, ``telemetry`` and ``artifacts`` may be left out.
    """
    blocks: list[Block] = [Line(label, value) for label, value in _lines(facts) if value]
    blocks += [*_values("parameter", facts["params"]), *_metrics(facts["metrics"], facts["noise"])]
    for title, name in (("summary", "summary"), ("attribute", "attributes"), ("extra", "extras")):
        blocks += _values(title, facts[name])
    blocks += _profiles(facts["profiles"])
    for title, name in (("reported", "reported"), ("telemetry", "telemetry")):
        blocks += _logged(title, facts.get(name, ()))
    blocks += [*_artifacts(facts.get("artifacts", ())), *_attempts(facts["attempts"])]
    if facts["exception"]:
        blocks += [Line("", ""), Prose(facts["exception"], "red")]
    if facts["traceback"]:
        blocks.append(Prose(facts["traceback"], "dim"))
    return Page(f"{facts['experiment']}  trial {facts['trial']}", facts["status"], blocks=blocks)


def _lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    took = ""
    if facts["started_at"] is not None and facts["ended_at"] is not None:
        took = f"  (took {spell_duration(facts['ended_at'] - facts['started_at'])})"
    return [
        ("name", facts["name"]),
        ("id", facts["id"]),
        ("attempt", str(facts["attempt"]) if facts["attempt"] else "never claimed"),
        ("worker", facts["worker"] or ""),
        ("runner", shown(facts["runner"])),
        ("submitted", since(facts["submitted_at"])),
        ("started", since(facts["started_at"])),
        ("ended", since(facts["ended_at"]) + took),
        ("seed", shown(facts["seed"])),
        ("parent", shown(facts["parent"])),
        ("fidelity", shown(facts["fidelity"]) if facts["fidelity"] else ""),
        ("info", "" if facts["info"] is None else exactly(facts["info"])),
    ]


def _values(title: str, values: Mapping[str, Any]) -> list[Block]:
    if not values:
        return []
    return [Grid([Column(title, list(values)), Column("value", [exactly(value) for value in values.values()])])]


def _metrics(metrics: Mapping[str, Any], noise: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    if not metrics:
        return []
    columns = [Column("metric", list(metrics)), Column("value", [exactly(value) for value in metrics.values()])]
    for name, title in (("sem", "standard error"), ("n", "n")):
        cells = [shown(noise.get(metric, {}).get(name)) for metric in metrics]
        if any(cells):
            columns.append(Column(title, cells, number=True))
    return [Grid(columns)]


def _profiles(profiles: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    if not profiles:
        return []
    rows = list(profiles.values())
    grew = [_grew(row["memory:diff_rss"], row["memory:unit"]) for row in rows]
    columns = [
        Column("measured", list(profiles)),
        Column("clock", [row["time:kind"] or "" for row in rows]),
        Column("took", [_seconds(row["time:duration"]) for row in rows], number=True),
    ]
    if any(grew):
        columns.append(Column("memory grew by", grew, number=True))
    return [Grid(columns)]


def _seconds(seconds: float) -> str:
    return spell_duration(timedelta(seconds=seconds)) if math.isfinite(seconds) else shown(seconds)


def _grew(size: float, unit: str | None) -> str:
    return "" if unit is None or math.isnan(size) else f"{size:,.4g} {unit}"


def _logged(title: str, rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not rows:
        return []
    columns = [
        Column(title, [row["name"] for row in rows]),
        Column("values", [str(row["rows"]) for row in rows], number=True),
        Column("lowest", [shown(row["min"]) for row in rows], number=True),
        Column("highest", [shown(row["max"]) for row in rows], number=True),
        Column("last", [shown(row["last_text"] if row["last"] is None else row["last"]) for row in rows]),
        Column("from (UTC)", [since(row["first_at"]).rstrip("Z") for row in rows]),
        Column("over", [spell_duration(row["last_at"] - row["first_at"]) for row in rows], number=True),
    ]
    return [Grid(columns)]


def _artifacts(artifacts: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not artifacts:
        return []
    columns = [
        Column("artifact", [artifact["name"] for artifact in artifacts]),
        Column("size", [_size(artifact["size_bytes"]) for artifact in artifacts], number=True),
        Column("kind", [artifact["loader"] for artifact in artifacts]),
        Column("file in the store", [artifact["path"] for artifact in artifacts]),
    ]
    return [Grid(columns)]


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not attempts:
        return []
    names = dict.fromkeys(name for attempt in attempts for name in attempt)
    columns = [
        Column(f"earlier {name}" if name == "attempt" else name, [shown(a.get(name)) for a in attempts])
        for name in names
    ]
    return [Grid(columns)]


def _size(size_bytes: int) -> str:
    size, unit = float(size_bytes), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_UNITS[unit]}"
