"""`trialstore show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trialstore.cli.options import AsJson, ExperimentVersion, StorageOptions, Url, open_store

if TYPE_CHECKING:
    from trialstore.experiment import Experiment

__all__ = ["show"]


def show(
    url: Url,
    experiment: Annotated[str, typer.Argument(show_default=False, help="Its name.")],
    trial: Annotated[
        int | None, typer.Option("--trial", "-t", min=0, show_default=False, help="Show this trial instead.")
    ] = None,
    version: ExperimentVersion = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many of the best and newest trials to show.")] = 5,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Show an experiment with its best and newest trials, or one trial in full.

    Example: trialstore show results tune-redis --trial 7
    """
    chosen = open_store(url, storage_option).experiment(experiment, version)
    facts = _experiment(chosen, limit) if trial is None else _trial(chosen, trial)
    if as_json:
        from trialstore.cli.exact import dumps

        typer.echo(dumps(facts))
        return
    from trialstore.cli.console import output
    from trialstore.render.experiment_page import experiment_page
    from trialstore.render.terminal import TerminalPage
    from trialstore.render.trial_page import trial_page

    page = experiment_page(facts) if trial is None else trial_page(facts)
    output().print(TerminalPage(page, whole=True), soft_wrap=True)


def _experiment(experiment: Experiment, limit: int) -> dict[str, Any]:
    from trialstore.facts import experiment_facts, newest_numbers, trial_facts

    facts = experiment_facts(experiment)
    best = experiment._best_numbers(limit)
    newest = [number for number in newest_numbers(experiment, 2 * limit) if number not in best][:limit]
    facts["best"] = [trial_facts(experiment.trial(number)) for number in best]
    facts["newest"] = [trial_facts(experiment.trial(number)) for number in newest]
    return facts


def _trial(experiment: Experiment, number: int) -> dict[str, Any]:
    from dataclasses import asdict

    from trialstore.facts import trial_facts

    trial = experiment.trial(number)
    facts = {"experiment": experiment.name, "version": experiment.version, **trial_facts(trial)}
    facts["reported"] = _summary(experiment, "metrics", number)
    facts["telemetry"] = _summary(experiment, "telemetry", number)
    facts["artifacts"] = [asdict(artifact) for artifact in trial.artifacts().values()]
    return facts


def _summary(experiment: Experiment, table: str, number: int) -> list[dict[str, Any]]:
    """How many values of each name were logged, and their range."""
    import polars as pl

    from trialstore.query.collect import collected

    frame = experiment.metrics(number) if table == "metrics" else experiment.telemetry(number)
    value = pl.col("value")
    return collected(
        frame.group_by("name")
        .agg(
            pl.len().alias("rows"),
            value.min().alias("min"),
            value.max().alias("max"),
            value.sort_by("at").last().alias("last"),
            pl.col("text").sort_by("at").last().alias("last_text"),
            pl.col("at").min().alias("first_at"),
            pl.col("at").max().alias("last_at"),
        )
        .sort("name")
    ).to_dicts()
