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
    from trialstore.cli.facts import experiment_facts

    found = [experiment_facts(experiment) for experiment in store.experiments()]
    if as_json:
        from trialstore.cli.exact import dumps

        typer.echo(dumps(found))
        return
    _print(store, found)


def _print(store: Store, found: list[dict[str, Any]]) -> None:
    from trialstore.cli.facts import metric_text
    from trialstore.cli.render import Column, output, printable, since, table

    console = output()
    if not found:
        console.print(printable(f"{store.url} has no experiments yet"), soft_wrap=True)
        return
    columns = [
        Column("experiment", [facts["name"] for facts in found]),
        Column("version", [str(facts["version"]) for facts in found], number=True),
        Column("trials", [str(facts["trials"]) for facts in found], number=True),
        Column("succeeded", [str(facts["counts"].get("SUCCEEDED", 0)) for facts in found], number=True),
        Column("params", [str(len(facts["space"]) or "any") for facts in found], number=True),
        Column("metrics", [", ".join(map(metric_text, facts["metrics"])) for facts in found]),
        Column("created (UTC)", [since(facts["created_at"]).rstrip("Z") for facts in found], number=True),
    ]
    grid, _ = table(columns, console.width)
    console.print(grid)
