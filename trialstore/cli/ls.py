"""`trialstore ls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from trialstore.cli.options import AsJson, StorageOptions, Url, open_store

if TYPE_CHECKING:
    from trialstore.store import Store

__all__ = ["ls"]


def ls(url: Url, storage_option: StorageOptions = None, as_json: AsJson = False) -> None:
    """List the experiments of a store.

    Example: trialstore ls results
    """
    store = open_store(url, storage_option)
    from trialstore.facts import experiment_facts

    found = [experiment_facts(experiment) for experiment in store.experiments()]
    if as_json:
        from trialstore.cli.exact import dumps

        typer.echo(dumps(found))
        return
    _print(store, found)


def _print(store: Store, found: list[dict[str, Any]]) -> None:
    from trialstore.cli.console import output
    from trialstore.render.store_page import experiment_columns
    from trialstore.render.table import plain_text, table

    console = output()
    if not found:
        console.print(plain_text(f"{store.url} has no experiments yet"), soft_wrap=True)
        return
    grid, _ = table(experiment_columns(found), console.width)
    console.print(grid)
