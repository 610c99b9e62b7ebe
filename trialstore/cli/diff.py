"""`trialstore diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trialstore.cli.moments import MOMENT, parse_moment
from trialstore.cli.options import AsJson, StorageOptions, Url, open_store

if TYPE_CHECKING:
    from trialstore.query.diff import SnapshotDiff

__all__ = ["diff"]


def diff(
    url: Url,
    before: Annotated[str, typer.Argument(show_default=False, help=f"{MOMENT}.")],
    after: Annotated[str, typer.Argument(show_default=False, help="The same; the present if not given.")] = "now",
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most trials to show; JSON has all.")] = 20,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Tell what changed between two moments: experiments, trials, their fields, and how many rows there are.

    Values are exact JSON. The past reaches back as far as the store keeps history, 7 days if nothing else was chosen.

    Example: trialstore diff results 1d
    """
    store = open_store(url, storage_option)
    found = store.snapshot(parse_moment(before)).diff(store.snapshot(parse_moment(after)))
    if as_json:
        from trialstore.cli.exact import dumps

        typer.echo(dumps(_facts(found)))
        return
    from trialstore.cli.console import output
    from trialstore.render.terminal import TerminalPage

    output().print(TerminalPage(found.page(limit)))


def _facts(found: SnapshotDiff) -> dict[str, object]:
    from trialstore.query.collect import collected

    tables = ("experiments", "trials", "fields", "rows")
    facts: dict[str, object] = {"before": found.before.id, "after": found.after.id}
    return facts | {table: collected(getattr(found, table)).to_dicts() for table in tables}
