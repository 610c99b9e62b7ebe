"""AMLTK's tasks write their trials down as they go."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from amltk.optimization import Trial
from amltk.scheduling import Plugin, Task

from trialstore.experiment import Experiment
from trialstore.integrations.amltk.history import adopt, asked, bind, ended_record, save_report
from trialstore.integrations.amltk.objects import Objects
from trialstore.journal.journal import Draft
from trialstore.model.errors import LostTrialError, TransitionError
from trialstore.model.times import format_time
from trialstore.registering import register, trial_body
from trialstore.trial import Trial as StoreTrial

__all__ = ["TrialStorePlugin"]

_log = logging.getLogger(__name__)

_RESULT = ("metrics", "summary", "exception", "traceback", "profiles", "extras", "storage")


class TrialStorePlugin(Plugin):
    """A plugin of AMLTK's tasks that keeps an experiment of a store up to date: one trial for each that is submitted.

    A submitted trial is RUNNING in the store, with a lease that the scheduler's process keeps alive; when its report
    comes it ends as the report says, in one commit with everything that the report has. A trial whose function raised,
    or gave no report, is CRASHED; one that was cancelled is CANCELED. Those of a scheduler that was killed lose their
    lease, and become INTERRUPTED by `Experiment.fix_lost_trials`.

    Args:
        experiment: Where to; `TrialStoreBucket.experiment` is one.

    Attributes:
        numbers: The trials' numbers by name, of the last trial where several have one name.

    Example:
        >>> from amltk import Metric, Scheduler, SequentialExecutor, Trial
        >>> from trialstore.integrations.amltk import TrialStoreBucket, TrialStorePlugin
        >>> loss = Metric("loss")
        >>> bucket = TrialStoreBucket("memory://doctest/plugin", "tune", metrics=loss)
        >>> def evaluate(trial):
        ...     return trial.success(loss=trial.config["x"] ** 2)
        >>> scheduler = Scheduler(SequentialExecutor())
        >>> task = scheduler.task(evaluate, plugins=TrialStorePlugin(bucket.experiment))
        >>> @scheduler.on_start
        ... def begin():
        ...     _ = task.submit(Trial.create(name="a", config={"x": 3.0}, metrics=[loss], bucket=bucket / "a"))
        >>> _ = scheduler.run()
        >>> bucket.experiment.sql("SELECT name, status, metrics.loss FROM trials").fetchall()
        [('a', 'SUCCEEDED', 9.0)]

    Cost: two commits a trial.
    """

    name: ClassVar = "trialstore"

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self.experiment = experiment
        self.numbers: dict[str, int] = {}
        self._running: dict[Any, tuple[Trial[Any], StoreTrial]] = {}

    def attach_task(self, task: Task[..., Any]) -> None:
        """Follow a task; AMLTK calls it."""
        task.on_submitted(self._submitted, hidden=True)
        task.on_result(self._result, hidden=True)
        task.on_exception(self._exception, hidden=True)
        task.on_cancelled(self._cancelled, hidden=True)

    def _submitted(self, future: Any, *args: Any, **kwargs: Any) -> None:
        trials = [given for given in (*args, *kwargs.values()) if isinstance(given, Trial)]
        for trial in trials[:1]:
            row = asked(trial, self.experiment)
            body = trial_body(
                self.experiment.space,
                row["params"],
                row["fidelity"],
                name=row["name"],
                seed=row["seed"],
                attributes=row["attributes"],
                info=row.get("info"),
            )
            body["submitted_at"] = format_time(row["submitted_at"])
            held = register(self.experiment._ledger, self.experiment.declared_metrics, [body], reserve=True)[0]
            self.numbers[trial.name] = held.number
            self._running[future] = (trial, held)

    def _result(self, future: Any, result: Any) -> None:
        if future not in self._running:
            return
        trial, held = self._running.pop(future)
        if isinstance(result, Trial.Report):
            self._finish(held, result)
        else:
            error = TypeError(f"the function returned {type(result).__name__}, not a report")
            self._finish(held, trial.crashed(error))

    def _exception(self, future: Any, error: BaseException) -> None:
        if future in self._running:
            trial, held = self._running.pop(future)
            self._finish(held, trial.crashed(error))

    def _cancelled(self, future: Any) -> None:
        if future in self._running:
            self._running.pop(future)[1].cancel("cancelled by the scheduler")

    def _finish(self, trial: StoreTrial, report: Trial.Report[Any]) -> None:
        ledger = self.experiment._ledger
        body = ended_record(report, self.experiment).to_json()
        fields: dict[str, Any] = {name: body[name] for name in _RESULT if name in body}
        fields |= {"trial": trial.number, "attempt": trial.attempt, "status": body["status"]}
        # With an executor that runs at once, the report is there before AMLTK tells that the trial was submitted.
        fields["when"] = max(body["ended_at"], trial._held.record.started_at or "")
        note = Draft("annotate", {"trial": trial.number, "attributes": body["attributes"]})
        moved = adopt(self.experiment, {trial.number: report}, trial.attempt)
        *_, outcome = ledger.execute(*moved, note, Draft("finish", fields))
        trial._held.disown()
        if outcome.reason is not None:
            try:
                ledger.refuse(outcome)
            except (LostTrialError, TransitionError):
                # Somebody took the trial meanwhile; what it cost to evaluate is not thrown away.
                _log.warning("trial %d was lost, its report is written as another trial", trial.number, exc_info=True)
                again = self.numbers[report.name] = save_report(report, self.experiment)
                Objects(self.experiment).share(trial.number, again, attempt=1)
            return
        bind(self.experiment, report, trial.number)
        ledger.maintain(outcome.value)
