"""trialstore: a results store for people who run trials. One folder or bucket, no server.

Example:
    >>> import trialstore as ts
    >>> store = ts.open("memory://doctest")
    >>> experiment = store.create_experiment("tune", metrics=[ts.Metric("loss", minimize=True)], exist_ok=True)
    >>> _ = experiment.register_trial({"lr": 0.1})
    >>> trial = experiment.reserve_trial()
    >>> report = trial.success(loss=0.25)
    >>> experiment.best().params["lr"]
    0.1
    >>> store.close()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trialstore.artifacts.store import Artifact
    from trialstore.bucket import Bucket, Stored
    from trialstore.evc.conflicts import Branching
    from trialstore.experiment import Experiment
    from trialstore.history.history import History
    from trialstore.model import errors
    from trialstore.model.errors import TrialStoreError
    from trialstore.model.metric import Comparison, Metric, MetricValue
    from trialstore.model.observation import Observation
    from trialstore.model.profile import Profile
    from trialstore.model.space import Categorical, Dimension, Fidelity, Integer, Real, Space
    from trialstore.model.status import Status
    from trialstore.query.diff import SnapshotDiff
    from trialstore.query.result import Result
    from trialstore.query.snapshot import Snapshot
    from trialstore.report import Report
    from trialstore.runner.runner import Runner
    from trialstore.session import Options
    from trialstore.stats import ExperimentStats
    from trialstore.store import Store, open  # noqa: A004 - `trialstore.open` is what users write
    from trialstore.trial import Trial

__version__ = "0.1.0"

__all__ = [
    "Artifact",
    "Branching",
    "Bucket",
    "Categorical",
    "Comparison",
    "Dimension",
    "Experiment",
    "ExperimentStats",
    "Fidelity",
    "History",
    "Integer",
    "Metric",
    "MetricValue",
    "Observation",
    "Options",
    "Profile",
    "Real",
    "Report",
    "Result",
    "Runner",
    "Snapshot",
    "SnapshotDiff",
    "Space",
    "Status",
    "Store",
    "Stored",
    "Trial",
    "TrialStoreError",
    "__version__",
    "errors",
    "open",
]

_HOMES = {
    "Artifact": "trialstore.artifacts.store",
    "Branching": "trialstore.evc.conflicts",
    "Bucket": "trialstore.bucket",
    "Experiment": "trialstore.experiment",
    "ExperimentStats": "trialstore.stats",
    "History": "trialstore.history.history",
    "Observation": "trialstore.model.observation",
    "Profile": "trialstore.model.profile",
    "Options": "trialstore.session",
    "Report": "trialstore.report",
    "Result": "trialstore.query.result",
    "Runner": "trialstore.runner.runner",
    "Snapshot": "trialstore.query.snapshot",
    "SnapshotDiff": "trialstore.query.diff",
    "Status": "trialstore.model.status",
    "Store": "trialstore.store",
    "Stored": "trialstore.bucket",
    "Trial": "trialstore.trial",
    "TrialStoreError": "trialstore.model.errors",
    "open": "trialstore.store",
    **dict.fromkeys(("Comparison", "Metric", "MetricValue"), "trialstore.model.metric"),
    **dict.fromkeys(("Categorical", "Dimension", "Fidelity", "Integer", "Real", "Space"), "trialstore.model.space"),
}
"""Where each name lives. It is imported when it is first used, so that importing the package costs next to nothing."""


def __getattr__(name: str) -> object:
    if name == "errors":
        return import_module("trialstore.model.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'trialstore' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
