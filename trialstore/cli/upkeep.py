"""What commands share that are about a store or one of its experiments: arguments, the choice, the progress view."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from trialstore.cli.options import AsJson, ExperimentVersion, StorageOptions, Url, open_store

if TYPE_CHECKING:
    from trialstore.experiment import Experiment
    from trialstore.store import Store

__all__ = ["Grace", "Target", "on_target"]

_CELLS = 60
_Own = ParamSpec("_Own")

OneExperiment = Annotated[
    str | None, typer.Argument(show_default=False, help="Only this one; the whole store if not given.")
]
Grace = Annotated[
    str, typer.Option("--grace", metavar="TIME", help="Leave alone what is younger, such as 90s, 1h30m or 2d.")
]


@dataclass(frozen=True, slots=True)
class Target:
    """What a command is about, and how it answers."""

    url: Url
    experiment: OneExperiment = None
    version: ExperimentVersion = None
    storage_option: StorageOptions = None
    as_json: AsJson = False

    def open(self, *, writable: bool = True) -> Store:
        """The store.

        Raises:
            typer.BadParameter: a version without an experiment.
        """
        if self.version is not None and self.experiment is None:
            raise typer.BadParameter("it needs an EXPERIMENT", param_hint="--version")
        return open_store(self.url, self.storage_option, writable=writable)

    def chosen(self, store: Store) -> Experiment | None:
        """The one experiment that is meant; None for all of them."""
        return None if self.experiment is None else store.experiment(self.experiment, self.version)

    @contextmanager
    def opened(self, verb: str, *, writable: bool = True) -> Iterator[tuple[Store | Experiment, Callable[[str], None]]]:
        """The store or the experiment, and a progress view on the terminal that is told what is done next."""
        with self.open(writable=writable) as store, _telling(verb) as tell:
            chosen = self.chosen(store)
            yield store if chosen is None else chosen, tell


def on_target(command: Callable[Concatenate[Target, _Own], None]) -> Callable[..., None]:
    """A command line of its own for a function whose first argument is a `Target`: the target's options, then its."""
    shared = list(inspect.signature(Target, eval_str=True).parameters.values())
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    def run(**given: Any) -> None:
        target = Target(**{parameter.name: given.pop(parameter.name) for parameter in shared})
        command(target, **given)  # type: ignore[call-arg]

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*shared, *own)]
    run.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    return run


@contextmanager
def _telling(verb: str) -> Iterator[Callable[[str], None]]:
    """A progress view on the terminal while the block runs; the block tells what it does next."""
    from rich.markup import escape

    from trialstore.cli.console import progress
    from trialstore.render.table import plain_text

    with progress() as bar:
        task = bar.add_task(verb, total=None)

        def tell(step: str) -> None:
            bar.update(task, description=escape(plain_text(step).plain[:_CELLS]), advance=1)

        yield tell
