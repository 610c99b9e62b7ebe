"""`trialstore demo`: a real tuning job on real input, in one command."""

from __future__ import annotations

from typing import Annotated

import typer

from trialstore.cli.options import AsJson, StorageOptions, parse_storage_options

__all__ = ["demo"]


def demo(
    url: Annotated[
        str, typer.Option(help="Where the store is: a folder, or any URL that trialstore opens.")
    ] = "trialstore-demo",
    workers: Annotated[int, typer.Option(min=2, help="Worker processes; one of them will be killed.")] = 4,
    trials: Annotated[int, typer.Option(min=8, help="Trials that shall succeed.")] = 48,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    rows: Annotated[
        int | None,
        typer.Option(min=1024, max=336_776, help="Write only so many rows of the table; all 336,776 by default."),
    ] = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Run a real tuning job on real data, with four worker processes on one store.

    It searches for the best Parquet writer settings for a table of flights. Each trial writes and reads the table with
    other settings and reports the file's size and both times. One worker is killed in the middle of a trial, and
    another one finishes that trial.

    Example: trialstore demo --url s3://bucket/demo --trials 100
    """
    from rich.console import Console

    from trialstore.demo.run import Demo
    from trialstore.demo.show import findings, show_findings, watching

    if url.startswith("memory:"):
        raise typer.BadParameter("worker processes cannot share memory://; name a folder or a bucket")
    console = Console(stderr=as_json)
    options = parse_storage_options(url, storage_option)
    search = Demo(url, workers=workers, trials=trials, seed=seed, rows=rows, storage_options=options)
    console.print(
        f"Searching for the best Parquet settings: {workers} workers, {trials} trials, store", search.store.url
    )
    with search.store:
        with watching(console) as view:
            search.run(view.show)
        if as_json:
            from trialstore.cli.exact import dumps

            typer.echo(dumps(findings(search)))
        else:
            show_findings(console, search)
