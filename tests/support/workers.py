"""What the processes that tests start do; here, so that every start method can import it."""

from __future__ import annotations

import os
import pickle
import time
from multiprocessing.connection import Connection
from typing import Any

import trialstore as ts


def work(folder: str, name: str = "tune", **options: Any) -> list[tuple[int, int]]:
    """Claim and finish until nothing is left; the number and attempt of each trial that this process finished."""
    done = []
    with ts.open(folder, **options) as store:
        experiment = store.experiment(name)
        while (trial := experiment.reserve_trial()) is not None:
            trial.report(step=1, loss=float(trial.number))
            trial.success(loss=float(trial.number))
            done.append((trial.number, trial.attempt))
    return done


def register_and_work(folder: str, who: int, count: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Create the experiment if need be, register trials one by one, and work until nothing is left."""
    with ts.open(folder, durability="process") as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")], exist_ok=True)
        numbers = [experiment.register_trial({"who": who, "number": number}).number for number in range(count)]
    return numbers, work(folder, durability="process")


def count_up(folder: str, name: str, times: int) -> list[int]:
    """Add one to a document so often, by compare-and-set; the values that this process wrote."""
    with ts.open(folder, durability="process") as store:
        written = []
        while len(written) < times:
            revision, value = store.document(name)
            try:
                store.set_document(name, (value or 0) + 1, revision=revision)
                written.append((value or 0) + 1)
            except ts.errors.StaleRevisionError:
                pass
        return written


def hold_a_trial(folder: str, lease_s: float, pipe: Connection) -> None:
    """Claim a trial, say so, and never come back."""
    store = ts.open(folder, lease_s=lease_s)
    trial = store.experiment("tune").reserve_trial()
    assert trial is not None
    trial.report(step=1, loss=1.0)
    pipe.send((os.getpid(), trial.number, trial.attempt))
    while True:
        time.sleep(3600)


def finish_and_tell(folder: str, pipe: Connection) -> None:
    """Claim and finish for ever, and say each number after its call has returned."""
    store = ts.open(folder)
    experiment = store.experiment("tune")
    while (trial := experiment.reserve_trial()) is not None:
        trial.report(step=1, loss=float(trial.number))
        trial.success(loss=float(trial.number))
        pipe.send(trial.number)


def use_what_was_sent(data: bytes) -> tuple[str, int, str]:
    """Finish a trial that another process claimed and sent, and claim one of one's own."""
    store, experiment, trial = pickle.loads(data)
    with store:
        trial.report(step=1, loss=0.25)
        trial.success(loss=0.5)
        mine = experiment.reserve_trial()
        mine.success(loss=0.75)
        return store._session.id.current(), mine.number, mine.worker
