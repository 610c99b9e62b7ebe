"""A worker of one study, as a script: it runs so many trials, unless it is killed.

It writes the number of each trial that `tell` has returned for, in a file of its own, at once. With a grace period its
trials have heartbeats, and those of others that have none any more are tried again. One that shall hang stops in the
middle of a trial, when it has told so many.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import optuna
from optuna.storages import RetryFailedTrialCallback

from trialstore.integrations.optuna import TrialStoreStorage

HUNG = "hung"


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    y = trial.suggest_int("y", 0, 9)
    for step in range(3):
        trial.report(x + step, step)
    trial.set_user_attr("told", [x, y])
    return x + y


def main(place: str, told: str, trials: int, grace_s: int = 0, hang_after: int = -1) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    retry = RetryFailedTrialCallback() if grace_s else None
    storage = TrialStoreStorage(
        place,
        heartbeat_interval=max(grace_s // 4, 1) if grace_s else None,
        grace_period=grace_s or None,
        heartbeat_stale_trial_callback=retry,
    )
    sampler = optuna.samplers.RandomSampler()
    study = optuna.load_study(study_name="tune", storage=storage, sampler=sampler)
    with Path(told).open("a", encoding="utf-8") as file:

        def note(_: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            write(f"{trial.number} {trial.value!r}\n")

        def write(line: str) -> None:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

        def hang(trial: optuna.Trial) -> float:
            value = objective(trial)
            storage.record_heartbeat(trial._trial_id)
            write(f"{HUNG} {trial.number}\n")
            signal.pause()
            return value

        if hang_after >= 0:
            study.optimize(objective, n_trials=hang_after, callbacks=[note])
            study.optimize(hang, n_trials=1)
        study.optimize(objective, n_trials=trials, callbacks=[note])
    storage.close()


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
