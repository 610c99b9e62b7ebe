"""What the processes do that `tests.faults.killing` kills: working, flushing, compacting and vacuuming for ever."""

from __future__ import annotations

import json
import os
import random
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import trialstore as ts

__all__ = ["NOON", "Diary", "content", "finish", "live", "loss_of"]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEASE_S = 3.0


def loss_of(number: int, attempt: int) -> float:
    return number + attempt / 128


def content(number: int, attempt: int) -> bytes:
    """What an attempt stores as its artifact."""
    return f"trial {number}, attempt {attempt}".encode() * 10


class Diary:
    """A file that a process appends to; what was written is there whatever happens to the process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, event: str, **facts: Any) -> None:
        os.write(self._file, json.dumps({"event": event, **facts}).encode() + b"\n")


def live(role: str, folder: str, diary_path: str, seed: int) -> None:
    """Do the role's work for ever."""
    diary, rng = Diary(diary_path), random.Random(seed)
    try:
        store = ts.open(folder, durability="process", lease_s=LEASE_S)
        experiment = store.experiment("tune")
        diary.write("ready")
        while True:
            LIVES[role](experiment, diary, rng)
    except BaseException:
        diary.write("error", role=role, text=traceback.format_exc())
        raise


def work(experiment: ts.Experiment, diary: Diary, rng: random.Random) -> None:
    reserve = rng.random() < 0.3
    if reserve:
        trial = experiment.register_trial({"x": rng.random()}, reserve=True)
        diary.write("registered", trials={trial.number: dict(trial.params)})
        finish(trial, diary, rng)
        return
    trials = experiment.register_trials([{"x": rng.random()} for _ in range(rng.randint(1, 3))])
    diary.write("registered", trials={trial.number: dict(trial.params) for trial in trials})
    for _ in range(3):
        claimed = experiment.reserve_trial()
        if claimed is not None:
            finish(claimed, diary, rng)


def finish(trial: ts.Trial, diary: Diary, rng: random.Random) -> None:
    """Evaluate a trial that was claimed, with rows that ride the journal or, when there are many, go into parts."""
    who = {"trial": trial.number, "attempt": trial.attempt}
    diary.write("claimed", **who)
    reports, samples = (rng.choice([0, 2, 5] if rng.random() < 0.8 else [300]) for _ in range(2))
    for step in range(reports):
        trial.report(step=step, loss=loss_of(trial.number, step))
    times = [(NOON + timedelta(seconds=second), "cpu", second / 2) for second in range(samples)]
    try:
        trial.update_telemetry(trial.status, NOON, times)
        trial.store({"out.bin": content(trial.number, trial.attempt)})
        diary.write("finishing", reports=reports, samples=samples, **who)
        trial.success(loss=loss_of(trial.number, trial.attempt))
        diary.write("finished", **who)
    except ts.errors.LostTrialError:
        diary.write("lost", **who)


def flush(experiment: ts.Experiment, diary: Diary, rng: random.Random) -> None:
    diary.write("flushed", trials=experiment.flush())
    threading.Event().wait(rng.uniform(0, 0.05))


def compact(experiment: ts.Experiment, diary: Diary, rng: random.Random) -> None:
    diary.write("compacted", parts=experiment.compact().parts_before)
    threading.Event().wait(rng.uniform(0, 0.05))


def vacuum(experiment: ts.Experiment, diary: Diary, rng: random.Random) -> None:
    diary.write("vacuumed", deleted=len(experiment.vacuum(grace=timedelta(0))))
    threading.Event().wait(rng.uniform(0, 0.05))


LIVES: dict[str, Callable[[ts.Experiment, Diary, random.Random], None]] = {
    "work": work,
    "flush": flush,
    "compact": compact,
    "vacuum": vacuum,
}
