"""A progress bar in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trialstore.runner.drive import Progress

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["bar"]


@contextmanager
def bar(console: Console | None = None) -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error that is redrawn when it is told of progress; it stays when the block ends."""
    from rich.console import Console as StandardConsole
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("trials"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}", markup=False),
    )
    with Bars(*columns, console=console or StandardConsole(stderr=True)) as bars:
        task = bars.add_task("", total=None, told="")

        def tell(progress: Progress) -> None:
            goal = progress.goal
            if goal is None:
                goal = progress.ended + progress.running + progress.waiting
            counts = [f"{count} {status.value.lower()}" for status, count in sorted(progress.counts.items())]
            told = ", ".join([*counts, f"{progress.running} running"] if progress.running else counts)
            bars.update(task, completed=progress.ended, total=max(goal, progress.ended), told=told)

        yield tell
