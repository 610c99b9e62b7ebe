"""What goes wrong, as a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from trialstore.model.errors import TrialStoreError

__all__ = ["exit_codes", "say_json"]

_INTERRUPTED = 130
_PIPE_CLOSED = 141


def say_json(ctx: Any) -> None:
    """From now on tell errors as JSON."""
    ctx.find_root().ensure_object(dict)["json"] = True


@contextmanager
def exit_codes(ctx: Any) -> Iterator[None]:
    """Turn an error of the store, Ctrl-C and a closed pipe into the program's exit code, without a traceback."""
    try:
        yield
        sys.stdout.flush()
    except TrialStoreError as error:
        _tell(error, as_json=bool((ctx.find_root().obj or {}).get("json")))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    except BrokenPipeError:
        _silence()
        raise typer.Exit(_PIPE_CLOSED) from None


def _tell(error: TrialStoreError, *, as_json: bool) -> None:
    from trialstore.cli.console import complaints
    from trialstore.render.table import plain_text

    if as_json:
        from trialstore.cli.exact import dumps

        body = {
            "kind": type(error).__name__,
            "message": error.message,
            "facts": {name: _fact(value) for name, value in error.facts.items()},
            "hint": error.hint,
        }
        typer.echo(dumps({"error": body}), err=True)
        return
    console = complaints()
    text = str(error)
    console.print(plain_text(f"error: {error.message}", lines=True), style="bold red")
    if len(text) > len(error.message):
        console.print(plain_text(text[len(error.message) + 1 :], lines=True), style="red")


def _fact(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float | str | list | tuple | dict) else str(value)


def _silence() -> None:
    """Let the interpreter's last flush go nowhere: nobody reads any more."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass
