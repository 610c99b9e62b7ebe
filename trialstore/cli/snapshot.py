"""`trialstore snapshot`."""

from __future__ import annotations

from typing import Annotated

import typer

from trialstore.cli.moments import AsOfOption, parse_moment
from trialstore.cli.options import AsJson, StorageOptions, Url, open_store

__all__ = ["snapshot"]


def snapshot(
    url: Url,
    experiment: Annotated[
        str | None, typer.Argument(show_default=False, help="Only this one; the whole store if not given.")
    ] = None,
    as_of: AsOfOption = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Print the id of the store's state, to cite it, and the sequence number of each experiment.

    The id names the same state on every machine and in every copy; sql --as-of and diff take it. Nothing is written.

    Example: trialstore snapshot results
    """
    found = open_store(url, storage_option).snapshot(parse_moment(as_of))
    if experiment is not None:
        found = found.only(experiment)
    if as_json:
        from trialstore.cli.exact import dumps

        facts = [
            {"name": one.name, "version": one.version, "seq": one.seq, "counts": one.metadata["counts"]}
            for one in found.experiments
        ]
        typer.echo(dumps({"id": found.id, "experiments": facts}))
        return
    from trialstore.cli.console import output
    from trialstore.render.page import Column, Grid, Page
    from trialstore.render.terminal import TerminalPage

    columns = [
        Column("experiment", [one.name for one in found.experiments]),
        Column("version", [str(one.version) for one in found.experiments], number=True),
        Column("sequence number", [str(one.seq) for one in found.experiments], number=True),
        Column("trials", [f"{sum(one.metadata['counts'].values()):,}" for one in found.experiments], number=True),
    ]
    output().print(TerminalPage(Page(found.id, blocks=[Grid(columns)] if found.experiments else []), whole=True))
