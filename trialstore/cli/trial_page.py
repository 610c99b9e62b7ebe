"""What `trialstore show --trial` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from trialstore.cli.render import Column, output, printable, shown, since, spell_duration, style_of_status, table

__all__ = ["print_trial"]

_UNITS = ("B", "kB", "MB", "GB", "TB")


def print_trial(facts: Mapping[str, Any]) -> None:
    """Print one trial in full: life, parameters, results, what it logged, its artifacts and what went wrong."""
    console = output()
    head = printable(f"{facts['experiment']}  trial {facts['trial']}")
    head.stylize("bold")
    head.append("  ").append(facts["status"], style=f"bold {style_of_status(facts['status'])}".strip())
    console.print(head, soft_wrap=True)
    for label, value in _lines(facts):
        if value:
            console.print(Text().append(f"{label:<11}", style="dim").append_text(printable(value)), soft_wrap=True)
    _print_values(console, "parameter", facts["params"])
    _print_values(console, "metric", facts["metrics"])
    _print_values(console, "attribute", facts["attributes"])
    _print_logged(console, "reported", facts["reported"])
    _print_logged(console, "telemetry", facts["telemetry"])
    _print_artifacts(console, facts["artifacts"])
    _print_attempts(console, facts["attempts"])
    if facts["exception"]:
        console.print()
        console.print(printable(facts["exception"], lines=True), style="red", soft_wrap=True)
    if facts["traceback"]:
        console.print(printable(facts["traceback"].rstrip(), lines=True), style="dim", soft_wrap=True)


def _lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    took = ""
    if facts["started_at"] is not None and facts["ended_at"] is not None:
        took = f"  (took {spell_duration(facts['ended_at'] - facts['started_at'])})"
    return [
        ("name", facts["name"]),
        ("id", facts["id"]),
        ("attempt", str(facts["attempt"]) if facts["attempt"] else "never claimed"),
        ("worker", facts["worker"] or ""),
        ("submitted", since(facts["submitted_at"])),
        ("started", since(facts["started_at"])),
        ("ended", since(facts["ended_at"]) + took),
        ("seed", shown(facts["seed"])),
        ("parent", shown(facts["parent"])),
        ("fidelity", shown(facts["fidelity"]) if facts["fidelity"] else ""),
    ]


def _print_values(console: Console, title: str, values: Mapping[str, Any]) -> None:
    if values:
        cells = [repr(value) if isinstance(value, str) else _whole(value) for value in values.values()]
        _print(console, [Column(title, list(values)), Column("value", cells)])


def _whole(value: object) -> str:
    return "null" if value is None else repr(value) if isinstance(value, float) else shown(value)


def _print_logged(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    columns = [
        Column(title, [row["name"] for row in rows]),
        Column("values", [str(row["rows"]) for row in rows], number=True),
        Column("lowest", [shown(row["min"]) for row in rows], number=True),
        Column("highest", [shown(row["max"]) for row in rows], number=True),
        Column("last", [shown(row["last_text"] if row["last"] is None else row["last"]) for row in rows]),
        Column("from (UTC)", [since(row["first_at"]).rstrip("Z") for row in rows]),
        Column("over", [spell_duration(row["last_at"] - row["first_at"]) for row in rows], number=True),
    ]
    _print(console, columns)


def _print_artifacts(console: Console, artifacts: Sequence[Mapping[str, Any]]) -> None:
    if not artifacts:
        return
    columns = [
        Column("artifact", [artifact["name"] for artifact in artifacts]),
        Column("size", [_size(artifact["size_bytes"]) for artifact in artifacts], number=True),
        Column("kind", [artifact["loader"] for artifact in artifacts]),
        Column("file in the store", [artifact["path"] for artifact in artifacts]),
    ]
    _print(console, columns)


def _print_attempts(console: Console, attempts: Sequence[Mapping[str, Any]]) -> None:
    if attempts:
        names = list(dict.fromkeys(name for attempt in attempts for name in attempt))
        columns = [
            Column(f"earlier {name}" if name == "attempt" else name, [shown(a.get(name)) for a in attempts])
            for name in names
        ]
        _print(console, columns)


def _print(console: Console, columns: Sequence[Column]) -> None:
    console.print()
    console.print(table(columns, console.width)[0])


def _size(size_bytes: int) -> str:
    size, unit = float(size_bytes), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_UNITS[unit]}"
