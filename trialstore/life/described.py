"""What a trial's handle tells of the trial in Oríon's words: typed parameters and results, hashes, folders, times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from trialstore.life.known import Known
from trialstore.life.typed_results import results_of
from trialstore.model.damage import as_damage
from trialstore.model.evaluated import Evaluated
from trialstore.model.typed import Param, Result
from trialstore.model.typed_trial import TypedTrial, checked_results, compute_trial_hash, kind_of

__all__ = ["Described"]


class Described(Known, Evaluated):
    """Properties of `trialstore.trial.Trial` that follow from what it knows."""

    @property
    def typed(self) -> TypedTrial:
        """A copy as plain values with types, apart from the store."""
        config = self._held.ledger.entry.config
        kinds = {name: body["kind"] for name, body in config["space"].items()}
        params = [Param(name=n, type=kinds.get(n) or kind_of(v), value=v) for n, v in self.params.items()]
        params += [Param(name=name, type="fidelity", value=value) for name, value in (self.fidelity or {}).items()]
        return TypedTrial(
            params=params,
            results=self.results,
            status=self.status,
            experiment=self._held.ledger.entry.id,
            worker=self.worker,
            submit_time=self.submit_time,
            start_time=self.start_time,
            end_time=self.end_time,
            heartbeat=self.heartbeat,
            parent=self.parent,
            exp_working_dir=self.exp_working_dir,
            id_override=self.number,
        )

    # Results

    @property
    def results(self) -> list[Result]:
        """Typed results: those that were set, or stored. Without types the first declared metric is the objective.

        Set a list of `Trial.Result`, or of mappings of ``name``, ``type`` and ``value``, with exactly what came out;
        `Experiment.update_completed_trial` stores it.
        """
        held = self._held
        if held.results is not None:
            return list(held.results)
        with as_damage("the results of a trial", experiment=held.experiment, trial=self.number):
            return results_of(held.record, held.declared)

    @results.setter
    def results(self, results: Iterable[Result | Mapping[str, Any]]) -> None:
        self._held.results = checked_results(results)

    # Names

    @property
    def hash_name(self) -> str:
        """32 hexadecimal digits: Oríon's MD5 of parameters, fidelity, lie and parent."""
        return self.compute_trial_hash()

    @property
    def hash_params(self) -> str:
        """32 hexadecimal digits: Oríon's MD5 of the parameters alone, without the fidelity."""
        return self.compute_trial_hash(ignore_fidelity=True, ignore_lie=True, ignore_parent=True)

    def compute_trial_hash(
        self,
        ignore_fidelity: bool = False,
        ignore_experiment: bool = True,
        ignore_lie: bool = False,
        ignore_parent: bool = False,
    ) -> str:
        """The MD5 that names the trial: the same digits as Oríon's; see `trialstore.model.typed_trial`."""
        return compute_trial_hash(self.typed, ignore_fidelity, ignore_experiment, ignore_lie, ignore_parent)

    @property
    def full_name(self) -> str:
        """All parameters as one name without a ``/``."""
        return self.typed.full_name

    @property
    def id_override(self) -> int:
        """Under which the store has it: its number."""
        return self.number

    def params_repr(self, sep: str = ", ", ignore_fidelity: bool = False) -> str:
        """The parameters as text, such as ``lr:0.1, depth:3``."""
        return self.typed.params_repr(sep, ignore_fidelity)

    def to_dict(self) -> dict[str, Any]:
        """Everything as built-in values, the status under Oríon's name; `Trial.build` takes it back."""
        return self.typed.to_dict()

    # Folders

    @property
    def exp_working_dir(self) -> str | None:
        """The experiment's folder, None when it has none."""
        folder: str | None = self._held.ledger.entry.config.get("working_dir")
        return folder

    def get_working_dir(
        self, *, ignore_fidelity: bool = False, ignore_lie: bool = False, ignore_parent: bool = False
    ) -> str:
        """A folder in the experiment's that is named by the trial's hash, which repeats share; nothing makes it.

        Raises:
            UsageError: the experiment was created without a folder.
        """
        return self.typed.get_working_dir(
            ignore_fidelity=ignore_fidelity, ignore_lie=ignore_lie, ignore_parent=ignore_parent
        )

    @property
    def working_dir(self) -> str:
        """A folder of its own in the experiment's: its hash, and its number where repeats are allowed."""
        folder = self.get_working_dir()
        return f"{folder}-{self.number}" if self._held.ledger.entry.config["repeats"] else folder

    # Times

    @property
    def submit_time(self) -> datetime:
        """When it was registered, aware UTC."""
        return self.submitted_at

    @property
    def start_time(self) -> datetime | None:
        """When its present attempt began, aware UTC."""
        return self.started_at

    @property
    def end_time(self) -> datetime | None:
        """When it ended, aware UTC."""
        return self.ended_at

    @property
    def heartbeat(self) -> datetime | None:
        """When its worker last renewed its lease, by the backend's clock; None when nobody holds it.

        Cost: a look at one blob while somebody does.
        """
        held, session = self._held, self._held.record.session
        if session is None or not self.status.is_active:
            return None
        return held.ledger.session.leases.renewed_at(held.ledger.key, session)

    @property
    def execution_interval(self) -> tuple[datetime, datetime] | None:
        """From its start to its end, or to its worker's last heartbeat; None before it ran."""
        until = self.end_time or self.heartbeat
        return None if self.start_time is None or until is None else (self.start_time, max(until, self.start_time))

    @property
    def duration(self) -> timedelta:
        """The length of `execution_interval`, 0 when there is none."""
        interval = self.execution_interval
        return timedelta(0) if interval is None else interval[1] - interval[0]
