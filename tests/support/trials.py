"""A store with one experiment, for tests of trials."""

from __future__ import annotations

from pathlib import Path

import trialstore as ts

LOSS = ts.Metric("loss", bounds=(0, 1000))
ACC = ts.Metric("acc", minimize=False)


def experiment_in(folder: Path, *metrics: ts.Metric) -> ts.Experiment:
    """An experiment without a space in a new store that nothing flushes by itself."""
    store = ts.open(folder / "store", durability="process", maintenance=False)
    return store.create_experiment("tune", metrics=list(metrics or (LOSS, ACC)))


def running(experiment: ts.Experiment) -> ts.Trial:
    """A trial that this process holds."""
    return experiment.register_trial({"lr": 0.5}, reserve=True)
