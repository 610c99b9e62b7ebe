"""`Experiment.run`: an experiment's trials evaluated in one call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trialstore.ledger import Ledger
from trialstore.model.errors import UsageError
from trialstore.model.metric import Metric
from trialstore.model.space import Space
from trialstore.model.status import BROKEN, Status

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from trialstore.runner.drive import RunResult
    from trialstore.runner.function import Takes
    from trialstore.runner.suggest import Ask

__all__ = ["Runs"]


class Runs:
    """The verb that evaluates trials; an experiment has what it needs."""

    _ledger: Ledger
    space: Space
    declared_metrics: tuple[Metric, ...]

    @property
    def counts(self) -> dict[Status, int]:
        """Trials by status."""
        raise NotImplementedError

    @property
    def max_broken(self) -> int | None:
        """How many may break."""
        raise NotImplementedError

    @property
    def max_trials(self) -> int | None:
        """How many trials shall succeed."""
        raise NotImplementedError

    @property
    def is_done(self) -> bool:
        """Whether `max_trials` trials have succeeded."""
        return self.max_trials is not None and self.counts.get(Status.SUCCEEDED, 0) >= self.max_trials

    @property
    def is_broken(self) -> bool:
        """Whether `max_broken` trials have crashed, failed or timed out.

        Those of the experiment itself count, and none of its parents and children.
        """
        counts = self.counts
        return self.max_broken is not None and sum(counts.get(s, 0) for s in BROKEN) >= self.max_broken

    def run(
        self,
        function: Callable[..., Any] | str,
        *,
        n_trials: int | None = None,
        workers: int | None = None,
        executor: Executor | None = None,
        time_limit_s: float | None = None,
        retries: int = 0,
        takes: Takes = "trial",
        ask: Ask | None = None,
        seed: int = 0,
        progress: bool | None = None,
    ) -> RunResult:
        """Evaluate trials with a function, on worker processes, until the queue is empty or there are enough.

        Each trial is claimed, evaluated and ended by a worker with a session of its own; its result, or its exception
        and traceback, is durable as soon as it has ended. Ctrl-C gives the trials under way back as INTERRUPTED, for
        the next run, and goes on as KeyboardInterrupt. Any number of runs, on any machines, may work on one experiment.

        Args:
            function: Given the trial (see `takes`), returns a mapping of metrics, or a number where one metric is
                declared; or it ends the trial itself, and returns None. Or where it is, as ``"module:function"``.
                Worker processes import it, so it stands at the top level of a module, and a script that runs
                it is guarded by ``if __name__ == "__main__":``.
            n_trials: How many to evaluate. Where fewer are pending, `ask` gives more, and without it they are drawn
                from the space. None evaluates what is pending. The run ends earlier when `is_done` or `is_broken`.
            workers: Worker processes, as many as cores by default; 0 evaluates in this process, one after the other.
                With an executor: how many trials it is given at a time.
            executor: Any `concurrent.futures.Executor` instead, such as Dask's ``client.get_executor()``.
            time_limit_s: A trial that takes longer ends as TIMED_OUT, and its process is ended.
            retries: How often the parameters of a trial that crashed or timed out are tried again, each time as a new
                trial with the last one as its `parent` and the attribute ``retry``.
            takes: What the function is given: ``"trial"``, ``"params"`` (a dict) or ``"keywords"``.
            ask: Called for the parameters of one more trial; None means that there are no more now.
            seed: Of the drawing from the space. The n-th trial of the experiment is drawn alike whenever it is.
            progress: Whether a progress bar is shown; by default when standard error is a terminal.

        Raises:
            UsageError: an argument is wrong, the function cannot be sent to workers, no worker can start, or there are
                fewer trials than `n_trials` and nobody to ask.

        Example:
            >>> import trialstore as ts
            >>> store = ts.open("memory://doctest-run")
            >>> experiment = store.create_experiment("run", metrics=[ts.Metric("loss")], space={"x": ts.Real(-1, 1)})
            >>> ran = experiment.run(lambda x: x**2, takes="keywords", n_trials=3, workers=0)
            >>> ran.counts, experiment.best().metrics["loss"] < 1
            ({<Status.SUCCEEDED: 'SUCCEEDED'>: 3}, True)
            >>> store.close()
        """
        from trialstore.runner.bar import bar
        from trialstore.runner.drive import drive
        from trialstore.runner.runner import Runner
        from trialstore.runner.suggest import Source

        self._ledger.require_writable()
        if retries and not self._ledger.entry.config["repeats"]:
            raise UsageError("a trial cannot be tried again: the experiment allows no repeats", retries=retries)
        runner = Runner(function, workers=workers, executor=executor, time_limit_s=time_limit_s, takes=takes)
        source = Source(self._ledger, self.declared_metrics, self.space, ask, seed)
        shown = sys.stderr.isatty() if progress is None else progress
        with runner:
            return drive(
                runner, source, goal=n_trials, retries=retries, over=self._why_over, show=bar if shown else None
            )

    def _why_over(self, running: int) -> str | None:
        """Why no more trials shall be evaluated, when so many are; None when they shall."""
        if self.is_broken:
            return "max_broken reached"
        succeeded = self.counts.get(Status.SUCCEEDED, 0)
        if self.max_trials is not None and succeeded + running >= self.max_trials:
            return "max_trials reached"
        return None
