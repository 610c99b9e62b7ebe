"""`trialstore run`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from trialstore.cli.options import AsJson, ExperimentVersion, StorageOptions, Url, open_store, parse_duration

if TYPE_CHECKING:
    from trialstore.runner.drive import RunResult

__all__ = ["run"]


def run(
    function: Annotated[
        str, typer.Argument(show_default=False, help="Where the function is: package.module:function.")
    ],
    url: Url,
    experiment: Annotated[str, typer.Argument(show_default=False, help="The experiment.")],
    version: ExperimentVersion = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            "-n",
            min=1,
            show_default=False,
            help="Evaluate so many, drawn from the space where fewer are pending; what is pending if not given.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=0, show_default=False, help="Worker processes; one a core if not given."),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option("--time-limit", metavar="TIME", show_default=False, help="End a trial that takes longer."),
    ] = None,
    retries: Annotated[
        int, typer.Option("--retries", min=0, help="Try a trial that crashed or timed out again, so often.")
    ] = 0,
    takes: Annotated[
        str, typer.Option("--takes", help="What the function is given: trial, params or keywords.")
    ] = "trial",
    seed: Annotated[int, typer.Option("--seed", help="Seed of what is drawn from the space.")] = 0,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate the trials of an experiment with a Python function.

    The module is looked for in this folder first. Ctrl-C gives the trials under way back, for the next run. TIME is
    such as 90s, 30m, 1h30m or 2d.

    Example: trialstore run tuning.redis:benchmark results tune-redis -n 100 -w 4 --time-limit 10m
    """
    limit = None if time_limit is None else parse_duration(time_limit, option="--time-limit").total_seconds()
    sys.path.insert(0, os.getcwd())
    with open_store(url, storage_option, writable=True) as store:
        chosen = store.experiment(experiment, version)
        done = chosen.run(
            function,
            n_trials=trials,
            workers=workers,
            time_limit_s=limit,
            retries=retries,
            takes=takes,  # type: ignore[arg-type]
            seed=seed,
        )
        best = chosen.best()
        found = None if best is None else {"trial": best.number, "metrics": dict(best.metrics)}
    if as_json:
        from trialstore.cli.exact import dumps

        answer = {
            "trials": {str(number): status for number, status in done.trials.items()},
            "retried": {str(number): again for number, again in done.retried.items()},
            "stopped": done.stopped,
            "best": found,
        }
        typer.echo(dumps(answer))
        return
    _print(done, found)


def _print(done: RunResult, best: dict[str, object] | None) -> None:
    from trialstore.cli.console import output
    from trialstore.render.table import plain_text

    counts = ", ".join(f"{count} {status.value.lower()}" for status, count in done.counts.items())
    console = output()
    console.print(f"{len(done.trials)} trials evaluated" + (f": {counts}" if counts else ""))
    if done.retried:
        console.print(f"{len(done.retried)} of them were tried again")
    if done.stopped is not None:
        console.print(f"ended early: {done.stopped}")
    if best is not None:
        console.print(plain_text(f"best so far: trial {best['trial']}, {best['metrics']}"))
