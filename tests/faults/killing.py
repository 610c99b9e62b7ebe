"""Processes on one store that are killed at random instants, and replaced.

Each process tells a file of its own what it is about to do and what the store has acknowledged; such a line outlives
a kill. In the end the store is opened, what was left is finished, and `aftermath` compares it with the files.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import trialstore as ts
from tests.faults.aftermath import check, read_diaries, recover
from tests.faults.lives import Diary, finish, live

__all__ = ["kill_and_recover"]

ROLES = ("work", "work", "work", "flush", "compact", "vacuum")
DEADLINE_S = 120.0
LONGEST_LIFE_S = 0.25
"""A process is killed at a random instant of so long a time after it got to work."""

PRELOADED = [
    "tests.faults.lives",
    "trialstore.store",
    "trialstore.maintenance.compact",
    "trialstore.maintenance.vacuum",
    "trialstore.tables.telemetry",
]
"""What a process does not have to import, so that it soon gets to work."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOADED)


@dataclass
class Victim:
    """A process that is going to be killed."""

    role: str
    process: Any
    diary: Path
    patience: int

    @property
    def is_ready(self) -> bool:
        """Whether it is at work; some are given the time to have something done."""
        return self.diary.exists() and self.diary.read_bytes().count(b"\n") >= self.patience

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join(DEADLINE_S)
        assert self.process.exitcode == -signal.SIGKILL, f"{self.role} ended by itself: {self.process.exitcode}"


def choose(crew: list[Victim], rng: random.Random) -> int:
    """One that is at work, and now and then one that has only just started."""
    if rng.random() < 0.1:
        return rng.randrange(len(crew))
    give_up_at = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not (ready := [index for index, victim in enumerate(crew) if victim.is_ready]):
        assert time.monotonic() < give_up_at, "nobody got to work"
        pause.wait(0.005)
    return rng.choice(ready)


def kill_and_recover(folder: Path, kills: int, seed: int) -> Counter[str]:
    """Let processes work and be killed so often, finish what is left, and check everything; returns what happened."""
    rng = random.Random(seed)
    store, diaries = str(folder / "store"), folder / "diaries"
    diaries.mkdir()
    with ts.open(store, durability="process", retention=timedelta(minutes=1)) as creator:
        creator.create_experiment("tune", metrics=[ts.Metric("loss")])
    started = 0

    def start(role: str) -> Victim:
        nonlocal started
        started += 1
        diary = diaries / f"{started:05}-{role}.jsonl"
        process = CONTEXT.Process(target=live, args=(role, store, str(diary), rng.getrandbits(64)), daemon=True)
        process.start()
        return Victim(role, process, diary, patience=rng.choice([1, 2, 3]))

    crew = [start(role) for role in ROLES]
    done: Counter[str] = Counter()
    pause = threading.Event()
    while done["kills"] < kills:
        index = choose(crew, rng)
        pause.wait(rng.uniform(0, LONGEST_LIFE_S))
        crew[index].kill()
        done["kills"] += 1
        if done["kills"] < kills:
            crew[index] = start(crew[index].role)
    for victim in crew:
        if victim.process.is_alive():
            victim.kill()
    diary_of_end = Diary(str(diaries / "end.jsonl"))
    recover(store, lambda trial: finish(trial, diary_of_end, rng))
    lines = read_diaries(diaries)
    done.update(line["event"] for line in lines)
    check(store, lines)
    return done
