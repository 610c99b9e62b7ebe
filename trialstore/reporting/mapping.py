"""A report as a flat mapping with AMLTK's prefixes, the values as they are, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from trialstore.model.codec import plain
from trialstore.model.errors import InvalidTimeError, UsageError, nearest
from trialstore.model.identity import params_hash
from trialstore.model.metric import Metric
from trialstore.model.profile import Profile
from trialstore.model.record import TrialRecord
from trialstore.model.times import format_time, now_text, parse_time
from trialstore.reporting.facts import TRIAL, Facts, default_name, parse_status, status_word

__all__ = ["facts_from_mapping", "mapping_of"]

_GROUPS = {"config:": "params", "summary:": "summary", "fidelities:": "fidelity", "sem:": "sem", "n:": "n"}
_TIMES = {
    "created_at": "submitted_at",
    "started_at": "started_at",
    "reported_at": "ended_at",
    "ready_at": "ready_at",
}
_SAME = ("id", "attempt", "worker", "runner", "parent", "info", "exception", "traceback", "seq")
_CONTAINERS = {
    "attributes": dict,
    "extras": dict,
    "storage": list,
    "attempts": list,
    "fidelities": dict,
    "summary": dict,
}
_KEYS = frozenset(
    {"experiment", "version", "trial", "name", "status", "trial_seed", "bucket", *_TIMES, *_SAME, *_CONTAINERS}
)


def mapping_of(facts: Facts) -> dict[str, Any]:
    """Everything that a report says; `facts_from_mapping` is the inverse."""
    record = facts.record
    found: dict[str, Any] = {
        "experiment": facts.experiment,
        "version": facts.version,
        "trial": record.number,
        "name": record.name or default_name(facts.experiment, record.number),
        "status": status_word(record.status),
        "trial_seed": record.seed,
    }
    found |= {name: getattr(record, name) for name in _SAME}
    for key, name in _TIMES.items():
        text = getattr(record, name)
        found[key] = None if text is None else parse_time(text)
    found |= {
        "attributes": record.attributes,
        "extras": record.extras,
        "storage": record.storage,
        "attempts": record.attempts,
    }
    declared = {metric.name for metric in facts.metrics}
    found |= {f"metric:{metric}": record.metrics.get(metric.name) for metric in facts.metrics}
    found |= {f"value:{name}": value for name, value in record.metrics.items() if name not in declared}
    for prefix, name in _GROUPS.items():
        values = getattr(record, name)
        if values == {} and name in ("fidelity", "summary"):
            found[prefix.removesuffix(":")] = {}  # empty is not the same as absent
        found |= {f"{prefix}{key}": value for key, value in (values or {}).items()}
    for row in record.profiles or ():
        name, profile = Profile.from_row(row)
        found |= profile.to_dict(prefix="" if name == TRIAL else f"profile:{name}")
    return found


def facts_from_mapping(values: Mapping[str, Any]) -> Facts:
    """See `Report.from_dict`."""
    groups: dict[str, dict[str, Any]] = {}
    metrics: dict[Metric, Any] = {}
    loose: dict[str, Any] = {}
    profiles: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for key, value in values.items():
        prefix, colon, rest = key.partition(":")
        if not colon and key in _KEYS:
            own[key] = value
        elif prefix == "metric":
            metrics[Metric.from_str(rest)] = value
        elif prefix == "value":
            loose[rest] = plain(value)
        elif prefix in ("memory", "time"):
            profiles.setdefault(TRIAL, {})[key] = value
        elif prefix == "profile" and rest.count(":") >= 2:
            name, kind, field = rest.rsplit(":", 2)
            profiles.setdefault(name, {})[f"{kind}:{field}"] = value
        elif f"{prefix}:" in _GROUPS and colon:
            groups.setdefault(_GROUPS[f"{prefix}:"], {})[rest] = plain(value)
        else:
            near = nearest(key, _KEYS)
            raise UsageError(
                "not a key of a report",
                hint=f"one of {', '.join(near or sorted(_KEYS))}, or with a prefix such as config: or metric:",
                key=key,
            )
    reported = {metric.name: _number(metric, value) for metric, value in metrics.items() if value is not None}
    return Facts(
        _record(own, groups, {**reported, **loose}, profiles),
        own.get("experiment") or "",
        int(own.get("version") or 1),
        tuple(metrics),
    )


def _number(metric: Metric, value: Any) -> Any:
    number, problem = metric.check(value)
    if problem is not None:
        raise UsageError(f"value of a metric does not fit: {problem}")
    return number


def _record(
    own: Mapping[str, Any],
    groups: Mapping[str, dict[str, Any]],
    metrics: dict[str, Any],
    profiles: Mapping[str, Mapping[str, Any]],
) -> TrialRecord:
    if "status" not in own:
        raise UsageError("mapping of a report has no status", hint="give status='success', or use Report.to_dict")
    for key, kind in _CONTAINERS.items():
        if own.get(key) is not None and not isinstance(own[key], kind):
            raise UsageError(f"{key} of a report must be a {kind.__name__}", **{key: own[key]})
    params = groups.get("params", {})
    number = -1 if own.get("trial") is None else int(own["trial"])
    name, given = own.get("name"), default_name(own.get("experiment") or "", number)
    times = {field: _time(own.get(key), key) for key, field in _TIMES.items()}
    submitted_at = times.pop("submitted_at") or times["ended_at"] or now_text()
    attributes = own.get("attributes")
    if own.get("bucket") is not None:
        attributes = {**(attributes or {}), "bucket": str(own["bucket"])}
    record = TrialRecord(
        number=number,
        id=own.get("id") or params_hash(params),
        params=params,
        status=parse_status(own["status"]),
        submitted_at=submitted_at,
        seq=-1 if own.get("seq") is None else int(own["seq"]),
        name=None if name == given else name,
        attempt=int(own.get("attempt") or 0),
        seed=_seed(own.get("trial_seed")),
        metrics=metrics,
        fidelity=groups.get("fidelity", own.get("fidelities")),
        summary=groups.get("summary", own.get("summary")),
        sem=groups.get("sem"),
        n=groups.get("n"),
        attributes=attributes,
        extras=own.get("extras"),
        storage=list(own["storage"]) if own.get("storage") else None,
        attempts=list(own.get("attempts") or ()),
        profiles=[Profile.from_dict(values).to_row(name) for name, values in profiles.items()] or None,
    )
    rest: dict[str, Any] = {name: own[name] for name in _SAME if name in own and name not in ("id", "attempt", "seq")}
    return replace(record, **{**times, **rest})


def _seed(value: Any) -> int | None:
    seed = plain(value)
    if seed is None or (isinstance(seed, float) and math.isnan(seed)):
        return None
    if isinstance(seed, float) and seed.is_integer():
        return int(seed)  # AMLTK's frames have floats where a seed is missing
    if type(seed) is not int:
        raise UsageError("a seed must be a whole number", trial_seed=value)
    return seed


def _time(value: Any, key: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = parse_time(value)
        except ValueError:
            raise InvalidTimeError("not a time", **{key: value}) from None
    if not isinstance(value, datetime):
        raise InvalidTimeError("not a time", **{key: value})
    # AMLTK's times are local and say no zone.
    return format_time(value.astimezone(UTC) if value.tzinfo is None else value)
