"""What the demo shows: a live view while it runs, and what was found at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from trialstore.demo.run import Demo, Progress
from trialstore.store import Store

__all__ = ["View", "findings", "show_findings", "watching"]

_COLUMNS = """trial, params.codec || CASE params.level WHEN 0 THEN '' ELSE ' ' || params.level END AS codec,
       replace(params.encoding, 'byte_stream_', '') AS encoding,
       CASE WHEN params.dictionary THEN 'yes' ELSE 'no' END AS dict,
       params.sort_by AS sort, params.row_group_rows AS group_rows,
       metrics.bytes / 1e6 AS MB, metrics.write_seconds AS write_s, metrics.read_seconds AS read_s"""
BEST = f"""\
SELECT {_COLUMNS}
FROM trials WHERE status = 'SUCCEEDED' AND experiment = $name AND version = $version
ORDER BY metrics.bytes LIMIT 5"""
FRONT = f"""\
WITH done AS (
    SELECT * FROM trials WHERE status = 'SUCCEEDED' AND experiment = $name AND version = $version
)
SELECT {_COLUMNS}
FROM done AS mine
WHERE NOT EXISTS (
    SELECT 1 FROM done AS other
    WHERE other.metrics.bytes <= mine.metrics.bytes
      AND other.metrics.write_seconds <= mine.metrics.write_seconds
      AND other.metrics.read_seconds <= mine.metrics.read_seconds
      AND (other.metrics.bytes, other.metrics.write_seconds, other.metrics.read_seconds)
        <> (mine.metrics.bytes, mine.metrics.write_seconds, mine.metrics.read_seconds)
)
ORDER BY metrics.bytes"""


class View:
    """The live view: a bar, the workers, and what happened. Plain lines where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("[bold]trials"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._task = self._bar.add_task("trials", total=1)
        self._said = 0
        self._last = -1
        self.live: Live | None = None

    def show(self, progress: Progress) -> None:
        """Bring the view up to date."""
        self._bar.update(self._task, total=progress.goal, completed=min(progress.succeeded, progress.goal))
        for happening in progress.happenings[self._said :]:
            colour = "red" if happening.kind == "killed" else "green"
            self._console.print(f"[{colour}]●[/] {escape(happening.text)}")
        self._said = len(progress.happenings)
        if self.live is not None:
            self.live.update(Group(self._workers(progress), self._bar))
        elif progress.succeeded // 10 > self._last // 10 or progress.succeeded == progress.goal != self._last:
            self._console.print(f"{progress.succeeded}/{progress.goal} trials succeeded")
            self._last = progress.succeeded

    def _workers(self, progress: Progress) -> Text:
        line = Text("running ", style="dim")
        for worker, number in sorted(progress.running.items()):
            line.append(f"  {worker.rpartition(':')[2]}", style="cyan").append(f" trial {number}")
        if progress.best_bytes is not None:
            line.append(f"   smallest file {progress.best_bytes / 1e6:.2f} MB", style="green")
        return line


@contextmanager
def watching(console: Console) -> Iterator[View]:
    """A view for the length of the block."""
    view = View(console)
    if not console.is_terminal:
        yield view
        return
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        view.live = live
        yield view


def findings(demo: Demo) -> dict[str, object]:
    """The same as `show_findings` shows, for a program."""
    which = {"name": demo.experiment.name, "version": demo.experiment.version}
    best = demo.experiment.best()
    return {
        "store": demo.store.url,
        "experiment": which,
        "best": demo.store.sql(BEST, which).pl().to_dicts(),
        "pareto_front": demo.store.sql(FRONT, which).pl().to_dicts(),
        "happenings": [{"kind": what.kind, "text": what.text} for what in demo.progress.happenings],
        "winner": None if best is None else best.artifacts()["flights.parquet"].path,
    }


def show_findings(console: Console, demo: Demo) -> None:
    """The best settings, the Pareto front, how the search went, and where to look further."""
    store, experiment = demo.store, demo.experiment
    which = {"name": experiment.name, "version": experiment.version}
    _table(console, store, "The five smallest files (SQL)", BEST, which)
    _table(console, store, "Pareto front of size, write time and read time (SQL)", FRONT, which)
    _history(console, demo)
    best = experiment.best()
    if best is not None:
        winner = best.artifacts()["flights.parquet"]
        console.print(f"\nThe winner's file is an artifact of trial {best.number}: {winner.size_bytes / 1e6:.2f} MB at")
        console.print(f"  {escape(winner.path)}", soft_wrap=True)
    place = store.url.removeprefix("file://")
    program = sys.argv[0] if os.path.basename(sys.argv[0]) == "trialstore" else "trialstore"
    console.print("\n[bold]The store is at[/]", escape(place), soft_wrap=True)
    console.print("Look further with")
    for command in (
        f"{program} status {place}",
        f"{program} show {place} {experiment.name} --trial {0 if best is None else best.number}",
        f'{program} sql {place} "SELECT name, count(*), avg(value) FROM telemetry GROUP BY name"',
    ):
        console.print(f"  [cyan]{escape(command)}[/]", soft_wrap=True)


def _table(console: Console, store: Store, title: str, query: str, parameters: dict[str, object]) -> None:
    result = store.sql(query, parameters)
    rows = result.fetchall()
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=SIMPLE_HEAD, pad_edge=False
    )
    for index, name in enumerate(result.columns):
        numeric = bool(rows) and isinstance(rows[0][index], int | float)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*[_cell(value) for value in row])
    console.print()
    console.print(table)


def _cell(value: object) -> str:
    return (
        f"{value:.3f}" if isinstance(value, float) else escape(f"{value:,}" if isinstance(value, int) else str(value))
    )


def _history(console: Console, demo: Demo) -> None:
    import polars as pl

    size = pl.col("metrics").struct.field("bytes")
    history = (
        demo.experiment.history()
        .filter(pl.col("status") == "SUCCEEDED")
        .sort("ended_at")
        .select(size.alias("bytes"), size.cum_min().alias("smallest"))
        .collect()
    )
    smallest = history["smallest"].to_list()
    console.print("\n[bold]Smallest file after each trial (Polars)[/]")
    low, high = min(smallest), max(smallest)
    for value, count in history["smallest"].value_counts().sort("smallest", descending=True).iter_rows():
        width = round(40 * (value - low) / (high - low)) + 1 if high > low else 1
        console.print(f"  {value / 1e6:7.3f} MB {'█' * width} {count} trial{'s' if count > 1 else ''}")
