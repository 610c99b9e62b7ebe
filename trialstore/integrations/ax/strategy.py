"""How Ax goes on: a generation strategy as a document, whose runs are those that the trials' rows hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ax.core.experiment import Experiment as AxExperiment
from ax.core.generator_run import GeneratorRun
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.storage.json_store.decoder import generation_strategy_from_json

from trialstore.experiment import Experiment
from trialstore.integrations.ax.coder import Coder, coder_of
from trialstore.integrations.ax.loading import load_run, load_whole
from trialstore.integrations.ax.mirror import mirror_of
from trialstore.integrations.ax.rows import encode_run
from trialstore.integrations.ax.saving import found
from trialstore.model.errors import NotFoundError, UsageError
from trialstore.store import Store

__all__ = [
    "STRATEGY",
    "load_generation_strategy",
    "load_strategy",
    "save_generation_strategy",
    "save_strategy",
    "strategy_id",
]

STRATEGY = "ax_strategy"
"""The document."""

_APART = ("generator_runs", "experiment", "db_id", "__type")
_LOOSE = 2**40


def save_generation_strategy(store: Store, strategy: GenerationStrategy, *, registry_bundle: Any = None) -> None:
    """Save a generation strategy of an experiment that was saved before; durable when it returns.

    An experiment has one: the last that was saved. Runs that are in saved trials are named and not stored again.

    Args:
        store: Where to.
        strategy: It must belong to an experiment.
        registry_bundle: As for `save_experiment`.

    Raises:
        UsageError: it belongs to no experiment, or something in it cannot be stored.
        ExperimentNotFoundError: its experiment was not saved.
    """
    save_strategy(store, strategy, coder_of(registry_bundle))


def load_generation_strategy(
    store: Store,
    name: str,
    *,
    experiment: AxExperiment | None = None,
    registry_bundle: Any = None,
    reduced_state: bool = False,
) -> GenerationStrategy:
    """The generation strategy of the experiment of a name.

    Args:
        store: Where from.
        name: Of the experiment.
        experiment: As it was loaded; it is loaded when it is not given.
        registry_bundle: As for `save_experiment`.
        reduced_state: Whether `experiment` was, or is to be, loaded so; the last run has its state all the same.

    Raises:
        NotFoundError: the experiment has none.
    """
    return load_strategy(store, name, coder_of(registry_bundle), experiment=experiment, reduced_state=reduced_state)


def strategy_id(kept: Experiment) -> int | None:
    """The id of the generation strategy that an experiment has, if any."""
    _, stored = kept.document(STRATEGY)
    return None if stored is None else int(stored["id"])


def save_strategy(
    store: Store,
    strategy: GenerationStrategy,
    coder: Coder,
    *,
    new_runs: Sequence[GeneratorRun] = (),
    reduce: bool = False,
) -> None:
    """See `save_generation_strategy`.

    Args:
        store: Where to.
        strategy: What to save.
        coder: Encodes what is Ax's.
        new_runs: Runs that belong to it although it does not know them.
        reduce: Leave out the generators' state of all runs but the last.
    """
    experiment = strategy._experiment
    if experiment is None:
        raise UsageError("generation strategy has no experiment", hint="strategy.experiment = experiment")
    kept = found(store, experiment)
    members = {name: coder.encode(v) for name, v in coder.shallow(strategy).items() if name not in _APART}
    runs = list(strategy._generator_runs)
    runs += [run for run in new_runs if not any(run is one for one in runs)]
    _, before = kept.document(STRATEGY)
    number = (before or {"id": 0})["id"] + (strategy.db_id is None or before is None)
    stored = {"id": number, "members": members, "runs": _references(kept, experiment, runs, coder, reduce)}
    if stored != before:
        kept.set_document(STRATEGY, stored)
    strategy.db_id = number
    for position, run in enumerate(runs):
        _number(run, position)


def _references(
    kept: Experiment, experiment: AxExperiment, runs: Sequence[GeneratorRun], coder: Coder, reduce: bool
) -> list[list[Any]]:
    """The runs: ``["trials", index, position, count]`` for `count` trials in a row, or ``["run", encoded]``."""
    mirror = mirror_of(kept)
    places = {
        id(run): (index, position)
        for index, trial in experiment.trials.items()
        for position, run in enumerate(trial.generator_runs)
        if position < mirror.run_count(index)
    }
    coded: list[list[Any]] = []
    for run in runs:
        place = places.get(id(run))
        last = coded[-1] if coded else None
        if place is None:
            coded.append(["run", encode_run(run, coder, reduce=reduce and run is not runs[-1])])
        elif last is not None and last[0] == "trials" and place == (last[1] + last[3], last[2]):
            last[3] += 1
        else:
            coded.append(["trials", *place, 1])
    return coded


def load_strategy(
    store: Store,
    name: str,
    coder: Coder,
    *,
    experiment: AxExperiment | None = None,
    reduced_state: bool = False,
) -> GenerationStrategy:
    """See `load_generation_strategy`."""
    kept = store.experiment(name)
    _, stored = kept.document(STRATEGY)
    if stored is None:
        raise NotFoundError("experiment has no generation strategy", experiment=name)
    if experiment is None:
        experiment = load_whole(store, name, coder, reduced_state=reduced_state)
    strategy = generation_strategy_from_json(
        {**stored["members"], "db_id": stored["id"], "experiment": None, "generator_runs": []},
        experiment=experiment,
        decoder_registry=dict(coder.decoders),
        class_decoder_registry=dict(coder.class_decoders),
    )
    runs: list[GeneratorRun] = []
    for kind, *rest in stored["runs"]:
        if kind == "run":
            run = load_run(rest[0], coder, reduced=False)
            _number(run, len(runs))
            runs.append(run)
            continue
        first, position, count = rest
        runs += [experiment.trials[index].generator_runs[position] for index in range(first, first + count)]
    if reduced_state and stored["runs"] and stored["runs"][-1][0] == "trials":
        _, first, position, count = stored["runs"][-1]
        whole = _whole_run(kept, first + count - 1, position, coder)
        whole.db_id = runs[-1].db_id  # type: ignore[assignment]
        runs[-1] = whole
    strategy._generator_runs = runs
    return strategy


def _whole_run(kept: Experiment, index: int, position: int, coder: Coder) -> GeneratorRun:
    for known in mirror_of(kept).known[index].values():
        runs = kept.trial(known.number).extras.get("ax_runs")
        if runs is not None:
            return load_run(runs[position], coder, reduced=False)
    raise NotFoundError("trial has no generator runs", experiment=kept.name, trial_index=index)


def _number(run: GeneratorRun, position: int) -> None:
    """Ids of a run that is in no trial."""
    if run.db_id is None:
        run.db_id = _LOOSE + position
        for arm in run.arms:
            if arm.db_id is None:
                arm.db_id = _LOOSE + position
