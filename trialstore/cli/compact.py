"""`trialstore compact`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trialstore.cli.options import parse_duration
from trialstore.cli.upkeep import Target, on_target

if TYPE_CHECKING:
    from datetime import timedelta

    from trialstore.experiment import Experiment

__all__ = ["compact"]

_NAME_CELLS = 30


@on_target
def compact(
    target: Target,
    grace: Annotated[
        str | None,
        typer.Option(
            "--grace",
            metavar="TIME",
            show_default=False,
            help="Delete files replaced longer ago than this; by default they are kept as long as the store's history.",
        ),
    ] = None,
) -> None:
    """Merge many small files into few large ones, so that reading is quick.

    Safe beside running workers. TIME is such as 90s, 30m, 1h30m or 2d. With --grace 0 the folder holds every row once,
    for readers that know nothing of trialstore; the past can then not be read any more.

    Example: trialstore compact results
    """
    keep = None if grace is None else parse_duration(grace)
    with target.open() as store:
        chosen = target.chosen(store)
        done = _run(store.experiments() if chosen is None else [chosen], keep)
    if target.as_json:
        from trialstore.cli.exact import dumps

        typer.echo(dumps(done))
        return
    _print(done)


def _run(experiments: list[Experiment], keep: timedelta | None) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from rich.markup import escape

    from trialstore.cli.console import progress
    from trialstore.model.part import TABLES
    from trialstore.render.table import plain_text

    done = []
    with progress() as bar:
        task = bar.add_task("compacting", total=len(experiments) * len(TABLES))
        for index, experiment in enumerate(experiments):
            name = escape(plain_text(experiment.name).plain[:_NAME_CELLS])

            def tell(table: str, start: int = index * len(TABLES), name: str = name) -> None:
                bar.update(task, description=f"{name}: {table}", completed=start + TABLES.index(table))

            result = experiment.compact(grace=keep, progress=tell)
            done.append({"name": experiment.name, "version": experiment.version, **asdict(result)})
            bar.update(task, completed=(index + 1) * len(TABLES))
    return done


def _print(done: list[dict[str, Any]]) -> None:
    from trialstore.cli.console import output
    from trialstore.render.page import Column
    from trialstore.render.table import table

    console = output()
    if not done:
        console.print("the store has no experiments yet")
        return
    columns = [
        Column("experiment", [facts["name"] for facts in done]),
        Column("version", [str(facts["version"]) for facts in done], number=True),
        Column("trials moved to files", [str(facts["flushed_trials"]) for facts in done], number=True),
        Column("files before", [str(facts["parts_before"]) for facts in done], number=True),
        Column("files now", [str(facts["parts_after"]) for facts in done], number=True),
        Column("old files deleted", [str(facts["deleted_files"]) for facts in done], number=True),
    ]
    console.print(table(columns, console.width)[0])
