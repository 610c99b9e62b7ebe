"""The state of an experiment in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from trialstore.journal.experiment import ExperimentState
from trialstore.model.status import Status
from trialstore.model.times import parse_time

__all__ = ["ExperimentStats"]


@dataclass(frozen=True, slots=True)
class ExperimentStats:
    """How far an experiment is.

    Attributes:
        trials_completed: Trials that succeeded.
        best_trials_id: Number of the best trial by the first metric, None when there is none.
        best_evaluation: Its value of that metric; never NaN.
        start_time: When the first trial was registered, aware UTC.
        finish_time: When the last trial ended, aware UTC.
        duration: Between the two.
        max_trials: How many trials shall succeed, None for no limit.
        nb_trials: Trials there are, of any status.
        progress: Share of `max_trials` that succeeded, 0 to 1; of all the trials where there is no limit.
        trial_status_count: Trials by status; statuses that no trial has are left out.
        sum_of_trials_time: What all ended attempts took together.
        eta: Time until `max_trials` succeed at the pace so far, None when it cannot be told.

    Source: Oríon, `orion.core.worker.experiment.ExperimentStats`.
    """

    trials_completed: int
    best_trials_id: int | None
    best_evaluation: float | None
    start_time: datetime | None
    finish_time: datetime | None
    duration: timedelta
    max_trials: int | None
    nb_trials: int
    progress: float | None
    trial_status_count: Mapping[Status, int]
    sum_of_trials_time: timedelta
    eta: timedelta | None

    @classmethod
    def of(cls, state: ExperimentState, max_trials: int | None, best: tuple[int, float] | None) -> ExperimentStats:
        """The stats of a state."""
        counts = {status: count for status, count in sorted(state.counts.items()) if count}
        completed, total = counts.get(Status.SUCCEEDED, 0), sum(counts.values())
        start = None if state.first_at is None else parse_time(state.first_at)
        finish = None if state.last_at is None else parse_time(state.last_at)
        duration = timedelta(0) if start is None or finish is None else max(finish - start, timedelta(0))
        goal = max_trials if max_trials is not None else total
        eta = None
        if max_trials is not None and completed >= max_trials:
            eta = timedelta(0)
        elif max_trials is not None and completed:
            eta = duration / completed * (max_trials - completed)
        return cls(
            trials_completed=completed,
            best_trials_id=None if best is None else best[0],
            best_evaluation=None if best is None else best[1],
            start_time=start,
            finish_time=finish,
            duration=duration,
            max_trials=max_trials,
            nb_trials=total,
            progress=min(1.0, completed / goal) if goal else None,
            trial_status_count=counts,
            sum_of_trials_time=timedelta(microseconds=state.busy_us),
            eta=eta,
        )
