"""`trialstore vacuum`."""

from __future__ import annotations

from typing import Annotated

import typer

from trialstore.cli.options import parse_duration
from trialstore.cli.upkeep import Grace, Target, on_target

__all__ = ["vacuum"]


@on_target
def vacuum(
    target: Target,
    grace: Grace = "1d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be deleted, and why.")] = False,
) -> None:
    """Delete files that nobody needs any more, and say why of each.

    Safe beside running workers and readers. History is kept for the time that the store was created with.

    Example: trialstore vacuum results --dry-run
    """
    keep = parse_duration(grace)
    with target.opened("vacuuming", writable=not dry_run) as (chosen, tell):
        found = chosen.vacuum(grace=keep, dry_run=dry_run, progress=tell)
    if target.as_json:
        from dataclasses import asdict

        from trialstore.cli.exact import dumps

        typer.echo(dumps([asdict(waste) for waste in found]))
        return
    from trialstore.cli.console import output
    from trialstore.render.table import plain_text

    console = output()
    for waste in found:
        console.print(plain_text(f"{waste.blob}: {waste.reason}"), soft_wrap=True)
    verb = "would be deleted" if dry_run else "deleted"
    console.print(f"{len(found)} files of {sum(waste.size_bytes for waste in found)} bytes {verb}")
