"""A page on a terminal."""

from __future__ import annotations

from io import StringIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from trialstore.render.page import Block, Grid, Line, Page, Prose, style_of_status
from trialstore.render.table import plain_text, table
from trialstore.render.values import printable

__all__ = ["TerminalPage", "text_of"]

_LABEL = 11


def text_of(page: Page, width: int = 120) -> str:
    """A page as plain text, without colours."""
    out = StringIO()
    console = Console(file=out, width=width, color_system=None, markup=False, emoji=False, highlight=False)
    console.print(TerminalPage(page))
    return out.getvalue()


class TerminalPage:
    """A page as rich prints it, as wide as the terminal.

    Nothing in it is markup or steers the terminal. A line that is too long is cut, with an ellipsis to show it; a
    column that does not fit is left out, and named below the table.

    Args:
        page: What is said.
        whole: Let long lines run on instead of cutting them.
    """

    def __init__(self, page: Page, *, whole: bool = False) -> None:
        self._page = page
        self._whole = whole

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = self._page
        head = plain_text(page.title)
        head.stylize("bold")
        if page.status:
            head.append("  ").append(printable(page.status), style=f"bold {style_of_status(page.status)}".strip())
        if page.aside:
            head.append("  ").append(printable(page.aside), style="not bold dim")
        yield self._fitted(head, options)
        for block in page.blocks:
            yield from self._block(block, options)

    def _block(self, block: Block, options: ConsoleOptions) -> RenderResult:
        if isinstance(block, Line):
            label = f"{block.label:<{_LABEL}}" if block.label else ""
            yield self._fitted(Text().append(label, style="dim").append_text(plain_text(block.value)), options)
        elif isinstance(block, Prose):
            text = plain_text(block.text.rstrip(), lines=True)
            text.stylize(block.style)
            for line in text.split(allow_blank=True):
                yield self._fitted(line, options)
        else:
            yield from self._grid(block, options)

    def _grid(self, block: Grid, options: ConsoleOptions) -> RenderResult:
        grid, hidden = table(block.columns, options.max_width, title=block.title)
        yield Text()
        yield grid
        notes = [block.note] if block.note else []
        if hidden:
            notes.append(f"not shown for lack of width: {', '.join(hidden)}")
        for note in notes:
            text = plain_text(note)
            text.stylize("dim")
            yield self._fitted(text, options)

    def _fitted(self, text: Text, options: ConsoleOptions) -> Text:
        if self._whole:
            text.no_wrap, text.overflow = True, "ignore"
        else:
            text.truncate(options.max_width, overflow="ellipsis")
        return text
