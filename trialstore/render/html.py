"""A page as HTML for notebooks."""

from __future__ import annotations

from html import escape

from trialstore.render.page import Block, Column, Grid, Line, Page, Prose, style_of_status
from trialstore.render.values import printable, shortened

__all__ = ["html_of"]

_CELL = 200
_LINE = 2_000
_PROSE = 20_000

_STYLE = """
<style>
.trialstore {
  --ts-line: color-mix(in srgb, currentColor 22%, transparent);
  --ts-stripe: color-mix(in srgb, currentColor 5%, transparent);
  --ts-green: #1a7f37; --ts-red: #cf222e; --ts-blue: #0969da; --ts-cyan: #1b7c83; --ts-yellow: #9a6700;
  color: inherit; font: 13px/1.5 system-ui, sans-serif; max-width: 100%; text-align: left;
}
[data-theme=dark] .trialstore, [theme=dark] .trialstore,
[data-jp-theme-light=false] .trialstore, .vscode-dark .trialstore {
  --ts-green: #3fb950; --ts-red: #f85149; --ts-blue: #4493f8; --ts-cyan: #39c5cf; --ts-yellow: #d29922;
}
.trialstore .ts-title { font-size: 15px; font-weight: 600; overflow-wrap: anywhere; }
.trialstore .ts-dim { opacity: 0.68; font-weight: 400; }
.trialstore .ts-green { color: var(--ts-green); } .trialstore .ts-red { color: var(--ts-red); }
.trialstore .ts-blue { color: var(--ts-blue); } .trialstore .ts-cyan { color: var(--ts-cyan); }
.trialstore .ts-yellow { color: var(--ts-yellow); }
.trialstore .ts-lines { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0 12px; margin: 4px 0; }
.trialstore .ts-lines .ts-alone { grid-column: 1 / 3; }
.trialstore .ts-lines > * { overflow-wrap: anywhere; margin: 0; }
.trialstore .ts-wide { overflow-x: auto; margin: 8px 0; }
.trialstore table { border-collapse: collapse; margin: 0; color: inherit; font-size: 13px; }
.trialstore caption { caption-side: top; text-align: left; font-weight: 600; padding: 0 0 2px; color: inherit; }
.trialstore th, .trialstore td { padding: 2px 12px 2px 6px; text-align: left; vertical-align: top; border: 0; }
.trialstore th { white-space: nowrap; }
.trialstore td { white-space: normal; overflow-wrap: break-word; max-width: 60ch; color: inherit; }
.trialstore thead th { border-bottom: 1px solid var(--ts-line); font-weight: 600; }
.trialstore tbody tr { background: none; }
.trialstore tbody tr:nth-child(even) { background: var(--ts-stripe); }
.trialstore th.ts-number, .trialstore td.ts-number {
  text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums;
}
.trialstore pre {
  margin: 8px 0; padding: 0; background: none; color: inherit; font: 12px/1.4 ui-monospace, monospace; overflow-x: auto;
}
</style>
"""
# Text takes the notebook's own colour, and lines are made of that, so that they fit a theme that nobody names. Only the
# colours of statuses need to know what is dark; the names are those of Sphinx, Colab, JupyterLab and VS Code.


def html_of(page: Page) -> str:
    """The page as a fragment of HTML that brings its style, for light and dark notebooks.

    Every value is escaped and its control characters are spelled out; what is long is cut and says so.
    """
    status = _span(page.status, style_of_status(page.status)) if page.status else ""
    aside = _span(page.aside, "dim") if page.aside else ""
    head = " ".join(part for part in (_text(page.title, _LINE), status, aside) if part)
    return f'{_STYLE}<div class="trialstore"><div class="ts-title">{head}</div>{_blocks(page)}</div>'


def _blocks(page: Page) -> str:
    parts: list[str] = []
    lines: list[str] = []
    for block in page.blocks:
        if isinstance(block, Line):
            lines.append(_line(block))
            continue
        parts += [_lines(lines), _block(block)]
        lines = []
    return "".join([*parts, _lines(lines)])


def _lines(lines: list[str]) -> str:
    return f'<div class="ts-lines">{"".join(lines)}</div>' if lines else ""


def _line(line: Line) -> str:
    value = _text(line.value, _LINE)
    if not line.label:
        return f'<div class="ts-alone">{value}</div>'
    return f'<div class="ts-dim">{_text(line.label, _LINE)}</div><div>{value}</div>'


def _block(block: Block) -> str:
    if isinstance(block, Prose):
        text = escape(shortened(printable(block.text.rstrip(), lines=True), _PROSE))
        return f'<pre class="ts-{escape(block.style)}">{text}</pre>'
    assert isinstance(block, Grid)
    return _grid(block)


def _grid(grid: Grid) -> str:
    title = f"<caption>{_text(grid.title, _LINE)}</caption>" if grid.title else ""
    heads = "".join(f"<th{_number(column)}>{_text(column.title, _CELL)}</th>" for column in grid.columns)
    rows = "".join(
        f"<tr>{''.join(_cell(column, index) for column in grid.columns)}</tr>"
        for index in range(len(grid.columns[0].cells) if grid.columns else 0)
    )
    note = f'<div class="ts-dim">{_text(grid.note, _LINE)}</div>' if grid.note else ""
    body = f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="ts-wide">{body}{note}</div>'


def _cell(column: Column, index: int) -> str:
    text = column.cells[index]
    style = column.style(text) if column.style is not None else ""
    shown = _span(text, style) if style else _text(text, _CELL)
    return f"<td{_number(column)}>{shown}</td>"


def _number(column: Column) -> str:
    return ' class="ts-number"' if column.number else ""


def _span(text: str, style: str) -> str:
    return f'<span class="ts-{escape(style)}">{_text(text, _LINE)}</span>'


def _text(text: str, limit: int) -> str:
    return escape(shortened(printable(text), limit))
