"""Tables that fit the width of a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from trialstore.render.page import Column
from trialstore.render.values import printable

__all__ = ["plain_text", "table"]

_NARROWEST = 12
_WIDEST = 120
_GAP = 2


def plain_text(text: str, *, lines: bool = False) -> Text:
    """Text of which nothing is markup, and nothing steers the terminal."""
    return Text(printable(text, lines=lines))


def table(columns: Sequence[Column], width: int, *, title: str | None = None) -> tuple[Table, list[str]]:
    """A table that fits the width, and the titles of the columns that it left out because they did not fit.

    Text is cut before a column is left out, and never longer than 120 cells; numbers are never cut.
    """
    texts = [[plain_text(cell) for cell in column.cells] for column in columns]
    heads = [plain_text(column.title) for column in columns]
    widths = [
        min(_WIDEST, max([cell_len(head.plain), *(cell_len(text.plain) for text in cells)]))
        for head, cells in zip(heads, texts, strict=True)
    ]
    kept = _fit(columns, widths, width)
    grid = Table(
        box=box.SIMPLE_HEAD,
        title=None if title is None else plain_text(title),
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
