"""Ax's Runner interface, for the trials of a store and any executor."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, get_args

from trialstore.life.ending import exception_text
from trialstore.model.errors import TransitionError, UsageError
from trialstore.model.status import Status
from trialstore.model.times import now_text
from trialstore.runner.evaluate import CANCEL, Job, Outcome, bury, evaluate, evaluate_apart
from trialstore.runner.function import Function, Takes, check, name_of
from trialstore.runner.inline import InlineExecutor
from trialstore.runner.pool import ProcessPool
from trialstore.trial import Trial

__all__ = ["Runner"]

_Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class _Run:
    job: Job
    future: Future[Outcome]


class Runner:
    """Evaluates trials with a function, on worker processes or any executor, and tells how they are.

    Guarantees: each trial is claimed by the process that evaluates it, under a session and lease of its own, so that
    a trial is evaluated by one worker however many runners there are. Its result, or its exception with the
    traceback, is durable as soon as the function has ended, whatever becomes of this process. A trial whose worker
    process dies ends as CRASHED; one that runs over its time limit as TIMED_OUT, and its process has really ended then.

    The methods are those of Ax's `Runner`, on trials of a store. `Experiment.run` is the short way.

    Args:
        function: What evaluates a trial, or where it is, as ``"module:function"``. What it returns ends the trial: a
            mapping of metrics, or a number where one metric is declared; or it ends the trial itself, and returns None.
        workers: Worker processes; as many as there are cores by default; 0 evaluates in this thread, at once. With
            an executor: how many trials it is given at a time.
        executor: Any `concurrent.futures.Executor` instead of worker processes of its own: a thread pool, Dask's
            ``client.get_executor()``, `trialstore.integrations.ray.RayExecutor`. It is not shut down by this runner.
        time_limit_s: How long a trial may take, above 0; None for no limit. Another executor's worker then evaluates
            each trial in a process of its own.
        takes: What the function is given: ``"trial"``, ``"params"`` (a dict) or ``"keywords"``.
        grace_s: How long a trial that is stopped may take to end by itself, before its process is killed.

    Raises:
        UsageError: an argument is wrong, or the function cannot be sent to another process.

    Source: Ax, `ax.core.runner.Runner`; axtreme, `LocalMetadataRunner`.
    """

    def __init__(
        self,
        function: Function,
        *,
        workers: int | None = None,
        executor: Executor | None = None,
        time_limit_s: float | None = None,
        takes: Takes = "trial",
        grace_s: float = 5.0,
    ) -> None:
        if takes not in get_args(Takes):
            raise UsageError("not what a function can take", hint=f"one of {get_args(Takes)}", takes=takes)
        if workers is not None and (type(workers) is not int or workers < (executor is not None)):
            raise UsageError("workers must be a whole number, 1 or more with an executor", workers=workers)
        if time_limit_s is not None and not time_limit_s > 0:
            raise UsageError("a time limit must be above 0", time_limit_s=time_limit_s)
        if time_limit_s is not None and workers == 0:
            raise UsageError("a trial in this thread has no time limit", hint="use workers=1", workers=workers)
        if not grace_s >= 0:
            raise UsageError("the grace must be 0 or more", grace_s=grace_s)
        check(function, elsewhere=time_limit_s is not None or (executor is None and workers != 0))
        self.function = function
        self.workers = workers
        self.executor = executor
        self.time_limit_s = time_limit_s
        self.takes = takes
        self.grace_s = grace_s
        self._own: ProcessPool | InlineExecutor | None = None
        self._runs: dict[_Key, _Run] = {}

    # What Ax's runners do

    @property
    def staging_required(self) -> bool:
        """False: a trial is running once it is handed to a worker."""
        return False

    @property
    def run_metadata_report_keys(self) -> list[str]:
        """What of the metadata is worth a line in a report."""
        return ["submitted_at"]

    def run(self, trial: Trial) -> dict[str, Any]:
        """Hand a trial to a worker, and return at once.

        Returns:
            Metadata that JSON can say: ``experiment``, ``version``, ``trial``, ``submitted_at``.

        Raises:
            TransitionError: nobody can claim the trial: it has ended, or somebody has it.
            UsageError: the store is in this process's memory, which worker processes cannot see.
        """
        held = trial._held
        if not trial.status.is_claimable:
            held.refresh()
        job = Job(held.ledger, held.declared, trial.number, trial.attempt, self.function, self.takes)
        if not trial.status.is_claimable:
            raise TransitionError(
                "trial cannot be handed to a worker",
                hint="interrupt it, or register it again",
                trial=trial.number,
                status=trial.status,
            )
        self._refuse_memory(held.ledger.blobs.url)
        self._runs[_key(trial)] = _Run(job, self._submit(job))
        return {
            "experiment": trial.experiment,
            "version": held.ledger.entry.version,
            "trial": trial.number,
            "submitted_at": now_text(),
        }

    def run_multiple(self, trials: Iterable[Trial]) -> dict[int, dict[str, Any]]:
        """Hand several trials to workers; their metadata by number."""
        return {trial.number: self.run(trial) for trial in trials}

    def poll_available_capacity(self) -> int:
        """How many trials more can be evaluated at once."""
        return max(0, self.width - sum(not run.future.done() for run in self._runs.values()))

    def poll_trial_status(self, trials: Iterable[Trial]) -> dict[Status, set[int]]:
        """Where trials stand, by status; each trial object is brought up to date.

        A trial whose worker process has died meanwhile is ended first.
        """
        found: dict[Status, set[int]] = {}
        self.settle()
        for trial in trials:
            found.setdefault(trial.refresh().status, set()).add(trial.number)
        return found

    def poll_exception(self, trial: Trial) -> str:
        """What went wrong with a trial, with its traceback; empty when nothing did."""
        self.settle()
        trial.refresh()
        text = trial.traceback or exception_text(trial._held)
        return text or ""

    def stop(self, trial: Trial, reason: str | None = None) -> dict[str, Any]:
        """End a trial as CANCELED, whether it was evaluated already or not, and its process with it.

        Returns when the process has ended, or at once where another executor cannot end it: what it still finds out is
        then kept as a late result.

        Returns:
            Metadata that JSON can say: ``stopped_at`` and ``reason``.
        """
        why = reason or "stopped"
        run = self._runs.get(_key(trial))
        if run is not None:
            self._halt([run], CANCEL + why)
            self.settle()
        trial.refresh()
        if trial.status.is_claimable or (
            run is not None and trial.status.is_active and trial.attempt == run.job.attempt + 1
        ):
            trial.cancel(why)
        return {"stopped_at": now_text(), "reason": why}

    def clone(self) -> Self:
        """A runner of the same arguments, with worker processes of its own."""
        return type(self)(
            self.function,
            workers=self.workers,
            executor=self.executor,
            time_limit_s=self.time_limit_s,
            takes=self.takes,
            grace_s=self.grace_s,
        )

    @classmethod
    def serialize_init_args(cls, obj: Runner) -> dict[str, Any]:
        """The arguments that make such a runner again, as JSON can say them.

        Raises:
            UsageError: it has an executor, or a function that has no name.
        """
        if obj.executor is not None:
            raise UsageError("a runner on an executor cannot be stored", hint="make it without, or make it anew")
        return {
            "function": name_of(obj.function),
            "workers": obj.workers,
            "time_limit_s": obj.time_limit_s,
            "takes": obj.takes,
            "grace_s": obj.grace_s,
        }

    @classmethod
    def deserialize_init_args(cls, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments for the class from what `serialize_init_args` gave: ``Runner(**arguments)``."""
        return dict(args)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Runner) and self._arguments() == other._arguments()

    def __hash__(self) -> int:
        return hash(self._arguments())

    def _arguments(self) -> tuple[object, ...]:
        return self.function, self.workers, self.executor, self.time_limit_s, self.takes, self.grace_s

    # What goes on

    def settle(self) -> list[Outcome]:
        """What became of the trials whose evaluation has ended since the last call, dead workers' among them.

        Raises:
            Exception: what kept a worker from beginning with a trial, which is as it was: the function could not be
                loaded, no process could start.
        """
        outcomes = []
        for key, run in list(self._runs.items()):
            if run.future.done():
                del self._runs[key]
                outcomes.append(_outcome(run))
        return outcomes

    def wait(self, timeout_s: float | None = None) -> list[Outcome]:
        """`settle`, once at least one evaluation has ended or the time has passed."""
        wait([run.future for run in self._runs.values()], timeout=timeout_s, return_when=FIRST_COMPLETED)
        return self.settle()

    def interrupt(self, reason: str = "interrupted") -> list[Outcome]:
        """Stop all evaluations; their trials become INTERRUPTED, and can be claimed again by anyone."""
        runs = list(self._runs.values())
        self._halt(runs, reason)
        self._runs.clear()
        outcomes = []
        for run in runs:
            if run.future.done() and not run.future.cancelled():
                with suppress(Exception):  # no worker could begin, which is known by now
                    outcomes.append(_outcome(run))
                continue
            trial = run.job.trial()  # an executor may forget a call that it cannot stop
            if trial is not None and trial.status.is_active and trial.attempt == run.job.attempt + 1:
                trial.interrupt(reason)
        return outcomes

    def close(self) -> None:
        """End the worker processes when what they evaluate has ended."""
        if self._own is not None:
            self._own.shutdown()
            self._own = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.interrupt(type(error).__name__)
        self.close()

    def _halt(self, runs: list[_Run], reason: str) -> None:
        """Stop evaluations, and wait for those that can be stopped."""
        stopping = []
        for run in runs:
            if isinstance(self._own, ProcessPool):
                if self._own.stop(run.future, reason) and not run.future.cancelled():
                    stopping.append(run.future)
            else:
                run.future.cancel()
        wait(stopping)

    def _submit(self, job: Job) -> Future[Outcome]:
        if self.executor is None:
            if self._own is None:
                self._own = InlineExecutor() if self.workers == 0 else ProcessPool(self.workers, grace_s=self.grace_s)
            if isinstance(self._own, ProcessPool):
                return self._own.submit_within(self.time_limit_s, evaluate, job)
            return self._own.submit(evaluate, job)
        if self.time_limit_s is not None:
            return self.executor.submit(evaluate_apart, job, self.time_limit_s, self.grace_s)
        return self.executor.submit(evaluate, job)

    @property
    def width(self) -> int:
        """How many trials can be evaluated at once."""
        if self.workers is not None:
            return max(1, self.workers)
        known = getattr(self.executor, "_max_workers", None)
        if isinstance(known, int):
            return known
        if isinstance(self._own, ProcessPool):
            return self._own.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def _refuse_memory(self, url: str) -> None:
        if url.startswith("memory:") and (
            self.time_limit_s is not None or (self.executor is None and self.workers != 0)
        ):
            raise UsageError(
                "worker processes cannot see a store in this process's memory",
                hint="use a folder, or workers=0, or executor=ThreadPoolExecutor()",
                url=url,
            )


def _key(trial: Trial) -> _Key:
    return trial._identity()


def _outcome(run: _Run) -> Outcome:
    if run.future.cancelled():
        return Outcome(run.job.number, None)
    error = run.future.exception()
    if error is None:
        return run.future.result()
    trial = run.job.trial()
    if trial is not None and trial.attempt == run.job.attempt and trial.status.is_claimable:
        raise error  # no worker could start, or none could load the function: another trial would fare no better
    return bury(run.job, error)
