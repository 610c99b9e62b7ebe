"""What `verify`, `vacuum`, `repair` and `checkpoint` share: arguments, the progress view, and the choice of part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trialstore.experiment import Experiment
    from trialstore.store import Store

__all__ = ["Grace", "OneExperiment", "chosen", "telling"]

_CELLS = 60

OneExperiment = Annotated[
    str | None, typer.Argument(show_default=False, help="Only this one; the whole store if not given.")
]
Grace = Annotated[
    str, typer.Option("--grace", metavar="TIME", help="Leave alone what is younger, such as 90s, 1h30m or 2d.")
]


def chosen(store: Store, experiment: str | None, version: int | None) -> Store | Experiment:
    """What the command is about.

    Raises:
        typer.BadParameter: a version without an experiment.
    """
    if experiment is None:
        if version is not None:
            raise typer.BadParameter("it needs an EXPERIMENT", param_hint="--version")
        return store
    return store.experiment(experiment, version)


@contextmanager
def telling(verb: str) -> Iterator[Callable[[str], None]]:
    """A progress view on the terminal while the block runs; the block tells what it does next."""
    from rich.markup import escape

    from trialstore.cli.render import printable, progress

    with progress() as bar:
        task = bar.add_task(verb, total=None)

        def tell(step: str) -> None:
            bar.update(task, description=escape(printable(step).plain[:_CELLS]), advance=1)

        yield tell
