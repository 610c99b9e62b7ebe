"""What happens to the trials of an experiment from outside of their run, and to its algorithm."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from trialstore.algorithms import lock_of
from trialstore.amendments import amend_trial, remove_trials
from trialstore.life.typed_results import RESULTS, members_of
from trialstore.model.codec import unpack
from trialstore.model.errors import AlgorithmChangedError, TransitionError, UsageError
from trialstore.model.status import Status
from trialstore.model.times import now_text
from trialstore.reading import Readable
from trialstore.report import Report
from trialstore.trial import Trial

__all__ = ["Changing"]


class Changing(Readable):
    """The verbs of an experiment that change a trial, or the algorithm, that this process need not run."""

    @property
    def algorithms(self) -> Any:
        """The algorithm: the object that this process gave, or the configuration that the experiment was created with.

        Any object will do that has a `configuration`, a `state_dict` and a `set_state`: `acquire_algorithm_lock` hands
        it out with the stored state.
        """
        return self._algorithm_configuration if self._algorithm is None else self._algorithm

    @algorithms.setter
    def algorithms(self, algorithm: Any) -> None:
        self._algorithm = algorithm

    _algorithm: Any = None

    def set_trial_status(self, trial: Trial | int, status: Status | str, *, was: Status | str | None = None) -> Trial:
        """Take a trial to any status, when it still has the one that it is expected to have; returns the trial.

        Of several that do it at once exactly one succeeds. Unlike `Trial.set_status` this takes a trial anywhere, also
        back from how it ended; a running one is taken from its worker, whose result is then kept as a late one.

        Args:
            trial: The trial, or its number.
            status: Where to. RUNNING claims it for this session.
            was: What its status must be now. By default what the handle last knew; with a number whatever it is.

        Raises:
            TransitionError: it has another status; nothing was changed.

        Cost: one conditional put; of a trial that lies in a part a second one and a read.

        Source: Oríon, `Experiment.set_trial_status`.
        """
        handle = trial if isinstance(trial, Trial) else self.trial(trial)
        asked, known = Status.parse(status), handle.status
        expected = known if was is None else Status.parse(was)
        if asked.is_active or (expected.is_active and known.is_active and expected.allows(asked)):
            handle.set_status(asked, was=expected)
            return handle
        fields: dict[str, Any] = {"status": asked}
        if was is not None or isinstance(trial, Trial):
            fields["was"] = expected
        if asked.is_final:
            fields["ended_at"] = now_text()
        amend_trial(self._ledger, handle.number, fields)
        return handle.refresh()

    def update_completed_trial(self, trial: Trial, results_file: str | os.PathLike[str] | None = None) -> Report:
        """End a running trial with its typed results, in one commit with all that was logged before.

        The objective becomes the first declared metric, whatever its name; other results the metric of their name, or
        an entry of the summary. All of them are `Trial.results` afterwards, with their types.

        Args:
            trial: The trial, whose `results` were set.
            results_file: A JSON file with a list of objects of ``name``, ``type`` and ``value``, instead.

        Raises:
            UsageError: there are no results, or the file holds none.
            TransitionError: the trial is not running.
            InvalidMetricsError: no result is the objective, or a declared metric is missing; the trial still runs.
            LostTrialError: the trial is another worker's now; the results are kept as late ones.

        Source: Oríon, `Experiment.update_completed_trial`.
        """
        if results_file is not None:
            trial.results = _read_results(results_file)
        results = trial._held.results
        if results is None:
            raise UsageError("trial has no results", hint="set trial.results first", trial=trial.number)
        if not trial.status.is_active:
            raise TransitionError(
                "trial is not running", hint="reserve it first", trial=trial.number, status=trial.status
            )
        metrics, summary, stored = members_of(results, self.declared_metrics)
        trial._held.keep().extras[RESULTS] = stored
        report = trial.finish(Status.SUCCEEDED, metrics, summary=summary)
        trial._held.results = None
        return report

    def delete_trials(self, trials: Trial | int | Iterable[Trial | int]) -> int:
        """Take trials out of the experiment, with all that was logged and stored of them; returns how many.

        Guarantees: all of them are gone when it returns, or none. Their numbers are never used again; where repeats are
        forbidden, their parameters may be registered again. A worker that still evaluates one finds that it is
        gone. The past shows them for as long as the store keeps it; their bytes in files go with it.

        Raises:
            TrialNotFoundError: one of them is not there; nothing was removed.
        """
        chosen = [trials] if isinstance(trials, Trial | int) else trials
        return remove_trials(self._ledger, [one.number if isinstance(one, Trial) else one for one in chosen])

    @contextmanager
    def acquire_algorithm_lock(self, timeout: float = 60, retry_interval: float = 1) -> Iterator[Any]:
        """Have the algorithm to oneself for the length of a with-block; the state that it leaves is stored.

        One session at a time holds the lock, on all machines. When the block raises, the stored state stays what
        it was. A holder that dies loses the lock when its lease runs out; one that was slower than its lease is told
        so, and cannot overwrite what came after it.

        Args:
            timeout: Seconds to wait for another holder; held, the lock is held for as long as the block takes.
            retry_interval: Seconds between looks.

        Yields:
            The object that was given as `algorithms`, with the stored state set; or a `LockedAlgorithm`, whose
            `state` can be any value that `trialstore.model.codec` encodes, or bytes.

        Raises:
            LockAcquisitionTimeout: another session held it all the time; nothing was changed.
            AlgorithmChangedError: the algorithm is configured otherwise than when it last ran here. It is a
                RuntimeError.
            LostLockError: the block ended after the lock was lost; its state was not stored.

        Cost: two commits; the state is read where this process does not know it, and written when it was changed: to an
        artifact beyond 4 KiB.

        Example:
            >>> import trialstore as ts
            >>> experiment = ts.open("memory://doctest-lock").create_experiment("locked", exist_ok=True)
            >>> with experiment.acquire_algorithm_lock() as algorithm:
            ...     algorithm.state = {"seen": 1}
            >>> with experiment.acquire_algorithm_lock(timeout=5, retry_interval=0.1) as algorithm:
            ...     algorithm.state
            {'seen': 1}

        Source: Oríon, `Experiment.acquire_algorithm_lock`.
        """
        lock, algorithm = lock_of(self._ledger), self._algorithm
        configuration = self._algorithm_configuration
        lock.initialize(configuration)
        with lock.acquire(timeout, retry_interval) as held:
            if algorithm is None:
                yield held
                return
            if held.configuration != configuration:
                raise AlgorithmChangedError(
                    "the algorithm's configuration changed since it last ran on this experiment",
                    hint="branch the experiment, or go back to the stored configuration",
                    experiment=self.name,
                    stored=held.configuration,
                    given=configuration,
                )
            if held.state is not None:
                algorithm.set_state(held.state)
            yield algorithm
            held.set_state(_state_of(algorithm))

    @property
    def _algorithm_configuration(self) -> Any:
        if self._algorithm is not None:
            return self._algorithm.configuration
        return unpack(self._ledger.entry.config.get("algorithms"))


def _read_results(path: str | os.PathLike[str]) -> list[Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"file of results cannot be read: {error}", path=os.fspath(path)) from None
    if not isinstance(found, list):
        raise UsageError("file of results holds no list", path=os.fspath(path))
    return found


def _state_of(algorithm: Any) -> Any:
    state = algorithm.state_dict
    return state() if callable(state) else state
