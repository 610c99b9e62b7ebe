"""A worker of one study, as a script: it runs so many trials, unless it is killed.

It writes the number of each trial that `tell` has returned for, in a file of its own, at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import optuna

from trialstore.integrations.optuna import TrialStoreStorage


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    y = trial.suggest_int("y", 0, 9)
    for step in range(3):
        trial.report(x + step, step)
    trial.set_user_attr("told", [x, y])
    return x + y


def main(place: str, told: str, trials: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = TrialStoreStorage(place)
    sampler = optuna.samplers.RandomSampler()
    study = optuna.load_study(study_name="tune", storage=storage, sampler=sampler)
    with Path(told).open("a", encoding="utf-8") as file:

        def note(_: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            file.write(f"{trial.number} {trial.value!r}\n")
            file.flush()
            os.fsync(file.fileno())

        study.optimize(objective, n_trials=trials, callbacks=[note])
    storage.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
