"""`trialstore repair`."""

from __future__ import annotations

from typing import Annotated

import typer

from trialstore.cli.options import parse_duration
from trialstore.cli.upkeep import Grace, Target, on_target
from trialstore.cli.verify import print_problems

__all__ = ["repair"]


@on_target
def repair(
    target: Target,
    grace: Grace = "1d",
    fast: Annotated[bool, typer.Option("--fast", help="Afterwards look at names and sizes alone.")] = False,
) -> None:
    """Mend what can be mended, and say what was done. Exit code 1 when something is still wrong.

    Damaged checkpoints are replaced; files that a killed worker wrote and never announced are taken in or removed.

    Example: trialstore repair results
    """
    keep = parse_duration(grace)
    with target.opened("repairing") as (chosen, tell):
        result = chosen.repair(grace=keep, fast=fast, progress=tell)
    if target.as_json:
        from dataclasses import asdict

        from trialstore.cli.exact import dumps

        typer.echo(dumps(asdict(result)))
    else:
        from trialstore.cli.console import output
        from trialstore.render.table import plain_text

        console = output()
        for item in result.done:
            console.print(plain_text(f"{item.blob}: {item.what}"), soft_wrap=True)
        if not result.done:
            console.print("there was nothing to mend")
        print_problems(console, result.problems)
    if result.problems:
        raise typer.Exit(1)
