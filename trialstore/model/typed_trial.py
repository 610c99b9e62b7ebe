"""A trial as a value, apart from any store: typed parameters and results, and the hashes that name it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from trialstore.model.errors import InvalidMetricsError, UsageError
from trialstore.model.evaluated import Evaluated
from trialstore.model.status import Status, validate_status
from trialstore.model.typed import Param, Result, Value

__all__ = [
    "TypedTrial",
    "checked_results",
    "compute_trial_hash",
    "format_params",
    "format_values",
    "hash_of_values",
    "kind_of",
]


class TypedTrial(Evaluated):
    """A trial that is in no experiment, or a copy of one that is: plain values that may be changed.

    `Trial.build` gives them, `Trial.typed` too; `Experiment.register_trial` takes them. Two are equal when their
    `hash_name` is.

    Args:
        params: Parameters, or mappings of ``name``, ``type`` and ``value``.
        results: Results, or such mappings.
        status: A status, also under Oríon's name.
        experiment: Id of the experiment.
        worker: Who ran it.
        submit_time: When it was suggested.
        start_time: When it was first reserved.
        end_time: When it ended.
        heartbeat: When its worker was last known to be alive.
        parent: Id or number of the trial that it was made from.
        exp_working_dir: The experiment's folder.
        id_override: Under which a store has it.
        other: ``id`` and ``_id``, which dumps have: the second is `id_override`, and the first follows from the rest.

    Source: Oríon, `orion.core.worker.trial.Trial`.
    """

    def __init__(
        self,
        *,
        params: Iterable[Param | Mapping[str, Any]] = (),
        results: Iterable[Result | Mapping[str, Any]] = (),
        status: Status | str = Status.PENDING,
        experiment: Any = None,
        worker: str | None = None,
        submit_time: datetime | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        heartbeat: datetime | None = None,
        parent: Any = None,
        exp_working_dir: str | None = None,
        id_override: Any = None,
        **other: Any,
    ) -> None:
        unknown = sorted(other.keys() - {"id", "_id"})
        if unknown:
            raise UsageError("not members of a trial", members=unknown)
        self.typed_params = [Param.of(item) for item in params]
        self._results = [Result.of(item) for item in results]
        self.status = status
        self.experiment = experiment
        self.worker = worker
        self.submit_time, self.start_time, self.end_time = submit_time, start_time, end_time
        self.heartbeat = heartbeat
        self.parent = parent
        self.exp_working_dir = exp_working_dir
        self.id_override = other.get("_id", id_override)

    @classmethod
    def build(cls, trial_entries: Iterable[Mapping[str, Any]]) -> list[TypedTrial]:
        """Trials from what `to_dict` wrote of them."""
        return [cls(**entry) for entry in trial_entries]

    # What it is

    @property
    def status(self) -> Status:
        """Where it stands; set it under its name here or Oríon's."""
        return self._status

    @status.setter
    def status(self, status: Status | str) -> None:
        self._status = validate_status(status)

    @property
    def params(self) -> dict[str, Any]:
        """Parameters by name, the fidelity too."""
        return {str(param.name): param.value for param in self.typed_params}

    @property
    def results(self) -> list[Result]:
        """All results."""
        return self._results

    @results.setter
    def results(self, results: Iterable[Result | Mapping[str, Any]]) -> None:
        self._results = checked_results(results)

    # What it is called

    @property
    def id(self) -> str:
        """The same as `hash_name`."""
        return self.hash_name

    @property
    def hash_name(self) -> str:
        """32 hexadecimal digits that trials of equal parameters, lie and parent share, in any experiment."""
        return compute_trial_hash(self)

    @property
    def hash_params(self) -> str:
        """32 hexadecimal digits that trials of equal parameters share, whatever their fidelity, lie and parent."""
        return compute_trial_hash(self, ignore_fidelity=True, ignore_lie=True, ignore_parent=True)

    @property
    def full_name(self) -> str:
        """All parameters as one name without a ``/``.

        Raises:
            UsageError: it has no parameters, or no experiment.
        """
        if not self.typed_params or self.experiment is None:
            raise UsageError("a trial without parameters or experiment has no name of its own")
        return format_values(self.typed_params, sep="-").replace("/", ".")

    def params_repr(self, sep: str = ", ", ignore_fidelity: bool = False) -> str:
        """The parameters as text, such as ``lr:0.1, depth:3``."""
        return format_params(self.typed_params, sep, ignore_fidelity)

    def get_working_dir(
        self, *, ignore_fidelity: bool = False, ignore_lie: bool = False, ignore_parent: bool = False
    ) -> str:
        """A folder in the experiment's that is named by the trial's hash; nothing makes it.

        Raises:
            UsageError: the experiment has no folder.
        """
        if self.exp_working_dir is None:
            raise UsageError(
                "trial has no folder", hint="create the experiment with working_dir=", experiment=self.experiment
            )
        name = compute_trial_hash(
            self, ignore_fidelity=ignore_fidelity, ignore_lie=ignore_lie, ignore_parent=ignore_parent
        )
        return os.path.join(self.exp_working_dir, name)

    @property
    def working_dir(self) -> str:
        """Where its files may go; see `get_working_dir`."""
        return self.get_working_dir()

    # How long it took

    @property
    def execution_interval(self) -> tuple[datetime, datetime] | None:
        """From its start to its end, or to its last heartbeat; None before it ran."""
        until = self.end_time or self.heartbeat
        return None if self.start_time is None or until is None else (self.start_time, until)

    @property
    def duration(self) -> timedelta:
        """The length of `execution_interval`, 0 when there is none."""
        interval = self.execution_interval
        return timedelta(0) if interval is None else interval[1] - interval[0]

    # Copies

    def branch(self, status: Status | str = Status.PENDING, params: Mapping[str, Any] | None = None) -> TypedTrial:
        """A new trial made from this one, with other values of some parameters.

        Raises:
            UsageError: a parameter is none of the trial's.
        """
        changed = dict(params or {})
        unknown = sorted(changed.keys() - self.params.keys())
        if unknown:
            raise UsageError("parameters are not the trial's", params=unknown)
        return TypedTrial(
            params=[
                {**param.to_dict(), "value": changed.get(str(param.name), param.value)} for param in self.typed_params
            ],
            status=status,
            experiment=self.experiment,
            parent=self.id,
            exp_working_dir=self.exp_working_dir,
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as built-in values, the status under Oríon's name; `build` takes it back."""
        body = {
            "experiment": self.experiment,
            "status": self.status.orion,
            "worker": self.worker,
            "exp_working_dir": self.exp_working_dir,
            "heartbeat": self.heartbeat,
            "submit_time": self.submit_time,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "results": [result.to_dict() for result in self._results],
            "params": [param.to_dict() for param in self.typed_params],
            "parent": self.parent,
            "id": self.id if self.typed_params or self.experiment is not None else None,
        }
        return body if self.id_override is None else {**body, "_id": self.id_override}

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, TypedTrial) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"TypedTrial(experiment={self.experiment!r}, status={self.status.name}, params={self.params_repr()})"


def compute_trial_hash(
    trial: TypedTrial,
    ignore_fidelity: bool = False,
    ignore_experiment: bool = True,
    ignore_lie: bool = False,
    ignore_parent: bool = False,
) -> str:
    """The MD5 that names a trial: the same digits as Oríon's for equal parameters.

    Args:
        trial: The trial.
        ignore_fidelity: Leave the fidelity out, so that all efforts of a configuration have one hash.
        ignore_experiment: Leave the experiment's id out, so that it is the same in all experiments.
        ignore_lie: Leave the lie out.
        ignore_parent: Leave the parent out.

    Raises:
        UsageError: the trial has neither parameters nor an experiment.
    """
    if not trial.typed_params and trial.experiment is None:
        raise UsageError("a trial without parameters and experiment has no hash")
    experiment = None if ignore_experiment else trial.experiment
    lie = None if ignore_lie or trial.lie is None else format_values([trial.lie])
    parent = None if ignore_parent else trial.parent
    return hash_of_values(_pairs(_counting(trial.typed_params, ignore_fidelity)), experiment, lie, parent)


def hash_of_values(values: Iterable[tuple[object, object]], *further: object) -> str:
    """The MD5 of values by name and of what else tells trials apart, in this order.

    Args:
        values: Name and value of each parameter, those of the fidelity last.
        further: The experiment, the lie and the parent; what is None does not count.
    """
    text = _joined(values, ",") + "".join(str(item) for item in further if item is not None)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def format_params(params: Iterable[Param], sep: str = ", ", ignore_fidelity: bool = False) -> str:
    """Parameters as text, perhaps without the fidelity."""
    return format_values(_counting(params, ignore_fidelity), sep)


def format_values(values: Iterable[Value], sep: str = ", ") -> str:
    """Values as text: each as ``name:value``."""
    return _joined(_pairs(values), sep)


def _counting(params: Iterable[Param], ignore_fidelity: bool) -> list[Param]:
    return [param for param in params if not (ignore_fidelity and param.type == "fidelity")]


def _pairs(values: Iterable[Value]) -> Iterator[tuple[object, object]]:
    return ((value.name, value.value) for value in values)


def _joined(values: Iterable[tuple[object, object]], sep: str) -> str:
    return sep.join(f"{name}:{value}" for name, value in values)


def checked_results(results: Iterable[Result | Mapping[str, Any]]) -> list[Result]:
    """Results of an evaluation, of which one is the objective.

    Raises:
        InvalidMetricsError: there is no objective, or it is not a number.
    """
    found: Sequence[Result] = [Result.of(item) for item in results]
    objective = next((result for result in found if result.type == "objective"), None)
    if objective is None:
        raise InvalidMetricsError("no result is of type 'objective'", hint="one must be", results=found)
    if isinstance(objective.value, bool) or not isinstance(objective.value, int | float):
        raise InvalidMetricsError("the objective must be a number", objective=objective)
    return list(found)


def kind_of(value: object) -> str:
    """The type of a parameter that no space describes."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "categorical"
    return "integer" if isinstance(value, int) else "real"
