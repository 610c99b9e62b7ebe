"""A trial of Oríon's, a document, as a trial of the store, and back: nothing is lost either way.

What the store has a column for stands there: parameters, results as metrics, status, times. The rest stands in the
trial's extras, one for each field, so that two workers who change different fields of a trial never undo each other's
change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trialstore.integrations.orion.statuses import FROM_ORION, TO_ORION
from trialstore.integrations.orion.values import from_stored, from_time, to_stored, to_time
from trialstore.model.codec import pack_dict
from trialstore.model.identity import new_ulid
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status

__all__ = ["changes_of", "document_of", "is_trial_id", "objective_of", "registration"]

PREFIX = "orion."
_WITHOUT, _ROWS, _TYPES = "orion:without", "orion:results", "orion:types"
_NULLABLE = ("worker", "parent", "exp_working_dir")
_FIELDS = ("id", "status", "submit_time", "start_time", "end_time", "heartbeat", "results", "params", *_NULLABLE)
_TIMES = {"start_time": "started_at", "end_time": "ended_at"}
_VALUE = {"name", "type", "value"}
_HEX = frozenset("0123456789abcdef")


def is_trial_id(value: object) -> bool:
    """Whether this is an id as Oríon makes it, which the store has a column for."""
    return type(value) is str and len(value) == 32 and _HEX.issuperset(value)


def registration(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the journal says of a trial that is to be registered."""
    fields, extras = _members(document, 0)
    without = [name for name in _FIELDS if name not in document]
    if without:
        extras[_WITHOUT] = without
    body = {"params": {}, **{name: value for name, value in fields.items() if value is not None}}
    if "id" not in body:
        body["id"] = new_ulid()[10:].encode().hex()  # nobody shares it, so it repeats nothing
    extras = {name: value for name, value in extras.items() if value is not None}
    if extras:
        body["extras"] = pack_dict(extras, "trial")
    return body


def changes_of(record: TrialRecord, data: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Members of the command ``amend`` that set fields of a trial's document.

    Args:
        record: The trial as it is now, decoded.
        data: Field names and values.
        now: The stored time now.
    """
    fields, extras = _members(data, record.attempt)
    there = record.extras or {}
    without = there.get(_WITHOUT)
    if without and not data.keys().isdisjoint(without):
        extras[_WITHOUT] = [name for name in without if name not in data] or None
    status = fields.get("status")
    if status is not None and status.is_final and "end_time" not in data and record.ended_at is None:
        fields["ended_at"] = now
        extras[PREFIX + "end_time"] = [None]
    extras = {name: value for name, value in extras.items() if value is not None or name in there}
    if extras:
        fields["extras"] = pack_dict(extras, "trial")
    return fields


def _members(data: Mapping[str, Any], attempt: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns, and extras of which None means that it must not be there."""
    fields: dict[str, Any] = {}
    extras: dict[str, Any] = {}
    for name, value in data.items():
        extra = PREFIX + name
        if name == "status":
            known = FROM_ORION.get(value) if type(value) is str else None
            fields["status"] = Status.UNKNOWN if known is None else known
            extras[extra] = None if known is not None else _wrap(value)
        elif name == "id" and is_trial_id(value):
            fields["id"], extras[extra] = value, None
        elif name == "submit_time" and _is_naive(value):
            fields["submitted_at"], extras[extra] = to_time(value), None
        elif name in _TIMES and (value is None or _is_naive(value)):
            fields[_TIMES[name]], extras[extra] = None if value is None else to_time(value), None
        elif name in ("start_time", "heartbeat"):
            extras[extra] = None if value is None and attempt == 0 else [attempt, to_stored(value)]
        elif name == "params" and _are_values(value, unique=True):
            fields["params"] = pack_dict({item["name"]: to_stored(item["value"]) for item in value}, "params")
            extras[extra], extras[_TYPES] = None, [item["type"] for item in value] or None
        elif name == "results" and _are_values(value, unique=False):
            fields["metrics"] = pack_dict(_metrics(value), "metrics")
            extras[extra] = None
            extras[_ROWS] = [[item["name"], item["type"], to_stored(item["value"])] for item in value] or None
        elif name in _NULLABLE and value is None:
            extras[extra] = None
        else:
            extras[extra] = _wrap(value)
            if name == "results":
                extras[_ROWS] = None
    return fields, extras


def _is_naive(value: object) -> bool:
    return isinstance(value, datetime) and value.tzinfo is None


def _are_values(items: Any, *, unique: bool) -> bool:
    """Whether these are parameters or results as Oríon writes them."""
    if type(items) is not list or not all(type(item) is dict and item.keys() == _VALUE for item in items):
        return False
    if not unique:
        return True
    names = [item["name"] for item in items]
    return all(type(name) is str for name in names) and len(set(names)) == len(names)


def _metrics(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The results that are numbers by name; of one name the objective counts, then the first."""
    metrics: dict[str, Any] = {}
    for item in sorted(results, key=lambda item: item["type"] != "objective"):
        if type(item["value"]) in (int, float, bool):
            metrics.setdefault(_name_of(item), item["value"])
    return metrics


def _name_of(result: Mapping[str, Any]) -> str:
    return str(result["name"] or result["type"] or "objective")


def objective_of(data: Mapping[str, Any]) -> str | None:
    """Name of the metric that is the objective in fields of a trial; None where there is none that is a number."""
    results = data.get("results")
    if not _are_values(results, unique=False):
        return None
    found = (item for item in results or () if item["type"] == "objective" and type(item["value"]) in (int, float))
    return next(map(_name_of, found), None)


def _wrap(value: Any) -> Any:
    return value if type(value) in (str, int, float, bool) else [to_stored(value)]


def _unwrap(value: Any) -> Any:
    return from_stored(value[0]) if type(value) is list else value


def document_of(record: TrialRecord, experiment: Any, identifier: Any) -> dict[str, Any]:
    """The document that a trial is for Oríon.

    Args:
        record: The trial, decoded.
        experiment: The `_id` of its experiment's document.
        identifier: The trial's `_id`, where it does not say another one itself.
    """
    extras = record.extras or {}
    attempt = record.attempt
    started = None if record.started_at is None else from_time(record.started_at)
    document: dict[str, Any] = {
        "experiment": experiment,
        "status": TO_ORION[record.status],
        "worker": None,
        "exp_working_dir": None,
        "heartbeat": started if attempt else None,
        "submit_time": from_time(record.submitted_at),
        "start_time": started,
        "end_time": None if record.ended_at is None else from_time(record.ended_at),
        "results": [{"name": n, "type": t, "value": from_stored(v)} for n, t, v in extras.get(_ROWS, ())],
        "params": _params(record, extras.get(_TYPES)),
        "parent": None,
        "id": record.id,
        "_id": identifier,
    }
    if record.metrics and _ROWS not in extras and not any(name.startswith(PREFIX) for name in extras):
        document["results"] = [
            {"name": name, "type": "statistic" if index else "objective", "value": value}
            for index, (name, value) in enumerate(record.metrics.items())
        ]
    for extra, value in extras.items():
        if not extra.startswith(PREFIX):
            continue
        name = extra[len(PREFIX) :]
        if name in ("start_time", "heartbeat"):
            if value[0] == attempt:
                document[name] = from_stored(value[1])
        else:
            document[name] = _unwrap(value)
    for name in extras.get(_WITHOUT, ()):
        if PREFIX + name not in extras:
            document.pop(name, None)
    return document


def _params(record: TrialRecord, types: list[Any] | None) -> list[dict[str, Any]]:
    if types is None:
        types = [_type(value) for value in record.params.values()]
    params = [
        {"name": name, "type": kind, "value": from_stored(value)}
        for (name, value), kind in zip(record.params.items(), types, strict=True)
    ]
    return params + [
        {"name": name, "type": "fidelity", "value": value} for name, value in (record.fidelity or {}).items()
    ]


def _type(value: Any) -> str:
    return {int: "integer", float: "real"}.get(type(value), "categorical")
