"""`trialstore export`: what is in a store, for other tools."""

from __future__ import annotations

import typer

from trialstore.cli.mlos import export_mlos

__all__ = ["exporting"]

exporting = typer.Typer(no_args_is_help=True, help="Give other tools what is in a store.")


@exporting.callback()
def _group() -> None:
    pass


exporting.command("mlos")(export_mlos)
