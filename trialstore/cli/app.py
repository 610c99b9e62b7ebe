"""The tree of commands. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from trialstore.cli.checkpoint import checkpoint
from trialstore.cli.compact import compact
from trialstore.cli.demo import demo
from trialstore.cli.diff import diff
from trialstore.cli.exporting import exporting
from trialstore.cli.failures import exit_codes
from trialstore.cli.importing import importing
from trialstore.cli.ls import ls
from trialstore.cli.merge import dump, load, merge
from trialstore.cli.repair import repair
from trialstore.cli.run import run
from trialstore.cli.show import show
from trialstore.cli.snapshot import snapshot
from trialstore.cli.sql import sql
from trialstore.cli.status import status
from trialstore.cli.vacuum import vacuum
from trialstore.cli.verify import verify
from trialstore.cli.version import version

__all__ = ["app"]


class _Commands(TyperGroup):
    """The commands, with errors of the store turned into exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        with exit_codes(ctx):
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Look into a trialstore: the results of trials in one folder or bucket.

URL is a folder, or an address such as s3://bucket/results, gs://…, az://… or file:///….

[bold]Exit codes[/bold]: 0 success, 1 an error of the store, 2 a wrong call, 130 Ctrl-C, 141 a closed pipe.""",
)


def _say_version(value: bool) -> None:
    if value:
        version()
        raise typer.Exit


@app.callback()
def _root(
    version_: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and leave."),
    ] = False,
) -> None:
    pass


for _command in (
    ls,
    show,
    status,
    sql,
    run,
    snapshot,
    diff,
    compact,
    checkpoint,
    vacuum,
    verify,
    repair,
    merge,
    dump,
    load,
    demo,
    version,
):
    app.command()(_command)

app.add_typer(importing, name="import")
app.add_typer(exporting, name="export")
