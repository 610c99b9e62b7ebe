"""One study run by many processes, some of which are killed in the middle: nothing is lost, and nothing doubled.

TRIALSTORE_OPTUNA_ALL: 32 processes; else 6.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import trialstore as ts
from tests.integrations.optuna import heartbeat_study
from trialstore.integrations.optuna import TrialStoreStorage

ROOT = Path(__file__).resolve().parents[3]
PROCESSES = 32 if "TRIALSTORE_OPTUNA_ALL" in os.environ else 6
TRIALS = 40
QUEUED = 20


def told_by(file: Path) -> dict[int, float]:
    """Trials whose `tell` returned in a process, by number; a line that was not written to its end does not count."""
    lines = [line.split() for line in file.read_text().split("\n")[:-1]] if file.exists() else []
    return {int(number): float(value) for number, value in lines}


@pytest.mark.timeout(900)
def test_a_study_of_many_processes_some_of_them_killed(place: str, tmp_path: Path) -> None:
    storage = TrialStoreStorage(place)
    study = optuna.create_study(study_name="tune", storage=storage)
    for number in range(QUEUED):
        study.enqueue_trial({"x": number / QUEUED, "y": number % 10})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("study_worker.py")), place]
    files = [tmp_path / f"told-{index}" for index in range(PROCESSES)]
    running = [subprocess.Popen([*command, str(file), str(TRIALS)], env=environment) for file in files]
    source = random.Random(7)
    doomed = source.sample(range(PROCESSES), PROCESSES // 3)
    try:
        for index in doomed:
            wanted = source.randrange(2, TRIALS // 2)
            while len(told_by(files[index])) < wanted and running[index].poll() is None:
                time.sleep(0.01)  # until it is in the middle of its work
            running[index].send_signal(signal.SIGKILL)
        statuses = [process.wait(timeout=600) for process in running]
    finally:
        for process in running:
            process.kill()
    assert statuses == [-signal.SIGKILL if index in doomed else 0 for index in range(PROCESSES)]

    told: dict[int, float] = {}
    for file in files:
        mine = told_by(file)
        assert not told.keys() & mine.keys(), "one trial was run by two processes"
        told |= mine
    trials = TrialStoreStorage(place).get_all_trials(study._study_id)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    complete = {trial.number: trial for trial in trials if trial.state is TrialState.COMPLETE}
    assert told.items() <= {number: trial.value for number, trial in complete.items()}.items(), "a result was lost"
    assert len(complete) - len(told) <= len(doomed), "more results than were told, but for those killed right after"
    left = [trial for trial in trials if not trial.state.is_finished()]
    assert len(left) <= len(doomed), "each of the killed left one trial at the most"
    for trial in complete.values():
        check(trial)
    queued = [trial for trial in trials if "fixed_params" in trial.system_attrs]
    assert len(queued) == QUEUED
    assert all(trial.params.items() <= trial.system_attrs["fixed_params"].items() for trial in queued)
    with ts.open(place) as store:
        counted = store.sql("SELECT status, count(*) FROM trials GROUP BY ALL").fetchall()
        reports = store.sql("SELECT trial, count(*) FROM metrics GROUP BY ALL").fetchall()
        assert list(store.verify().problems) == []
    assert dict(counted)["SUCCEEDED"] == len(complete)
    assert {trial: count for trial, count in reports if trial in complete} == dict.fromkeys(complete, 3)


@pytest.mark.timeout(1800)
def test_trials_of_killed_processes_are_found_by_their_heartbeats_and_tried_again_once(
    place: str, tmp_path: Path
) -> None:
    killed = PROCESSES // 3 + 1
    found = heartbeat_study.run(place, tmp_path, PROCESSES, killed, trials=10, grace_s=heartbeat_study.LONG_S)
    assert found.unretried == 0, "nobody who finds them is killed"
    assert found.retried >= len(range(0, killed, 2)), "those that hung"
    assert found.silent + found.retried <= killed
    assert found.complete >= 10 * (PROCESSES - killed)


def check(trial: Any) -> None:
    x, y = trial.params["x"], trial.params["y"]
    assert trial.value == x + y
    assert trial.intermediate_values == {step: x + step for step in range(3)}
    assert trial.user_attrs == {"told": [x, y]}
    assert list(trial.params) == ["x", "y"]
    assert trial.datetime_start < trial.datetime_complete
