"""A pytest plugin that puts a store under Ax's own storage seam, so that Ax's suites, unchanged, run on it.

All that Ax's clients, orchestrator and tests do with storage goes through some functions of `ax.storage.sqa_store`. The
plugin replaces them, before a test module imports them, by ours. With TRIALSTORE_AX_CONTROL=1 each of ours raises: a
suite that passes even then tests something else.

    pytest -p tests.integrations.ax.seam --pyargs ax.storage.sqa_store.tests.test_with_db_settings_base
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any

from ax.exceptions.core import ExperimentNotFoundError, ObjectNotFoundError
from ax.storage.sqa_store import db, delete, load, save, with_db_settings_base

import trialstore as ts
from trialstore.integrations.ax.cards import save_card
from trialstore.integrations.ax.coder import coder_of
from trialstore.integrations.ax.loading import load_whole
from trialstore.integrations.ax.saving import found, save_head, save_some, save_whole
from trialstore.integrations.ax.strategy import load_strategy, save_strategy, strategy_id
from trialstore.model.errors import DuplicateExperimentError, NotFoundError

CONTROL = os.environ.get("TRIALSTORE_AX_CONTROL") == "1"
ALWAYS = os.environ.get("TRIALSTORE_AX_ALWAYS") == "1"

calls: dict[str, int] = {}
_stores: list[ts.Store] = []


def store() -> ts.Store:
    if not _stores:
        fresh()
    return _stores[-1]


def fresh(*_: Any, **__: Any) -> None:
    """A new store, as the tests' ``init_test_engine_and_session_factory`` makes a new database."""
    _stores.append(ts.open(f"memory://ax-{uuid.uuid4().hex}", maintenance=False))


def same(*_: Any, **__: Any) -> None:
    """An engine that is there already is used again."""
    store()


def _save_experiment(experiment: Any, encoder: Any, decoder: Any, return_sqa: bool = False) -> None:
    try:
        save_whole(store(), experiment, coder_of(encoder.config))
    except DuplicateExperimentError as error:
        raise ValueError(f"An experiment already exists with the name {experiment.name}") from error


def save_experiment(experiment: Any, config: Any = None, **_: Any) -> None:
    save_whole(store(), experiment, coder_of(config))


def _load_experiment(experiment_name: str, decoder: Any, load_trials_in_batches_of_size: Any = None, **how: Any) -> Any:
    try:
        return load_whole(store(), experiment_name, coder_of(decoder.config), **how)
    except NotFoundError as error:
        raise ExperimentNotFoundError(f"Experiment '{experiment_name}' not found.") from error


def load_experiment(experiment_name: str, config: Any = None, **how: Any) -> Any:
    how.pop("load_trials_in_batches_of_size", None)
    return load_whole(store(), experiment_name, coder_of(config), **how)


def _save_generation_strategy(generation_strategy: Any, encoder: Any, decoder: Any) -> int:
    experiment = generation_strategy._experiment
    if experiment is not None and experiment.db_id is None:
        raise ValueError(f"Experiment {experiment.name} should be saved before generation strategy.")
    save_strategy(store(), generation_strategy, coder_of(encoder.config))
    return int(generation_strategy.db_id)


def _load_generation_strategy_by_experiment_name(
    experiment_name: str,
    decoder: Any,
    experiment: Any = None,
    reduced_state: bool = False,
    skip_runners_and_metrics: bool = False,
) -> Any:
    coder = coder_of(decoder.config)
    try:
        return load_strategy(store(), experiment_name, coder, experiment=experiment, reduced_state=reduced_state)
    except NotFoundError as error:
        raise ObjectNotFoundError(str(error)) from error


def _save_or_update_trials(
    experiment: Any,
    trials: Any,
    encoder: Any,
    decoder: Any,
    batch_size: int | None = None,
    reduce_state_generator_runs: bool = False,
) -> None:
    kept = found(store(), experiment)
    coder = coder_of(encoder.config)
    save_some(kept, experiment, list(trials), coder, store=store(), reduce=reduce_state_generator_runs)


def _update_generation_strategy(
    generation_strategy: Any,
    generator_runs: Any,
    encoder: Any,
    decoder: Any,
    batch_size: int | None = None,
    reduce_state_generator_runs: bool = False,
) -> None:
    save_strategy(
        store(),
        generation_strategy,
        coder_of(encoder.config),
        new_runs=generator_runs,
        reduce=reduce_state_generator_runs,
    )


def update_runner_on_experiment(experiment: Any, runner: Any, encoder: Any, decoder: Any) -> None:
    save_head(store(), experiment, coder_of(encoder.config), only=("runner", "_trial_type_to_runner"))


def update_properties_on_experiment(experiment_with_updated_properties: Any, config: Any = None) -> None:
    save_head(store(), experiment_with_updated_properties, coder_of(config), only=("properties",))


def update_experiment_status(experiment: Any, config: Any = None) -> None:
    save_head(store(), experiment, coder_of(config), only=("status",))


def save_analysis_card(analysis_card: Any, experiment: Any, config: Any = None) -> None:
    save_card(store(), experiment, analysis_card, coder_of(config))


def delete_experiment(exp_name: str) -> None:
    if exp_name in store():
        store().drop_experiment(exp_name)


def _get_experiment_id(experiment_name: str, config: Any) -> int | None:
    return store().experiment(experiment_name).id if experiment_name in store() else None


def get_generation_strategy_id(experiment_name: str, decoder: Any) -> int | None:
    return strategy_id(store().experiment(experiment_name)) if experiment_name in store() else None


OURS: tuple[Callable[..., Any], ...] = (
    _get_experiment_id,
    _load_experiment,
    _load_generation_strategy_by_experiment_name,
    _save_experiment,
    _save_generation_strategy,
    _save_or_update_trials,
    _update_generation_strategy,
    delete_experiment,
    get_generation_strategy_id,
    load_experiment,
    save_analysis_card,
    save_experiment,
    update_experiment_status,
    update_properties_on_experiment,
    update_runner_on_experiment,
)


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any, **options: Any) -> Any:
        calls[function.__name__] = calls.get(function.__name__, 0) + 1
        if CONTROL:
            raise AssertionError(f"the store under Ax's seam does not work: {function.__name__}")
        return function(*args, **options)

    return counted


for function in OURS:
    for module in (db, delete, load, save, with_db_settings_base):
        if hasattr(module, function.__name__):
            setattr(module, function.__name__, _counted(function))
for module in (db, with_db_settings_base):
    module.init_engine_and_session_factory = same
db.init_test_engine_and_session_factory = fresh


def pytest_runtest_setup(item: Any) -> None:
    fresh()


def pytest_collection_modifyitems(items: list[Any]) -> None:
    if ALWAYS:  # each test of the orchestrator persists
        for item in items:
            if hasattr(item.cls, "ALWAYS_USE_DB"):
                item.cls.ALWAYS_USE_DB = True


def pytest_terminal_summary(terminalreporter: Any) -> None:
    total = sum(calls.values())
    terminalreporter.write_line(f"the store under Ax's seam was called {total} times: {dict(sorted(calls.items()))}")
