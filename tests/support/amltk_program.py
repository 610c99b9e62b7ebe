"""A program of AMLTK's on a store, with worker processes: run as ``python amltk_program.py URL OPTIMISER WORKERS``."""

from __future__ import annotations

import sys

import numpy as np
from amltk import Component, Metric, Node, Trial
from amltk.scheduling import Scheduler

import trialstore as ts
from trialstore.integrations.amltk import TrialStoreBucket, TrialStorePlugin

LOSS = Metric("loss", minimize=True, bounds=(0, 1_000))
SIZE = Metric("size", minimize=False)


def evaluate(trial: Trial, node: Node) -> Trial.Report:
    """Measured, with artifacts, and with one configuration in some that raises."""
    x, kind = trial.config["point:x"], trial.config["point:kind"]
    with trial.profile("evaluate"):
        trial.summary["squared"] = x**2
        trial.store({"curve.npy": np.linspace(0.0, x, 5), "config.json": dict(trial.config), "notes.log": f"x={x}"})
        if x > 5:
            return trial.fail(ValueError("x is too large", x), loss=1_000.0)
    return trial.success(loss=x**2, size=len(kind))


def main(url: str, optimiser: str, workers: int) -> None:
    """Run a dozen trials."""
    if optimiser == "random":
        from amltk.optimization.optimizers.random_search import RandomSearch as Chosen
    elif optimiser == "optuna":
        from amltk.optimization.optimizers.optuna import OptunaOptimizer as Chosen
    else:
        from amltk.optimization.optimizers.smac import SMACOptimizer as Chosen

    bucket = TrialStoreBucket(url, "program", metrics=[LOSS, SIZE])
    pipeline = Component(object, name="point", space={"x": (-10.0, 10.0), "kind": ["a", "bb", "ccc"]})
    history = pipeline.optimize(
        target=evaluate,
        metric=[LOSS, SIZE],
        optimizer=Chosen,
        seed=3,
        max_trials=12,
        n_workers=workers,
        working_dir=bucket,
        scheduler=Scheduler.with_processes(workers, mp_context="spawn"),
        plugins=TrialStorePlugin(bucket.experiment),
        on_trial_exception="continue",
        display=False,
    )
    with ts.open(url) as store:
        counted = store.sql("SELECT status, count(*) FROM trials GROUP BY status ORDER BY status").fetchall()
    print(len(history), dict(counted))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
