"""Running an experiment: its queue is worked off, failures are tried again, and an interruption gives trials back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from trialstore.model.errors import TransitionError, UsageError
from trialstore.model.status import Status
from trialstore.runner.evaluate import Outcome
from trialstore.runner.runner import Runner
from trialstore.runner.suggest import RETRY, Source
from trialstore.trial import Trial

__all__ = ["Progress", "RunResult", "Show", "drive"]

_LOOK_S = 0.5
_REFUSALS = 3
_RETRIED = frozenset({Status.CRASHED, Status.TIMED_OUT})


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run did.

    Attributes:
        trials: Where each trial stands that this run has evaluated, by number, in the order in which they ended.
        retried: Numbers of those that were tried again, by the number of the trial that did.
        stopped: Why the run ended before its trials did, such as ``"max_trials reached"``; None when it did not.
    """

    trials: Mapping[int, Status]
    retried: Mapping[int, int]
    stopped: str | None

    @property
    def counts(self) -> dict[Status, int]:
        """Trials by status."""
        return dict(sorted(Counter(self.trials.values()).items()))


@dataclass(slots=True)
class Progress:
    """How far a run is, for a view to show.

    Attributes:
        goal: Trials that shall be evaluated; None when the queue says.
        running: Trials that are evaluated now.
        waiting: Trials in the queue.
        counts: Trials that have ended, by status.
    """

    goal: int | None
    running: int = 0
    waiting: int = 0
    counts: Counter[Status] = field(default_factory=Counter)

    @property
    def ended(self) -> int:
        """Trials that have ended."""
        return sum(self.counts.values())


Show = Callable[[], AbstractContextManager[Callable[[Progress], None]]]


def drive(
    runner: Runner,
    source: Source,
    *,
    goal: int | None,
    retries: int,
    over: Callable[[int], str | None],
    show: Show | None = None,
) -> RunResult:
    """Evaluate trials until there are no more, or enough.

    Args:
        runner: Evaluates them.
        source: Gives them.
        goal: How many; None for all that are pending. A trial that repeats a failed one does not count.
        retries: How often a trial that crashed or timed out is tried again.
        over: Given how many trials are evaluated now, why no more shall be; None to go on.
        show: Opens a view of the progress.

    Raises:
        UsageError: there are fewer trials than the goal, and nobody to ask for more; nothing was run.
    """
    if goal is not None and (type(goal) is not int or goal < 1):
        raise UsageError("n_trials must be a whole number, 1 or more", n_trials=goal)
    if type(retries) is not int or retries < 0:
        raise UsageError("retries must be a whole number, 0 or more", retries=retries)
    there = len(source.pending())
    if goal is not None and goal > there and not source.can_suggest:
        raise UsageError(
            "there are not so many trials, and none can be suggested",
            hint="give the experiment a space, pass ask=, or register more trials",
            pending=there,
            n_trials=goal,
        )
    run = _Drive(runner, source, goal, retries, over)
    with (show or _unseen)() as tell:
        try:
            while run.fill():
                tell(run.progress)
                run.take(runner.wait(_LOOK_S))
            tell(run.progress)
        except BaseException as error:
            run.take(runner.interrupt(type(error).__name__))
            raise
    return RunResult(run.ended, run.retried, run.stopped)


class _Drive:
    def __init__(
        self, runner: Runner, source: Source, goal: int | None, retries: int, over: Callable[[int], str | None]
    ) -> None:
        self._runner = runner
        self._source = source
        self._retries = retries
        self._over = over
        self._begun = 0
        self._queue: list[int] = []
        self._again: list[int] = []
        self._running: dict[int, Trial] = {}
        self._refusals: Counter[int] = Counter()
        self._chance = random.Random()
        self.ended: dict[int, Status] = {}
        self.retried: dict[int, int] = {}
        self.stopped: str | None = None
        self.progress = Progress(goal)

    def fill(self) -> bool:
        """Hand out trials while there is room; whether any is evaluated now."""
        goal = self.progress.goal
        looked = False
        while len(self._running) < self._runner.width:
            self.stopped = self._over(len(self._running))
            if self.stopped is not None:
                break
            enough = goal is not None and self._begun >= goal
            if not self._queue and not enough and not looked:
                self._queue, looked = self._look(), True
            trial = self._next(enough)
            if trial is None:
                break
            self._hand_out(trial)
        self.progress.running = len(self._running)
        self.progress.waiting = len(self._queue) + len(self._again)
        return bool(self._running)

    def _look(self) -> list[int]:
        """What waits in the queue, the last one first."""
        free = [n for n in self._source.pending() if n not in self._running and self._refusals[n] < _REFUSALS]
        if self._refusals:
            # Somebody else works off the same queue: not all of us should begin with the same trial.
            front = free[: 4 * self._runner.width]
            self._chance.shuffle(front)
            free[: len(front)] = front
        free.reverse()
        return free

    def _next(self, enough: bool) -> Trial | None:
        while self._again or (self._queue and not enough):
            trial = self._source.trial(self._again.pop() if self._again else self._queue.pop())
            if trial is not None and trial.status.is_claimable and trial.number not in self._running:
                return trial
        if enough or self.progress.goal is None:
            return None
        return self._source.suggest()

    def _hand_out(self, trial: Trial) -> None:
        self._running[trial.number] = trial
        self._begun += RETRY not in trial.attributes
        try:
            self._runner.run(trial)
        except TransitionError:
            self.take([Outcome(trial.number, None)])
        self.take(self._runner.settle())

    def take(self, outcomes: list[Outcome]) -> None:
        """Note what became of trials, and register again what shall be tried again."""
        for outcome in outcomes:
            trial = self._running.pop(outcome.number)
            if outcome.status is None:
                self._refusals[outcome.number] += 1
                self._begun -= RETRY not in trial.attributes
                continue
            self.ended[outcome.number] = outcome.status
            self.progress.counts[outcome.status] += 1
            tries = trial.attributes.get(RETRY, 0)
            if outcome.status in _RETRIED and tries < self._retries:
                again = self._source.retry(trial, tries + 1).number
                self.retried[outcome.number] = again
                self._again.append(again)


def _unseen() -> AbstractContextManager[Callable[[Progress], None]]:
    return nullcontext(lambda progress: None)
