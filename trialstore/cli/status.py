"""`trialstore status`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trialstore.cli.upkeep import Target, on_target

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trialstore.experiment import Experiment
    from trialstore.store import Store

__all__ = ["status"]

_BAR_CELLS = 24


@on_target
def status(
    target: Target,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again and again, until all experiments are done or broken.")
    ] = False,
    interval: Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between two looks.")] = 2.0,
    looks: Annotated[
        int | None, typer.Option("--looks", min=1, show_default=False, help="Look at most this many times.")
    ] = None,
) -> None:
    """Show how far the experiments are, or how far one is, in more detail.

    With --watch and --json, one line of JSON is printed a look.

    Example: trialstore status results tune-redis --watch
    """
    store = target.open(writable=False)

    def look() -> dict[str, Any]:
        chosen = target.chosen(store)
        return _all(store) if chosen is None else _one(chosen)

    if not watch:
        _say(look(), target.as_json)
    else:
        _watch(look, interval, looks, target.as_json)


def _all(store: Store) -> dict[str, Any]:
    from trialstore.facts import experiment_facts

    wanted = ("name", "version", "trials", "counts", "max_trials", "is_done", "is_broken")
    found = [experiment_facts(experiment) for experiment in store.experiments()]
    return {"url": store.url, "experiments": [{name: facts[name] for name in wanted} for facts in found]}


def _one(experiment: Experiment) -> dict[str, Any]:
    import polars as pl

    from trialstore.facts import experiment_facts
    from trialstore.model.status import Status

    facts = experiment_facts(experiment)
    stats = experiment.stats
    running = []
    if any(facts["counts"].get(status.name) for status in (Status.RUNNING, Status.READY)):
        active = pl.col("status").is_in([Status.RUNNING.value, Status.READY.value])
        rows = experiment.history().filter(active).select("trial", "attempt", "worker", "started_at").sort("trial")
        from trialstore.query.collect import collected

        running = collected(rows).to_dicts()
    return {
        **{name: facts[name] for name in ("name", "version", "trials", "counts", "max_trials", "max_broken")},
        "is_done": facts["is_done"],
        "is_broken": facts["is_broken"],
        "objective": facts["metrics"][0] if facts["metrics"] else None,
        "best_trial": stats.best_trials_id,
        "best_value": stats.best_evaluation,
        "progress": stats.progress,
        "eta_s": None if stats.eta is None else stats.eta.total_seconds(),
        "started_at": stats.start_time,
        "last_ended_at": stats.finish_time,
        "duration_s": stats.duration.total_seconds(),
        "trial_seconds": stats.sum_of_trials_time.total_seconds(),
        "running": running,
    }


def _say(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        from trialstore.cli.exact import dumps

        typer.echo(dumps(found))
        return
    from trialstore.cli.console import output

    console = output()
    console.print(_view(found, console.width))


def _ended(found: dict[str, Any]) -> bool:
    experiments = found.get("experiments", [found])
    return bool(experiments) and all(facts["is_done"] or facts["is_broken"] for facts in experiments)


def _watch(look: Callable[[], dict[str, Any]], interval: float, looks: int | None, as_json: bool) -> None:
    if as_json:
        from trialstore.cli.exact import dumps

        _repeat(look, interval, looks, lambda found: typer.echo(dumps(found, indent=None)))
        return
    from rich.live import Live

    from trialstore.cli.console import output

    console = output()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            _repeat(look, interval, looks, lambda found: live.update(_view(found, console.width), refresh=True))
    else:
        _repeat(look, interval, looks, lambda found: console.print(_view(found, console.width)))


def _repeat(
    look: Callable[[], dict[str, Any]], interval: float, looks: int | None, tell: Callable[[dict[str, Any]], None]
) -> None:
    done = 0
    while True:
        found = look()
        tell(found)
        done += 1
        if done == looks or _ended(found):
            return
        time.sleep(interval)


def _view(found: dict[str, Any], width: int) -> RenderableType:
    return _view_all(found, width) if "experiments" in found else _view_one(found, width)


def _view_all(found: dict[str, Any], width: int) -> RenderableType:
    from trialstore.model.status import Status
    from trialstore.render.page import Column
    from trialstore.render.table import plain_text, table

    experiments = found["experiments"]
    if not experiments:
        return plain_text(f"{found['url']} has no experiments yet")
    columns = [
        Column("experiment", [facts["name"] for facts in experiments]),
        Column("version", [str(facts["version"]) for facts in experiments], number=True),
        Column("progress", [_bar(_share(facts), 16) for facts in experiments], number=True),
        Column("done", [_goal(facts) for facts in experiments], number=True),
    ]
    for status_ in Status:
        counts = [facts["counts"].get(status_.name, 0) for facts in experiments]
        if status_ is not Status.SUCCEEDED and any(counts):
            columns.append(Column(status_.name.lower(), [str(count or "") for count in counts], number=True))
    return table(columns, width)[0]


def _view_one(found: dict[str, Any], width: int) -> RenderableType:
    from datetime import timedelta

    from rich.console import Group
    from rich.text import Text

    from trialstore.render.page import Column, style_of_status
    from trialstore.render.table import plain_text, table
    from trialstore.render.values import shown, since, spell_duration

    def line(label: str, value: str | Text) -> Text:
        shown_value = value if isinstance(value, Text) else plain_text(value)
        return Text().append(f"{label:<10}", style="dim").append_text(shown_value)

    head = plain_text(found["name"])
    head.stylize("bold")
    head.append(f"  version {found['version']}", style="dim")
    if found["is_done"]:
        head.append("  done", style="bold green")
    if found["is_broken"]:
        head.append(f"  broken: {found['max_broken']} trials or more failed", style="bold red")
    lines: list[RenderableType] = [head, Text(f"{_bar(_share(found), _BAR_CELLS)}  {_goal(found)} succeeded")]
    statuses = Text("   ").join(
        Text(f"{count} {name.lower()}", style=style_of_status(name)) for name, count in found["counts"].items()
    )
    lines += [line("trials", statuses)] if found["counts"] else [line("trials", "none yet")]
    if found["best_trial"] is not None:
        objective = found["objective"]
        goal = "lowest" if objective["minimize"] else "highest"
        best = f"{objective['name']} {shown(found['best_value'])} by trial {found['best_trial']} ({goal})"
        lines.append(line("best", best))
    if found["started_at"] is not None:
        lines.append(line("started", since(found["started_at"])))
        took = spell_duration(timedelta(seconds=found["duration_s"]))
        lines.append(line("took", f"{took}, {spell_duration(timedelta(seconds=found['trial_seconds']))} in trials"))
    if found["eta_s"]:
        lines.append(line("left", f"about {spell_duration(timedelta(seconds=found['eta_s']))}"))
    if found["running"]:
        running = found["running"]
        columns = [
            Column("trial", [str(row["trial"]) for row in running], number=True),
            Column("attempt", [str(row["attempt"]) for row in running], number=True),
            Column("worker", [row["worker"] or "" for row in running]),
            Column("running since (UTC)", [since(row["started_at"]).rstrip("Z") for row in running], number=True),
        ]
        lines += [Text(), table(columns, width)[0]]
    return Group(*lines)


def _share(facts: dict[str, Any]) -> float:
    goal = facts["max_trials"] or facts["trials"]
    return min(1.0, facts["counts"].get("SUCCEEDED", 0) / goal) if goal else 0.0


def _goal(facts: dict[str, Any]) -> str:
    return f"{facts['counts'].get('SUCCEEDED', 0)} of {facts['max_trials'] or facts['trials']}"


def _bar(share: float, cells: int) -> str:
    full = int(share * cells)
    return "█" * full + "░" * (cells - full) + f" {share:>4.0%}"
