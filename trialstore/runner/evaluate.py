"""One trial evaluated in this process, whichever that is: claimed here, run, and ended here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trialstore.ledger import Ledger
from trialstore.model.errors import ConflictError
from trialstore.model.metric import Metric
from trialstore.model.status import Status
from trialstore.runner.function import Function, Takes, answer, call
from trialstore.runner.pool import LIMIT, ProcessPool, WorkerDiedError
from trialstore.runner.stopping import Stopped, stoppable
from trialstore.trial import Trial

__all__ = ["CANCEL", "Job", "Outcome", "bury", "evaluate", "evaluate_apart"]


CANCEL = "canceled: "
"""What a reason begins with to stop a trial for good, rather than to give it back."""


@dataclass(frozen=True, slots=True)
class Job:
    """A trial to evaluate, as a value that can be sent to another process.

    Attributes:
        ledger: Of the trial's experiment; in another process it becomes that process's own, with a session of its own.
        metrics: The experiment's.
        number: The trial.
        attempt: How often it had been claimed when it was handed out.
        function: What evaluates it.
        takes: What the function is given.
    """

    ledger: Ledger
    metrics: tuple[Metric, ...]
    number: int
    attempt: int
    function: Function
    takes: Takes

    def trial(self) -> Trial | None:
        """The trial as it is now."""
        record = self.ledger.record(self.number)
        return None if record is None else Trial(self.ledger, self.metrics, record)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        number: The trial.
        status: Where it stands; None when it was another's before, or became another's meanwhile.
    """

    number: int
    status: Status | None


def evaluate(job: Job) -> Outcome:
    """Claim a trial for this process's session, run the function, and end the trial with what comes of it.

    Guarantees: when it returns, the trial's result, or the exception with its traceback, is durable. A trial that
    another session holds is left alone.
    """
    trial = job.trial()
    if trial is None or not (trial.status.is_claimable or trial._held.owned):
        return Outcome(job.number, None)
    stopped: Stopped | None = None
    value: Any = None
    try:
        with trial.begin():
            value, stopped = stoppable(lambda: call(job.function, job.takes, trial))
        _end(trial, value, stopped)
    except ConflictError:
        # Another was first; or the lease ran out meanwhile, and the result was kept as a late one.
        return Outcome(job.number, None)
    return Outcome(job.number, trial.status)


def _end(trial: Trial, value: Any, stopped: Stopped | None) -> None:
    if not trial.status.is_active:
        return  # the function ended it, or gave it back
    if stopped is not None:
        _stop(trial, stopped.reason)
    elif trial.exception is not None:
        trial.crashed()
    else:
        answer(trial, value)


def _stop(trial: Trial, reason: str) -> None:
    if reason == LIMIT:
        trial.finish(Status.TIMED_OUT, {}, reason=reason)
    elif reason.startswith(CANCEL):
        trial.cancel(reason.removeprefix(CANCEL))
    else:
        trial.interrupt(reason)


def evaluate_apart(job: Job, time_limit_s: float, grace_s: float) -> Outcome:
    """`evaluate` in a process of its own that is ended at its time limit, for executors that cannot end one."""
    with ProcessPool(1, grace_s=grace_s) as pool:
        try:
            outcome: Outcome = pool.submit_within(time_limit_s, evaluate, job).result()
        except WorkerDiedError as error:
            return bury(job, error)
    return outcome


def bury(job: Job, error: BaseException) -> Outcome:
    """End the trial of a process that is gone: TIMED_OUT where it was ended at its limit, else CRASHED."""
    trial = job.trial()
    if trial is None or trial.attempt != job.attempt + 1 or not trial.status.is_active:
        return Outcome(job.number, None if trial is None or not trial.status.is_final else trial.status)
    reason = getattr(error, "reason", None)
    try:
        if reason is not None:
            _stop(trial, reason)
        else:
            trial.crashed(f"{type(error).__name__}: {error}")
    except ConflictError:
        return Outcome(job.number, None)
    return Outcome(job.number, trial.status)
