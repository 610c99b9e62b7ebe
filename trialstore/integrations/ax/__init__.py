"""Ax on a store: its experiments as rows, its clients and orchestrators persisted, its evaluations run in this process.

Needs the extra ``ax``. What is here is imported when it is first used.

=====================================================  ============================================================
`save_experiment`, `load_experiment`                   an Ax experiment as an experiment of a store, and back
`save_generation_strategy`, `load_generation_strategy` how Ax goes on
`TrialStoreClient`, `TrialStoreAxClient`,              Ax's own, which save each change in a store
`TrialStoreOrchestrator`
`TrialStoreRunner`, `TrialStoreMetric`                 evaluate a function, and read its result from the run metadata
`PointResults`, `storable`                             results with NumPy arrays, and of any other type
=====================================================  ============================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialstore.integrations.exporting import exported

if TYPE_CHECKING:
    from trialstore.integrations.ax.clients import TrialStoreAxClient, TrialStoreClient, TrialStoreOrchestrator
    from trialstore.integrations.ax.loading import load_experiment
    from trialstore.integrations.ax.metric import TrialStoreMetric
    from trialstore.integrations.ax.results import PointResults
    from trialstore.integrations.ax.runner import TrialStoreRunner
    from trialstore.integrations.ax.saving import save_experiment, save_trials
    from trialstore.integrations.ax.strategy import load_generation_strategy, save_generation_strategy
    from trialstore.integrations.ax.values import storable

__all__ = [
    "PointResults",
    "TrialStoreAxClient",
    "TrialStoreClient",
    "TrialStoreMetric",
    "TrialStoreOrchestrator",
    "TrialStoreRunner",
    "load_experiment",
    "load_generation_strategy",
    "save_experiment",
    "save_generation_strategy",
    "save_trials",
    "storable",
]

_HOMES = {
    "PointResults": "results",
    "TrialStoreAxClient": "clients",
    "TrialStoreClient": "clients",
    "TrialStoreMetric": "metric",
    "TrialStoreOrchestrator": "clients",
    "TrialStoreRunner": "runner",
    "load_experiment": "loading",
    "load_generation_strategy": "strategy",
    "save_experiment": "saving",
    "save_generation_strategy": "strategy",
    "save_trials": "saving",
    "storable": "values",
}


def __getattr__(name: str) -> object:
    value = exported(__name__, name, _HOMES, tool="Ax", extra="ax", needed=("ax", "sqlalchemy"))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
