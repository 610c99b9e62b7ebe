"""A trial that comes in finished: from a row or a report of somewhere else to its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from trialstore.model.codec import pack, pack_dict, plain
from trialstore.model.errors import InvalidMetricsError, UsageError
from trialstore.model.identity import check_name
from trialstore.model.metric import Metric
from trialstore.model.observation import Observation
from trialstore.model.profile import PROFILE_FIELDS, Profile
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import format_time
from trialstore.report import Report

__all__ = ["Describe", "ended_trial"]

Describe = Callable[[Mapping[str, Any], Mapping[str, Any] | None], dict[str, Any]]
"""Gives the stored form of parameters and fidelity, or raises `InvalidParamsError`."""

_INT64 = 2**63
_NONE: dict[str, Any] = {}
_TEXTS = ("exception", "traceback", "worker")
_NUMBERS = ("parent", "runner")
_DICTS = ("summary", "attributes", "extras")
_TIMES = ("submitted_at", "started_at", "ended_at")
_KNOWN = frozenset(
    {"params", "metrics", "sem", "n", "fidelity", "status", "name", "seed", "info", "profiles", "storage"}
    | {*_TEXTS, *_NUMBERS, *_DICTS, *_TIMES}
)


def ended_trial(
    row: Mapping[str, Any] | Report, declared: Mapping[str, Metric], describe: Describe, now: str
) -> TrialRecord:
    """The packed record of a finished trial; its number is set later.

    Args:
        row: See `Experiment.import_trials`. None is absent.
        declared: The experiment's metrics by name.
        describe: For its parameters.
        now: The stored time for what has none.

    Raises:
        UsageError: something does not fit; the message says what.
    """
    given = _row_of(row) if isinstance(row, Report) else row
    if type(given) is not dict and not isinstance(given, Mapping):
        raise UsageError(f"a row must be a mapping or a report, not {given!r:.100}")
    if not _KNOWN.issuperset(given):
        unknown = sorted(map(str, given.keys() - _KNOWN))
        raise UsageError(f"unknown columns {unknown}; known are {sorted(_KNOWN)}")
    there = {name: value for name, value in given.items() if value is not None}
    status = Status.parse(there.get("status", "SUCCEEDED"))
    if not status.is_final:
        raise UsageError(f"only finished trials can be imported, not {status}; register it instead")
    body = describe(_mapping(there, "params"), there.get("fidelity"))
    values, noise = _observed(there, declared)
    rest = {name: _READ[name](value, name) for name, value in there.items() if name in _READ}
    submitted_at, ended_at = rest.pop("submitted_at", now), rest.pop("ended_at", now)
    return TrialRecord(
        number=-1,
        id=body["id"],
        params=body["params"],
        status=status,
        submitted_at=submitted_at,
        ended_at=ended_at,
        seq=-1,
        attempt=1,
        fidelity=body.get("fidelity"),
        metrics=pack_dict(values, "metrics"),
        **noise,
        **rest,
    )


def _row_of(report: Report) -> dict[str, Any]:
    """What of a report is imported: all but its number, its attempts, and the bytes of its artifacts."""
    return {
        "name": report.given_name,
        "params": report.params,
        "metrics": report.observations,
        "storage": sorted(report.storage),
        "submitted_at": report.created_at,
        "ended_at": report.reported_at,
        **{name: getattr(report, name) for name in ("status", "seed", "fidelity", "info", "profiles", "started_at")},
        **{name: getattr(report, name) for name in (*_TEXTS, *_NUMBERS, *_DICTS) if getattr(report, name) != {}},
    }


def _observed(row: Mapping[str, Any], declared: Mapping[str, Metric]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics, and what is known of their noise, packed."""
    given = _mapping(row, "metrics")
    sem: Mapping[str, Any] = _NONE
    n: Mapping[str, Any] = _NONE
    if "sem" in row or "n" in row:
        sem, n = _mapping(row, "sem"), _mapping(row, "n")
        loose = sorted((sem.keys() | n.keys()) - given.keys())
        if loose:
            raise InvalidMetricsError(f"metric {loose[0]!r} has an error or a count, and no value")
    values: dict[str, Any] = {}
    noise: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        if name not in declared:
            raise InvalidMetricsError(f"metric {name!r} was not declared")
        if name in sem or name in n:
            value = Observation(value, sem.get(name), n.get(name))
        if isinstance(value, Observation):
            for kind, known in (("sem", value.sem), ("n", value.n)):
                if known is not None:
                    noise.setdefault(kind, {})[name] = pack(known)
            value = value.mean
        values[name], problem = declared[name].check(value)
        if problem is not None:
            raise InvalidMetricsError(problem)
    return values, noise


def _profile_rows(given: Any) -> Iterator[list[Any]]:
    """The stored rows of profiles by name, or of the structs that the column `profiles` has."""
    if isinstance(given, Mapping):
        for name, profile in given.items():
            if not isinstance(profile, Profile):
                raise UsageError(f"profile {name!r} is none: {profile!r:.100}")
            yield profile.to_row(check_name(name, "profile"))
        return
    for item in _several(given, "profiles"):
        if not isinstance(item, Mapping) or set(item) != set(PROFILE_FIELDS):
            raise UsageError(f"not a row of profiles: {item!r:.100}")
        row = [item[name] for name in PROFILE_FIELDS]
        name, profile = Profile.from_row([*row[:2], *map(_size, row[2:4]), row[4], *map(_size, row[5:])])
        yield profile.to_row(check_name(name, "profile"))


def _size(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"a measured value must be a number, not {value!r:.100}")
    return float(value)


def _mapping(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = row.get(name, _NONE)
    return value if type(value) is dict else _dict(value, name)


def _dict(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} must be a mapping, not {value!r:.100}")
    return value


def _several(value: Any, name: str) -> Iterable[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise UsageError(f"{name} must be a list, not {value!r:.100}")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text, not {value!r:.100}")
    pack(value, name)  # refuses what is not valid Unicode
    return str(value)


def _whole(value: Any, name: str, bits: int | None = 64) -> int:
    number = plain(value)
    if type(number) is not int or (bits is not None and not -_INT64 <= number < _INT64):
        raise UsageError(f"{name} must be a whole number{'' if bits is None else ' of 64 bits'}, not {value!r:.100}")
    return number


def _time(value: object, name: str) -> str:
    if not isinstance(value, datetime):
        raise UsageError(f"{name} must be a time, not {value!r:.100}")
    return format_time(value)


def _seed(value: Any, name: str) -> int:
    return _whole(value, name, bits=None)


def _names(value: Any, name: str) -> list[str] | None:
    return [check_name(item, "stored thing") for item in _several(value, name)] or None


def _profiles(value: Any, name: str) -> list[list[Any]] | None:
    return [[pack(number) for number in row] for row in _profile_rows(value)] or None


_READ: Mapping[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(_NUMBERS, _whole),
    **dict.fromkeys(_TIMES, _time),
    **dict.fromkeys(_DICTS, lambda value, name: pack_dict(_dict(value, name), name)),
    "name": lambda value, name: check_name(value, "trial"),
    "seed": _seed,
    "info": pack,
    "profiles": _profiles,
    "storage": _names,
}
"""How the packed form of a field is read; the others have a place of their own in `ended_trial`."""
