"""The demo's main process: it proposes candidates, starts workers, kills one, and watches."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trialstore as ts
from trialstore.demo.dataset import load_flights
from trialstore.demo.search import Scored, propose
from trialstore.demo.settings import space
from trialstore.demo.worker import ignore_interrupts, work
from trialstore.demo.workload import write_file

__all__ = ["METRICS", "Demo", "Happening", "Progress"]

METRICS = ("bytes", "write_seconds", "read_seconds")
NAME = "parquet-writer-settings"
_LEASE_S = 3.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Happening:
    """Something worth a line: a worker was killed, its trial was recovered, and so on."""

    kind: str
    text: str


@dataclass(slots=True)
class Progress:
    """Where the demo is, for a view to show.

    Attributes:
        counts: Trials by status.
        goal: Trials that shall succeed.
        running: Number of the running trial by worker label.
        best_bytes: Smallest file so far.
        happenings: What happened, oldest first.
    """

    goal: int
    counts: Mapping[ts.Status, int] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)
    best_bytes: int | None = None
    happenings: list[Happening] = field(default_factory=list)

    @property
    def succeeded(self) -> int:
        """Trials that succeeded."""
        return self.counts.get(ts.Status.SUCCEEDED, 0)


class Demo:
    """A search for the best Parquet writer settings, with several worker processes on one store.

    One worker is killed with SIGKILL while it holds a trial. Its lease runs out, another worker claims the trial
    as a second attempt, and finishes it.

    Args:
        url: The store, made when absent; every run adds a version of the experiment.
        workers: Worker processes, at least 2.
        trials: Trials that shall succeed.
        seed: Of the search.
        rows: How many of the table's rows each trial writes; None means all.
        storage_options: For `trialstore.open`.
    """

    def __init__(
        self,
        url: str,
        *,
        workers: int = 4,
        trials: int = 48,
        seed: int = 0,
        rows: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._options: dict[str, Any] = {"lease_s": _LEASE_S, "linger_s": 1.0}
        self._storage_options = storage_options
        self._workers = workers
        self._goal = trials
        self._fidelity = None if rows is None else {"rows": rows}
        self._rng = random.Random(seed)
        self.store = ts.open(url, storage_options=storage_options, **self._options)
        self.experiment = self.store.create_experiment(
            NAME,
            version=None,
            metrics=[ts.Metric(name, minimize=True, bounds=(0, float("inf"))) for name in METRICS],
            space=space(),
            max_trials=trials,
            max_broken=max(5, trials // 4),
            metadata={"table": "data/flights.parquet", "seed": seed},
        )
        self.progress = Progress(goal=trials)
        self._killed: ts.Trial | None = None

    def run(self, show: Callable[[Progress], None]) -> None:
        """Search until the goal is reached; `show` is called several times a second.

        Raises:
            RuntimeError: too many trials broke, or all workers are gone.
        """
        context = multiprocessing.get_context("spawn")
        stop = context.Event()
        with tempfile.TemporaryDirectory(prefix="trialstore-demo-") as scratch:
            place = (self.store.url, self._storage_options, self._options)
            arguments = (*place, (self.experiment.name, self.experiment.version), scratch, stop)
            processes = [
                context.Process(target=_start, args=arguments, name=f"worker-{index}")
                for index in range(1, self._workers + 1)
            ]
            try:
                for process in processes:
                    process.start()
                self._watch(processes, show)
            finally:
                stop.set()
                for process in processes:
                    process.join(timeout=20)
                    if process.is_alive():
                        process.kill()
        self._keep_winner()

    def _watch(self, processes: list[Any], show: Callable[[Progress], None]) -> None:
        while True:
            self._look()
            show(self.progress)
            if self.experiment.is_done and (self._killed is None or self._killed.refresh().status.is_final):
                self._tell_recovery()
                show(self.progress)
                return
            if self.experiment.is_broken:
                raise RuntimeError("too many trials broke; see the exceptions in the trials table")
            if not any(process.is_alive() for process in processes):
                raise RuntimeError("all workers are gone")
            self._propose()
            if self._killed is None and self.progress.succeeded >= self._goal // 4:
                self._kill_one(processes)
            self._tell_recovery()
            time.sleep(_LOOK_S)

    def _look(self) -> None:
        progress = self.progress
        progress.counts = self.experiment.counts
        running = self.experiment.trials(ts.Status.RUNNING)
        progress.running = {trial.worker or "?": trial.number for trial in running}

    def _propose(self) -> None:
        """Keep as many trials pending as there are workers, bred from what is known by now."""
        counts = self.progress.counts
        pending = counts.get(ts.Status.PENDING, 0)
        planned = pending + counts.get(ts.Status.RUNNING, 0) + counts.get(ts.Status.INTERRUPTED, 0)
        wanted = min(self._workers - pending, self._goal - self.progress.succeeded - planned)
        if wanted <= 0:
            return
        scored = self._scored()
        if scored:
            self.progress.best_bytes = int(min(costs[0] for _, costs in scored))
        candidates = [propose(self._rng, scored) for _ in range(wanted)]
        self.experiment.register_trials(candidates, fidelity=self._fidelity)

    def _scored(self) -> list[Scored]:
        return [
            (trial.params, [float(trial.metrics[name]) for name in METRICS])
            for trial in self.experiment.trials(ts.Status.SUCCEEDED)
        ]

    def _kill_one(self, processes: list[Any]) -> None:
        """Kill a worker that surely holds a trial: stop it, look again, and only then kill it."""
        for process in processes:
            held = [number for worker, number in self.progress.running.items() if worker.endswith(f":{process.pid}")]
            if not held or not process.is_alive():
                continue
            os.kill(process.pid, signal.SIGSTOP)
            trial = self.experiment.trial(held[0])
            if trial.status is not ts.Status.RUNNING:
                os.kill(process.pid, signal.SIGCONT)
                continue
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            self._killed = trial
            self.progress.happenings.append(
                Happening("killed", f"{process.name} was killed with SIGKILL in the middle of trial {trial.number}")
            )
            return

    def _tell_recovery(self) -> None:
        if self._killed is None or len(self.progress.happenings) > 2:
            return
        trial = self._killed.refresh()
        said = {happening.kind for happening in self.progress.happenings}
        if trial.attempt > 1 and "claimed" not in said:
            self.progress.happenings.append(
                Happening("claimed", f"trial {trial.number}: the lease ran out, {trial.worker} claimed it again")
            )
        if trial.status.is_final and "finished" not in said:
            self.progress.happenings.append(
                Happening("finished", f"trial {trial.number}: {trial.status.name} in attempt {trial.attempt}")
            )

    def _keep_winner(self) -> None:
        best = self.experiment.best()
        if best is None:
            return
        with tempfile.TemporaryDirectory(prefix="trialstore-demo-") as folder:
            path = os.path.join(folder, "flights.parquet")
            write_file(load_flights(), best.params, path, best.fidelity)
            with open(path, "rb") as file:
                best.store({"flights.parquet": file})
        self.store.flush()


def _start(*arguments: Any) -> None:
    ignore_interrupts()
    work(*arguments)
