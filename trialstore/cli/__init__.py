"""The command line: `trialstore ls | show | status | sql | demo | compact | version`."""

from __future__ import annotations

import contextlib
import io
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit.

    Exit codes: 0 for success, 1 for an error of the store, 2 for a wrong call, 130 after Ctrl-C, 141 when the reader of
    a pipe went away.
    """
    from trialstore.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")
    app(prog_name="trialstore")
