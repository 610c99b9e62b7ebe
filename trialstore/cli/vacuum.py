"""`trialstore vacuum`."""

from __future__ import annotations

from typing import Annotated

import typer

from trialstore.cli.options import AsJson, ExperimentVersion, StorageOptions, Url, open_store, parse_duration
from trialstore.cli.upkeep import Grace, OneExperiment, chosen, telling

__all__ = ["vacuum"]


def vacuum(
    url: Url,
    experiment: OneExperiment = None,
    version: ExperimentVersion = None,
    grace: Grace = "1d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be deleted, and why.")] = False,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Delete files that nobody needs any more, and say why of each.

    Safe beside running workers and readers. History is kept for the time that the store was created with.

    Example: trialstore vacuum results --dry-run
    """
    keep = parse_duration(grace)
    with open_store(url, storage_option, writable=not dry_run) as store, telling("vacuuming") as tell:
        found = chosen(store, experiment, version).vacuum(grace=keep, dry_run=dry_run, progress=tell)
    if as_json:
        from dataclasses import asdict

        from trialstore.cli.exact import dumps

        typer.echo(dumps([asdict(waste) for waste in found]))
        return
    from trialstore.cli.render import output, printable

    console = output()
    for waste in found:
        console.print(printable(f"{waste.blob}: {waste.reason}"), soft_wrap=True)
    verb = "would be deleted" if dry_run else "deleted"
    console.print(f"{len(found)} files of {sum(waste.size_bytes for waste in found)} bytes {verb}")
