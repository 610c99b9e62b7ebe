"""A study of many processes with heartbeats, of which some are killed: every trial is accounted for, once.

    python -m tests.integrations.optuna.heartbeat_study --processes 32 --killed 10 --trials 40

Half of the killed hang in the middle of a trial that has beaten; the others die wherever they are. Where `--grace` is
short, those that live find and retry the trials of the dead meanwhile; what is left is found at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RetryFailedTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

import trialstore as ts
from tests.integrations.optuna.study_worker import HUNG, objective
from trialstore.integrations.optuna import TrialStoreStorage

ROOT = Path(__file__).resolve().parents[3]
_RESCUERS = 3
_PATIENCE_S = 120
LONG_S = 3600
"""A grace period that nobody outlives: the dead are found at the end alone."""


@dataclasses.dataclass(frozen=True)
class Account:
    """What became of a study's trials.

    Attributes:
        complete: Ended with the value that they were told.
        retried: Found stale, and tried again, each once, until they were complete.
        unretried: Found stale by a process that was killed before it could add them again.
        silent: Still running: killed before the first heartbeat, which nobody can tell from a slow start.
    """

    complete: int
    retried: int
    unretried: int
    silent: int


def run(place: str, folder: Path, processes: int, killed: int, trials: int, grace_s: int, seed: int = 7) -> Account:
    """Run it, and see that nothing is lost or doubled.

    Args:
        place: Where the store is made.
        folder: For the workers' notes.
        processes: How many.
        killed: How many of them are killed.
        trials: Of each process.
        grace_s: After which a trial without a heartbeat is stale to the other workers.
        seed: Decides who dies, and when.
    """
    study = optuna.create_study(study_name="tune", storage=TrialStoreStorage(place))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("study_worker.py")), place]
    source = random.Random(seed)
    doomed = source.sample(range(processes), killed)
    hanging = {index: source.randrange(1, max(trials // 2, 2)) for index in doomed[::2]}
    notes = [folder / f"told-{index}" for index in range(processes)]
    running = [
        subprocess.Popen([*command, str(file), str(trials), str(grace_s), str(hanging.get(index, -1))], env=environment)
        for index, file in enumerate(notes)
    ]
    try:
        for index in doomed:
            wanted = source.randrange(1, max(trials // 2, 2))
            while running[index].poll() is None and not _is_there(notes[index], index in hanging, wanted):
                time.sleep(0.01)
            running[index].send_signal(signal.SIGKILL)
        statuses = [process.wait(timeout=1800) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert all(status == (-signal.SIGKILL if index in doomed else 0) for index, status in enumerate(statuses)), statuses
    hung = {int(line.split()[1]) for file in notes for line in _lines(file) if line.startswith(HUNG)}
    assert len(hung) == len(hanging)
    _rescue(place, hung)
    return _account(place, study._study_id, notes, hung)


def _lines(file: Path) -> list[str]:
    """Those that were written to their end."""
    return file.read_text().split("\n")[:-1] if file.exists() else []


def _is_there(file: Path, hangs: bool, wanted: int) -> bool:
    lines = _lines(file)
    return any(line.startswith(HUNG) for line in lines) if hangs else len(lines) >= wanted


class _Rescuer(TrialStoreStorage):
    """One of those that find the same trials at the same time."""

    _found = threading.Barrier(_RESCUERS)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        stale = super()._get_stale_trial_ids(study_id)
        self._found.wait(_PATIENCE_S)
        return stale


def _rescue(place: str, hung: set[int]) -> None:
    """Find all trials that the dead have left, several looking at once, and run what is to be tried again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # heartbeats are experimental
        retry = RetryFailedTrialCallback()
        storages = [
            _Rescuer(place, heartbeat_interval=1, grace_period=1, heartbeat_stale_trial_callback=retry)
            for _ in range(_RESCUERS)
        ]
        studies = [optuna.load_study(study_name="tune", storage=storage) for storage in storages]
        with ThreadPoolExecutor(_RESCUERS) as pool:
            while any(not studies[0].trials[number].state.is_finished() for number in hung):
                list(pool.map(fail_stale_trials, studies))
                time.sleep(0.05)  # until their last heartbeat is as old as the grace period
            list(pool.map(fail_stale_trials, studies))
        while count := len(studies[0].get_trials(deepcopy=False, states=(TrialState.WAITING,))):
            storages[0].heartbeat_interval = None
            studies[0].optimize(objective, n_trials=count)
    for storage in storages:
        storage.close()


def _account(place: str, study_id: int, notes: list[Path], hung: set[int]) -> Account:
    told: dict[int, float] = {}
    for file in notes:
        mine = {int(n): float(v) for n, v in (line.split() for line in _lines(file) if not line.startswith(HUNG))}
        assert not told.keys() & mine.keys(), "one trial was told by two processes"
        told |= mine
    trials = TrialStoreStorage(place).get_all_trials(study_id)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    by_state = {state: [t for t in trials if t.state is state] for state in TrialState}
    complete: dict[int, Any] = {trial.number: trial.value for trial in by_state[TrialState.COMPLETE]}
    assert told.items() <= complete.items(), "a result was lost"
    retries: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.system_attrs.get("retry_history"):
            retries.setdefault(trial.system_attrs["retry_history"][-1], []).append(trial)
    failed = [trial.number for trial in by_state[TrialState.FAIL]]
    assert retries.keys() <= set(failed), "what did not fail was tried again"
    assert all(len(again) == 1 for again in retries.values()), "a trial was tried again twice"
    assert hung <= set(failed), "a trial that hung was not found"
    assert all(again.state is not TrialState.WAITING for (again,) in retries.values())
    for number, (again,) in retries.items():
        assert trials[number].params.items() <= again.params.items() or not again.params
    assert not by_state[TrialState.WAITING]
    assert not by_state[TrialState.PRUNED]
    with ts.open(place) as store:
        assert list(store.verify().problems) == []
        ((rows,),) = store.sql("SELECT count(*) FROM trials").fetchall()
    assert rows == len(trials)
    silent = len(by_state[TrialState.RUNNING])
    return Account(len(complete), len(retries), len(failed) - len(retries), silent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--killed", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--grace", type=int, default=60, help="seconds, as long as a living process may be held up")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trialstore-killed-") as folder:
        place = Path(folder)
        started = time.monotonic()
        found = run(
            str(place / "store"), place, given.processes, given.killed, given.trials, given.grace, seed=given.seed
        )
        print(f"{found}, {time.monotonic() - started:.0f} s")
        assert found.unretried + found.silent <= given.killed


if __name__ == "__main__":
    main()
