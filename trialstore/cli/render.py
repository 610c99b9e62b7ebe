"""How things look on a terminal: consoles, tables, values, times."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from trialstore.model.codec import encode
from trialstore.model.errors import UsageError
from trialstore.model.status import Status

__all__ = [
    "STYLES",
    "Column",
    "complaints",
    "output",
    "printable",
    "progress",
    "shown",
    "since",
    "spell_duration",
    "spell_time",
    "style_of_status",
    "table",
]

_UNBOUNDED = 4096
_NARROWEST = 12
_WIDEST = 120
_GAP = 2
_JOINERS = "\u200d\u200c"

STYLES: Mapping[Status, str] = {
    Status.SUCCEEDED: "green",
    Status.RUNNING: "cyan",
    Status.READY: "cyan",
    Status.PENDING: "blue",
    Status.PRUNED: "yellow",
    Status.FAILED: "red",
    Status.CRASHED: "red",
    Status.TIMED_OUT: "red",
}
"""Colours of the statuses."""


class _Console(Console):
    """A console that leaves a closed pipe to the caller."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


def output() -> Console:
    """Standard output. Where it is no terminal nothing is cut to a width, unless COLUMNS gives one."""
    free = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return _Console(width=_UNBOUNDED if free else None, markup=False, emoji=False, highlight=False)


def complaints() -> Console:
    """Standard error."""
    return _Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


def progress() -> Progress:
    """A progress bar on standard error, which vanishes at the end and is off where that is no terminal."""
    console = complaints()
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def printable(text: str, *, lines: bool = False) -> Text:
    """Text that cannot steer the terminal: control characters are spelled out, and nothing is markup.

    Args:
        text: Any text.
        lines: Leave line breaks as they are.
    """
    if not text.isprintable():
        kept = _JOINERS + ("\n" if lines else "")
        text = "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in text)
    return Text(text)


def shown(value: object) -> str:
    """A value for people: floats to seven digits, a struct as ``{a: 1, b: x}``. JSON output is exact."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.7g}" if math.isfinite(value) else repr(value)
    if isinstance(value, datetime):
        return spell_time(value)
    if isinstance(value, timedelta):
        return spell_duration(value)
    if hasattr(value, "months") and hasattr(value, "days") and hasattr(value, "nanoseconds"):
        rest = spell_duration(timedelta(days=value.days, microseconds=value.nanoseconds // 1000))
        return f"{value.months} months {rest}" if value.months else rest
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{shown(name)}: {_inside(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inside(item) for item in value) + "]"
    if isinstance(value, bytes):
        try:
            return encode(value).decode()
        except UsageError:
            return repr(value)
    return str(value)


def _inside(value: object) -> str:
    return "null" if value is None else shown(value)


def spell_time(time: datetime | None) -> str:
    """A time in UTC, with as many digits of the second as it has."""
    if time is None:
        return ""
    aware = time.tzinfo is not None
    if aware:
        time = time.astimezone(UTC).replace(tzinfo=None)
    text = time.isoformat(sep=" ", timespec="microseconds" if time.microsecond else "seconds")
    return text + ("Z" if aware else "")


def since(time: datetime | None) -> str:
    """A time in UTC to the second."""
    return "" if time is None else spell_time(time.replace(microsecond=0))


def spell_duration(length: timedelta | None) -> str:
    """A length of time with the two largest units that count, such as ``1 h 12 min``.

    Example:
        >>> spell_duration(timedelta(hours=1, minutes=12, seconds=5)), spell_duration(timedelta(milliseconds=15))
        ('1 h 12 min', '15 ms')
    """
    if length is None:
        return ""
    seconds = length.total_seconds()
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    if seconds < 0.0009995:
        return f"{sign}{seconds * 1e6:.3g} µs" if seconds else "0 s"
    if seconds < 0.9995:
        return f"{sign}{seconds * 1000:.3g} ms"
    if seconds < 59.95:
        return f"{sign}{seconds:.3g} s"
    whole = round(seconds)
    for unit, below, size, part in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86400, 3600)):
        if whole < size * (60 if unit == "min" else 24) or unit == "d":
            rest = whole % size // part
            return f"{sign}{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        cells: A cell a row.
        number: Whether cells are numbers or times: aligned to the right and never cut.
        style: Style of a cell's text, given the text.
    """

    title: str
    cells: Sequence[str]
    number: bool = False
    style: Callable[[str], str] | None = None


def table(columns: Sequence[Column], width: int, *, title: str | None = None) -> tuple[Table, list[str]]:
    """A table that fits the width, and the titles of the columns that it left out because they did not fit.

    Text is cut before a column is left out, and never longer than 120 cells; numbers are never cut.
    """
    texts = [[printable(cell) for cell in column.cells] for column in columns]
    heads = [printable(column.title) for column in columns]
    widths = [
        min(_WIDEST, max([cell_len(head.plain), *(cell_len(text.plain) for text in cells)]))
        for head, cells in zip(heads, texts, strict=True)
    ]
    kept = _fit(columns, widths, width)
    grid = Table(
        box=box.SIMPLE_HEAD,
        title=None if title is None else printable(title),
        title_justify="left",
        title_style="bold",
        header_style="bold",
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for index in kept:
        right = columns[index].number
        grid.add_column(
            heads[index],
            justify="right" if right else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=widths[index],
        )
    for row in range(len(texts[0]) if texts else 0):
        cells = [texts[index][row] for index in kept]
        for index, cell in zip(kept, cells, strict=True):
            styler = columns[index].style
            if styler is not None:
                cell.stylize(styler(cell.plain))
        grid.add_row(*cells)
    return grid, [column.title for index, column in enumerate(columns) if index not in kept]


def _fit(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """Narrow text columns in place, widest first, and say which columns stay: empty ones go first, then the last."""
    kept = list(range(len(columns)))
    silent = [index for index in kept if all(cell in ("", "null") for cell in columns[index].cells)]

    def excess() -> int:
        return sum(widths[index] + _GAP for index in kept) - _GAP - width

    while excess() > 0:
        wide = [index for index in kept if not columns[index].number and widths[index] > _NARROWEST]
        if wide:
            widest = max(wide, key=lambda index: widths[index])
            widths[widest] = max(_NARROWEST, widths[widest] - max(1, excess() // len(wide)))
        elif len(kept) > 1:
            kept.remove(silent.pop() if silent else kept[-1])
        else:
            break
    return kept


def style_of_status(text: str) -> str:
    """Colour of a cell that holds the name of a status."""
    status = Status.__members__.get(text)
    return "" if status is None else STYLES.get(status, "")
