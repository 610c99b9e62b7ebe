"""The consoles of the command line."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.progress import Progress

__all__ = ["complaints", "output", "progress"]

_UNBOUNDED = 4096


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
