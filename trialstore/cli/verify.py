"""`trialstore verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trialstore.cli.upkeep import Target, on_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from trialstore.maintenance.problem import Problem

__all__ = ["print_problems", "verify"]


@on_target
def verify(
    target: Target,
    fast: Annotated[bool, typer.Option("--fast", help="Look at names and sizes alone; read no data.")] = False,
) -> None:
    """Read everything and list what is not as it was written. Exit code 1 when there is something.

    Safe beside running workers; nothing is written.

    Example: trialstore verify results --fast
    """
    with target.opened("verifying", writable=False) as (chosen, tell):
        report = chosen.verify(fast=fast, progress=tell)
    if target.as_json:
        from dataclasses import asdict

        from trialstore.cli.exact import dumps

        typer.echo(dumps(asdict(report)))
    else:
        from trialstore.cli.console import output

        console = output()
        console.print(f"{report.blobs} blobs of {report.size_bytes} bytes looked at")
        print_problems(console, report.problems)
        if report.ok:
            console.print("no problem found", style="green")
    if not report.ok:
        raise typer.Exit(1)


def print_problems(console: Console, problems: Sequence[Problem]) -> None:
    """Say what is wrong, a blob after the other."""
    from trialstore.render.table import plain_text

    for problem in problems:
        console.print(plain_text(f"{problem.kind}: {problem.blob}"), style="bold red", soft_wrap=True)
        console.print(plain_text(f"  {problem.what}"), soft_wrap=True)
        console.print(plain_text(f"  hint: {problem.hint}"), soft_wrap=True)
    if problems:
        console.print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}", style="red")
