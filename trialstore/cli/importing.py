"""`trialstore import`: what other tools have stored, brought into a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trialstore.cli.mlos import import_mlos
from trialstore.cli.options import AsJson, StorageOptions, Url, parse_storage_options

if TYPE_CHECKING:
    from trialstore.integrations.optuna import CopiedStudy

__all__ = ["importing"]

importing = typer.Typer(no_args_is_help=True, help="Bring in what other tools have stored.")


@importing.callback()
def _group() -> None:
    pass


@importing.command("optuna")
def import_optuna(
    source: Annotated[
        str,
        typer.Argument(
            show_default=False, help="A database (sqlite:///study.db, postgresql://…), redis://…, or a journal file."
        ),
    ],
    url: Url,
    study: Annotated[
        list[str] | None,
        typer.Option("--study", show_default=False, help="Only this one; may be repeated. All if not given."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", show_default=False, help="What the one study shall be called in the store.")
    ] = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Copy studies from any other storage of Optuna, which is only read. The store is made where there is none.

    Started again, after it was stopped or because the studies have grown, it adds what is missing.

    Example: trialstore import optuna sqlite:///study.db results
    """
    from dataclasses import asdict

    from trialstore.cli.console import bars
    from trialstore.integrations.optuna import import_studies

    with bars() as tell:
        options = parse_storage_options(url, storage_option)
        copied = import_studies(source, url, studies=study, name=name, storage_options=options, progress=tell)
    if as_json:
        from trialstore.cli.exact import dumps

        typer.echo(dumps([asdict(one) for one in copied]))
        return
    _print(copied)


importing.command("mlos")(import_mlos)


def _print(copied: list[CopiedStudy]) -> None:
    from trialstore.cli.console import output
    from trialstore.render.page import Column
    from trialstore.render.table import table

    console = output()
    if not copied:
        console.print("the source has no studies")
        return
    columns = [
        Column("study", [one.name for one in copied]),
        Column("trials", [str(one.trials) for one in copied], number=True),
        Column("added", [str(one.added) for one in copied], number=True),
        Column("brought up to date", [str(one.updated) for one in copied], number=True),
    ]
    console.print(table(columns, console.width)[0])
