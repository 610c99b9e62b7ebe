"""A trial of Optuna as a record of a store, and back, exactly.

=============================  ==============================================================================
member of the record           what it holds of a trial
=============================  ==============================================================================
``params``                     values as the user sees them, in the order of suggestion
``metrics``                    the objective values, under the study's metric names
``attributes``                 the user attributes
``extras``                     ``optuna.distribution.<parameter>``: its JSON; ``optuna.system.<key>``: a system
                               attribute
rows of ``metrics``            the intermediate values
=============================  ==============================================================================
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from trialstore.integrations.optuna.spaces import distribution_of_text, known_distribution, text_of
from trialstore.model.codec import pack, pack_dict
from trialstore.model.identity import packed_hash, params_hash
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import format_time, now_text

__all__ = [
    "DISTRIBUTION",
    "EMPTY_ID",
    "STATES",
    "STATUSES",
    "SYSTEM",
    "attribute",
    "body_of",
    "copied",
    "frozen_of",
    "id_of",
    "packed_values",
    "stored_time",
]

DISTRIBUTION = "optuna.distribution."
SYSTEM = "optuna.system."
EMPTY_ID = params_hash({})

STATUSES: Mapping[TrialState, Status] = {
    TrialState.WAITING: Status.PENDING,
    TrialState.RUNNING: Status.RUNNING,
    TrialState.COMPLETE: Status.SUCCEEDED,
    TrialState.PRUNED: Status.PRUNED,
    TrialState.FAIL: Status.FAILED,
}
STATES: Mapping[Status, TrialState] = {
    **{status: state for state, status in STATUSES.items()},
    Status.UNKNOWN: TrialState.RUNNING,
    Status.READY: TrialState.RUNNING,
    Status.SUSPENDED: TrialState.WAITING,
    Status.INTERRUPTED: TrialState.WAITING,
    Status.CRASHED: TrialState.FAIL,
    Status.CANCELED: TrialState.FAIL,
    Status.TIMED_OUT: TrialState.FAIL,
}
"""What Optuna calls each status; those that it does not know are what they mean to a sampler."""

_PLAIN = (bool, int, float, str, type(None))


def attribute(value: Any) -> Any:
    """An attribute as Optuna's own storages give it back: what JSON makes of it.

    Raises:
        TypeError: JSON cannot say it.
    """
    return value if type(value) in _PLAIN else json.loads(json.dumps(value))


def stored_time(time: datetime) -> str:
    """The stored spelling of a time of Optuna: naive, and local to whoever has it."""
    return format_time(time.astimezone(UTC))


def id_of(params: Mapping[str, Any], packed: Mapping[str, Any]) -> str:
    """The hash of a trial's parameters."""
    return packed_hash(params, packed) if packed else EMPTY_ID


def body_of(trial: FrozenTrial, names: Sequence[str], worker: str) -> dict[str, Any]:
    """What the journal says of a trial that comes with all that it has.

    Args:
        trial: The trial; its number and id are not looked at.
        names: The study's metrics.
        worker: Who is running it, if it runs.

    Raises:
        TypeError: an attribute, or a choice, is nothing that JSON can say.
    """
    params: dict[str, Any] = {}
    extras: dict[str, Any] = {}
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        extras[DISTRIBUTION + name] = text = text_of(distribution)
        params[name] = distribution_of_text(text).to_external_repr(distribution.to_internal_repr(value))
    extras |= {SYSTEM + key: pack(attribute(value)) for key, value in trial.system_attrs.items()}
    packed = pack_dict(params, "params")
    now = now_text()
    status = STATUSES[trial.state]
    body: dict[str, Any] = {"id": id_of(params, packed), "params": packed, "status": status, "submitted_at": now}
    if extras:
        body["extras"] = extras
    if trial.user_attrs:
        body["attributes"] = pack_dict({key: attribute(v) for key, v in trial.user_attrs.items()}, "attributes")
    if trial.values is not None:
        body["metrics"] = packed_values(trial.values, names)
    if trial.datetime_start is not None:
        body["started_at"] = stored_time(trial.datetime_start)
    if trial.datetime_complete is not None:
        body["ended_at"] = stored_time(trial.datetime_complete)
    if status is not Status.PENDING:
        body |= {"attempt": 1, "worker": worker}
    if trial.intermediate_values:
        steps = trial.intermediate_values.items()
        body["reports"] = [[names[0], int(step), now, pack(float(value))] for step, value in steps]
    return body


def frozen_of(
    record: TrialRecord,
    trial_id: int,
    names: Sequence[str],
    space: Mapping[str, BaseDistribution],
    steps: dict[int, float],
) -> FrozenTrial:
    """A record as Optuna has it.

    Args:
        record: With decoded values.
        trial_id: Its id.
        names: The study's metrics.
        space: What is known of the parameters of a trial that did not come from Optuna.
        steps: Its intermediate values.
    """
    distributions: dict[str, BaseDistribution] = {}
    system: dict[str, Any] = {}
    if record.extras:
        for name, value in record.extras.items():
            if name.startswith(DISTRIBUTION):
                distributions[name[len(DISTRIBUTION) :]] = distribution_of_text(value)
            elif name.startswith(SYSTEM):
                system[name[len(SYSTEM) :]] = value
    params = record.params
    if len(distributions) != len(params):
        told, distributions = distributions, {}
        for name, value in params.items():
            distributions[name] = told[name] if name in told else known_distribution(space, name, value)
    state = STATES[record.status]
    started = record.started_at if state is TrialState.WAITING else record.started_at or record.submitted_at
    ended = (record.ended_at or record.submitted_at) if state.is_finished() else None
    return FrozenTrial(
        number=record.number,
        state=state,
        value=None,
        values=_values(record.metrics, names),
        datetime_start=None if started is None else _local(started),
        datetime_complete=None if ended is None else _local(ended),
        params=params,
        distributions=distributions,
        user_attrs=record.attributes or {},
        system_attrs=system,
        intermediate_values=steps,
        trial_id=trial_id,
    )


def packed_values(values: Sequence[float], names: Sequence[str]) -> dict[str, Any]:
    """Objective values under the names of the metrics, in the plain JSON form; what has no metric gets a name."""
    named: dict[str, Any] = {}
    for index, value in enumerate(values):
        name = names[index] if index < len(names) else f"value_{index}"
        while name in named:
            name += "_"
        named[name] = pack(float(value))
    return named


def _values(metrics: Mapping[str, Any], names: Sequence[str]) -> list[float] | None:
    """The objective values: by name, or in the order they were given when the names have changed since.

    None where a metric of the experiment is missing: a worker of the store may end a trial with some of them.
    """
    if not metrics:
        return None
    if len(metrics) == len(names) == 1 and names[0] in metrics:
        return [float(metrics[names[0]])]
    if len(metrics) == len(names):
        try:
            return [float(metrics[name]) for name in names]
        except KeyError:
            pass  # the names have changed since
    return None if len(metrics) < len(names) else [float(value) for value in metrics.values()]


def _local(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if 1970 < time.year < 2200:  # where a float holds its microseconds
        return datetime.fromtimestamp(time.timestamp())
    return time.astimezone().replace(tzinfo=None)


def copied(trial: FrozenTrial) -> FrozenTrial:
    """A copy whose owner may change it: everything but the distributions, which nobody changes, is its own."""
    again = FrozenTrial.__new__(FrozenTrial)
    again.__dict__ = members = trial.__dict__.copy()
    values, user, system = members["_values"], members["_user_attrs"], members["_system_attrs"]
    members["_values"] = None if values is None else values.copy()
    members["_params"] = members["_params"].copy()
    members["_distributions"] = members["_distributions"].copy()
    members["_user_attrs"] = copy.deepcopy(user) if user else {}
    members["_system_attrs"] = copy.deepcopy(system) if system else {}
    members["intermediate_values"] = members["intermediate_values"].copy()
    return again
