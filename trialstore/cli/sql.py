"""`trialstore sql`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trialstore.cli.failures import say_json
from trialstore.cli.moments import AsOfOption, parse_moment
from trialstore.cli.options import AsJson, StorageOptions, Url, open_store
from trialstore.model.errors import UsageError

if TYPE_CHECKING:
    from trialstore.query.result import Result

__all__ = ["Format", "sql"]

_TABLE_ROWS = 50


class Format(StrEnum):
    """What the rows are printed or written as."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def sql(
    ctx: typer.Context,
    url: Url,
    query: Annotated[
        str,
        typer.Argument(show_default=False, help="A DuckDB statement; - reads it from standard input."),
    ],
    format_: Annotated[
        Format | None,
        typer.Option("--format", "-f", show_default=False, help="By default what -o ends in, else a table."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Write the rows to this file."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=0, show_default=False, help=f"Most rows to print; a table has {_TABLE_ROWS} if not given."
        ),
    ] = None,
    attach: Annotated[
        list[str] | None,
        typer.Option(
            "--attach",
            metavar="NAME=URL",
            show_default=False,
            help="Another store, as NAME.trials and so on; repeatable.",
        ),
    ] = None,
    as_of: AsOfOption = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Ask the store in SQL (DuckDB), over a snapshot of all experiments.

    Tables: trials, params, profiles, repeats, metrics, telemetry, status, artifacts, experiments.

    A table on the screen rounds floats to seven digits; the other formats are exact. In CSV a text may begin
    with =, which a spreadsheet takes for a formula: import such files as text.

    Example: trialstore sql results "SELECT trial, params.lr, metrics.loss FROM trials ORDER BY metrics.loss LIMIT 5"
    """
    chosen = _format(format_, out, as_json)
    if chosen is Format.JSON:
        say_json(ctx)
    if chosen is Format.PARQUET and out is None:
        raise typer.BadParameter("parquet needs a file: -o FILE", param_hint="--format")
    store = open_store(url, storage_option)
    for item in attach or ():
        name, equals, other = item.partition("=")
        if not equals or not name or not other:
            raise typer.BadParameter(f"{item!r} is not NAME=URL", param_hint="--attach")
        store.attach(open_store(other, storage_option if "://" in other else None), name)
    text = sys.stdin.read() if query == "-" else query
    if not text.strip():
        raise UsageError("the query is empty", hint="for example SELECT * FROM trials")
    from trialstore.cli.console import progress
    from trialstore.cli.waiting import interruptible

    with progress() as bar:
        bar.add_task("running the query", total=None)
        result = interruptible(lambda: store.sql(text, as_of=parse_moment(as_of)))
    if chosen is Format.TABLE and out is None:
        _print(result, _TABLE_ROWS if limit is None else limit)
        return
    from trialstore.cli.export import export

    export(result, chosen.value, out, limit)


def _format(given: Format | None, out: Path | None, as_json: bool) -> Format:
    if as_json and given not in (None, Format.JSON):
        raise typer.BadParameter(f"--json and --format {given} exclude each other", param_hint="--json")
    if as_json:
        return Format.JSON
    if given is None and out is not None:
        ending = out.suffix.lower().lstrip(".")
        if ending not in ("json", "csv", "parquet"):
            raise typer.BadParameter(
                f"cannot tell the format from {out.name!r}; end it in .json, .csv or .parquet, or give --format",
                param_hint="--output",
            )
        return Format(ending)
    return given or Format.TABLE


def _print(result: Result, limit: int) -> None:
    import pyarrow as pa

    from trialstore.cli.console import output
    from trialstore.render.page import Column, style_of_status
    from trialstore.render.table import plain_text, table
    from trialstore.render.values import shown

    cells: list[list[str]] = [[] for _ in result.columns]
    numbers = [True] * len(cells)
    types = pa.types
    right = (types.is_integer, types.is_floating, types.is_decimal, types.is_temporal)
    printed = total = 0
    for batch in result.batches():
        total += batch.num_rows
        wanted = batch.slice(0, max(0, limit - printed))
        printed += wanted.num_rows
        for index, column in enumerate(wanted.columns):
            kind = column.type
            numbers[index] &= any(test(kind) for test in right)
            cells[index] += ["null" if value is None else shown(value) for value in column.to_pylist()]
    if not result.columns:
        return
    columns = [
        Column(name, values, number=number, style=_style_of_null if name != "status" else style_of_status)
        for name, values, number in zip(result.columns, cells, numbers, strict=True)
    ]
    console = output()
    grid, hidden = table(columns, console.width)
    console.print(grid)
    if hidden:
        console.print(plain_text(f"not shown for lack of width: {', '.join(hidden)}"), style="dim", soft_wrap=True)
    if total > printed:
        note = f"{printed:,} of {total:,} rows; --limit {total} shows all, -o FILE.parquet keeps them"
    else:
        note = f"{total:,} {'row' if total == 1 else 'rows'}"
    console.print(note, style="dim", soft_wrap=True)


def _style_of_null(cell: str) -> str:
    return "dim" if cell == "null" else ""
