"""One study of a store: reading and changing its trials."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Container, Mapping, Sequence
from typing import Any
from uuid import uuid4

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from trialstore.experiment import Experiment
from trialstore.integrations.optuna.agreeing import agree
from trialstore.integrations.optuna.naming import METADATA
from trialstore.integrations.optuna.pending import Pending
from trialstore.integrations.optuna.spaces import distribution_of_text, distributions_of, text_of
from trialstore.integrations.optuna.trials import EMPTY_ID, STATUSES, body_of, copied, packed_values
from trialstore.integrations.optuna.view import View
from trialstore.integrations.optuna.waiting import Waiting
from trialstore.journal.journal import Draft
from trialstore.journal.machine import Outcome
from trialstore.ledger import Ledger
from trialstore.model.errors import ConflictError, SessionExpiredError
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import now_text

__all__ = ["Study"]

_log = logging.getLogger(__name__)

_ENOUGH_BYTES = 4 << 20
"""So much that waits is committed at once."""

_A_VALUE_BYTES = 64
_ENDED = tuple(state for state in TrialState if state.is_finished())


class Study:
    """The trials of one experiment, as one storage object uses them. Its methods may be called from many threads.

    Guarantees: what is set of a trial is seen at once by whoever reads through this object; others see it with the next
    commit of this one, at the latest after the linger. A call that returns what the store decided (a new trial, a step
    to another state) is seen by all when it returns, and with it all that was set through this object before. When a
    trial has ended, all that is durable.

    Args:
        experiment: Where it is stored.
        strict: Whether every call is durable when it returns.
    """

    def __init__(self, experiment: Experiment, *, strict: bool) -> None:
        self.ledger = experiment._ledger
        self.id = experiment.id
        self._strict = strict
        self._is_native = METADATA not in self.ledger.entry.config["metadata"]
        self._repeats = bool(self.ledger.entry.config["repeats"])
        self._space = experiment.space
        self._lock = threading.RLock()
        self._view = View(self.ledger, self.id, distributions_of(experiment.space))
        self._waiting = Waiting()
        self._mine: set[int] = set()
        self._fitting: dict[str, str] = {}
        self._minimize_of: tuple[object, bool] = (None, True)
        weakref.finalize(self, _commit_rest, self.ledger, self._waiting, self._view)

    @property
    def directions(self) -> list[StudyDirection]:
        """Which way each objective is better."""
        config = self.ledger.entry.config
        told = config["metadata"].get(METADATA)
        if isinstance(told, dict) and "directions" in told:
            return [StudyDirection(number) for number in told["directions"]]
        both = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
        return [both[metric["minimize"]] for metric in config["metrics"]] or [StudyDirection.NOT_SET]

    @property
    def _minimize(self) -> bool:
        entry = self.ledger.entry
        if self._minimize_of[0] is not entry:
            self._minimize_of = (entry, self.directions[0] is not StudyDirection.MAXIMIZE)
        return self._minimize_of[1]

    @property
    def metric_names(self) -> list[str]:
        """What the objective values are called."""
        return self._view.names()

    # Reading

    def trial(self, number: int) -> FrozenTrial:
        """One trial, as the caller's own copy.

        Raises:
            KeyError: there is none.
        """
        with self._lock:
            trial = self._known(number)
            over = self._over(trial)
            return copied(trial) if over is trial else over

    def trials(self, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """All trials, or those in some states, by number.

        Cost: what changed since the last look, and a pointer for each trial; where only trials are asked for that have
        not ended, for each of those.
        """
        with self._lock:
            self._view.refresh()
            if states is None:
                trials = self._view.all()
            else:
                ended = any(state in states for state in _ENDED)
                trials = [one for one in (self._view.all() if ended else self._view.open()) if one.state in states]
            if trials and (numbers := self._waiting.numbers()):
                trials = [self._over(trial) if trial.number in numbers else trial for trial in trials]
            return trials

    def best(self) -> FrozenTrial | None:
        """The complete trial with the best first value."""
        with self._lock:
            self._view.refresh()
            return self._view.best(self._minimize)

    def running(self) -> list[int]:
        """Numbers of the trials that run."""
        return [trial.number for trial in self.trials((TrialState.RUNNING,))]

    def _known(self, number: int) -> FrozenTrial:
        """A trial without what waits: as this process knows it where only this process changes it."""
        trial = self._view.find(number)
        mine = number in self._mine
        if trial is None or not (mine or trial.state.is_finished()):
            self._view.refresh(look=not mine)
            trial = self._view.find(number)
            if trial is None:
                raise KeyError(f"study {self.id} has no trial of number {number}")
        return trial

    def _over(self, trial: FrozenTrial) -> FrozenTrial:
        for pending in self._waiting.of(trial.number):
            trial = pending.over(trial)
        return trial

    def _require_open(self, number: int) -> None:
        if number in self._mine and self._view.is_open(number):
            return
        if self._known(number).state.is_finished():
            raise _finished(number)

    # Trials

    def create(self, template: FrozenTrial | None) -> int:
        """Add a trial, which runs where nothing else is said; its number."""
        if template is not None:
            return self.create_many([template])[0]
        now, worker = now_text(), self.ledger.session.worker
        body: dict[str, Any] = {"id": self._id(EMPTY_ID), "params": {}, "status": "RUNNING", "attempt": 1}
        body |= {"worker": worker, "submitted_at": now, "started_at": now}
        number: int = self._accepted(self._commit(Draft("register", {"trials": [body]}), force=self._strict))
        begun = TrialRecord(number, body["id"], {}, Status.RUNNING, now, 0, started_at=now)
        with self._lock:
            self._view.begin(begun)
            self._mine.add(number)
        return number

    def create_many(self, templates: Sequence[FrozenTrial]) -> range:
        """Add trials in one commit, with all that they have; their numbers."""
        names, worker = self._view.names(), self.ledger.session.worker
        bodies = [body_of(template, names, worker) for template in templates]
        for body in bodies:
            body["id"] = self._id(body["id"])
        first: int = self._accepted(self._commit(Draft("register", {"trials": bodies})))
        with self.ledger.journal.view(refresh=False) as state:
            finished_live = state.finished_live
        if any(template.state.is_finished() for template in templates):
            self.ledger.maintain(finished_live)
        return range(first, first + len(bodies))

    def _id(self, hashed: str) -> str:
        # Where repeats are forbidden, two trials that have no parameters yet are none.
        return hashed if self._repeats or hashed != EMPTY_ID else uuid4().hex

    def step(self, number: int, state: TrialState, values: Sequence[float] | None) -> bool:
        """Take a trial to another state; False when it shall run and somebody runs it already."""
        with self._lock:
            self._require_open(number)
            if state is TrialState.RUNNING and self._known(number).state is TrialState.RUNNING:
                return False
        fields: dict[str, Any] = {"trial": number, "status": STATUSES[state], "when": now_text()}
        if values is not None:
            fields["metrics"] = packed_values(values, self._view.names())
        if state is TrialState.RUNNING:
            fields["worker"] = self.ledger.session.worker
        outcome = self._commit(Draft("advance", fields), force=self._strict or state.is_finished())
        if outcome.reason == "transition":
            return False
        finished_live: int = self._accepted(outcome)
        if state is TrialState.RUNNING:
            with self._lock:
                self._view.fall_behind()
                self._mine.add(number)
        else:
            self._mine.discard(number)
            if state.is_finished():
                self.ledger.maintain(finished_live)
        return True

    def set_param(self, number: int, name: str, internal: float, distribution: BaseDistribution) -> None:
        """Set a parameter, given as the number that the sampler works with.

        Raises:
            ValueError: the study has an incompatible distribution of it, in whatever process it came first.
        """
        with self._lock:
            self._require_open(number)
            text = text_of(distribution)
            if self._fitting.get(name) != text:
                known = self._view.distributions.get(name) or self._agreed(name, distribution)
                check_distribution_compatibility(known, distribution)
                self._fitting[name] = text
            value = distribution_of_text(text).to_external_repr(internal)
            if self._is_native and name in self._space:
                _, problem = self._space[name].check(value)
                if problem is not None:
                    raise ValueError(f"{name!r} {problem}")
            self._pending(number, len(text) + _A_VALUE_BYTES).set_param(name, value, distribution, text)
        self._set()

    def _agreed(self, name: str, distribution: BaseDistribution) -> BaseDistribution:
        """The study's distribution of a parameter that this process knows of no trial."""
        self._view.refresh()
        self._view.read_all()
        known = self._view.distributions
        if name not in known:
            known[name] = agree(self.ledger.journal, self._commit, name, distribution)
        return known[name]

    def set_attr(self, number: int, key: str, value: Any, size_bytes: int, *, system: bool) -> None:
        """Set an attribute, which JSON can say."""
        with self._lock:
            self._require_open(number)
            self._pending(number, size_bytes).set_attr(key, value, system=system)
        self._set()

    def set_step(self, number: int, step: int, value: float) -> None:
        """Set an intermediate value."""
        with self._lock:
            self._require_open(number)
            self._pending(number, _A_VALUE_BYTES).set_step(self._view.names()[0], step, value)
        self._set()

    def _pending(self, number: int, size_bytes: int) -> Pending:
        self.ledger.require_writable()
        first = self._waiting.since is None
        pending = self._waiting.get(number, size_bytes)
        if first and not self._strict:
            self.ledger.session.linger(self)
        return pending

    def _set(self) -> None:
        if self._strict or self._waiting.size_bytes > _ENOUGH_BYTES:
            self.commit()

    # Committing

    def commit(self) -> None:
        """Commit what waits.

        Raises:
            UpdateFinishedTrialError: under `strict`, when a trial has ended meanwhile.
        """
        self.ledger.require_writable()
        self._commit()

    def execute(self, draft: Draft) -> Outcome:
        """Commit what waits, and a command; what became of it."""
        return self._commit(draft)

    def _commit(self, last: Draft | None = None, *, force: bool = True) -> Outcome:
        """Commit what waits, then a command; one about a trial of which something waits takes that along.

        Args:
            last: The command.
            force: Whether all that must be durable when it returns, or within the linger.
        """
        self.ledger.require_writable()
        with self._lock:
            taken = self._waiting.take_all()
            bodies = _fields(taken, self._view)
        if last is not None:
            mine = [body for body in bodies if body["trial"] == last.fields.get("trial")]
            bodies = [body for body in bodies if body not in mine]
            last = Draft(last.kind, {**mine[0], **last.fields}) if mine else last
        drafts = [Draft("advance", body) for body in bodies]
        if last is not None:
            drafts.append(last)
        if not drafts:
            return Outcome(None)
        try:
            try:
                outcomes = self.ledger.execute(*drafts, force=force)
            except SessionExpiredError:
                # Nobody's lease is at stake: a new session may say the same.
                outcomes = self.ledger.execute(*drafts, force=force)
        except BaseException:
            self._waiting.put_back(taken)  # sent twice it is the same
            self.ledger.session.linger(self)
            raise
        if taken:
            with self._lock:
                self._view.fall_behind()
                self._waiting.forget(taken)
        self._tell_refusals(drafts, outcomes, last)
        number = None if last is None else last.fields.get("trial")
        if number in taken and outcomes[-1].reason == "transition":
            self._waiting.put_back({number: taken[number]})
            self.ledger.session.linger(self)
        return outcomes[-1]

    def _tell_refusals(self, drafts: list[Draft], outcomes: list[Outcome], last: Draft | None) -> None:
        for draft, outcome in zip(drafts, outcomes, strict=True):
            if outcome.reason is not None and draft is not last:
                _log.warning("what was set of trial %s was refused: %s", draft.fields["trial"], outcome.reason)
                if self._strict and last is None:
                    self._accepted(outcome)

    def _accepted(self, outcome: Outcome) -> Any:
        if outcome.reason == "finished":
            raise _finished(outcome.value["trial"])
        if outcome.reason == "no trial":
            raise KeyError(f"study {self.id} has no trial of number {outcome.value['trial']}")
        if outcome.reason == "owned":
            raise ConflictError(
                "trial belongs to a worker of the store",
                hint="let that worker finish it, or run fix_lost_trials when it is gone",
                **outcome.value,
            )
        if outcome.reason is not None:
            self.ledger.refuse(outcome)
        return outcome.value

    # What the session's thread calls

    @property
    def has_waiting(self) -> bool:
        """Whether something was set that is not known to be committed."""
        return bool(self._waiting.numbers())

    def flush_lingering(self) -> None:
        """Commit what has waited for longer than the linger."""
        since = self._waiting.since
        if since is not None and time.monotonic() - since >= self.ledger.session.options.linger_s / 2:
            self._commit()


def _finished(number: int) -> UpdateFinishedTrialError:
    return UpdateFinishedTrialError(f"Trial#{number} has already finished and can not be updated.")


def _commit_rest(ledger: Ledger, waiting: Waiting, view: View) -> None:
    """Commit what waits when the study is collected, or the process ends."""
    taken = waiting.take_all()
    if taken:
        ledger.execute(*(Draft("advance", fields) for fields in _fields(taken, view)))


def _fields(taken: Mapping[int, Pending], view: View) -> list[dict[str, Any]]:
    found = []
    for number, pending in taken.items():
        trial = view.find(number)
        assert trial is not None, "values were set of a trial that nobody looked at"
        found.append(pending.fields(trial))
    return found
