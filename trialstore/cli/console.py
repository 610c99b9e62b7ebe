"""The consoles of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

__all__ = ["bars", "complaints", "output", "progress"]

_UNBOUNDED = 4096
_LABEL_CELLS = 40


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


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress view with a bar for everything that it is told of: what it is, how much is done, and of how much."""
    from rich.markup import escape

    from trialstore.render.table import plain_text

    with progress() as view:
        tasks = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = view.add_task(escape(plain_text(what).plain[:_LABEL_CELLS]), total=total)
            view.update(tasks[what], completed=done)

        yield tell
