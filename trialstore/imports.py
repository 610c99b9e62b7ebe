"""Taking in many finished trials at once: rows become parts without passing through the journal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trialstore.journal.experiment import repeat_key
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.model.codec import pack, pack_dict
from trialstore.model.errors import InvalidMetricsError, InvalidParamsError, TrialStoreError, UsageError
from trialstore.model.identity import check_name
from trialstore.model.metric import Metric
from trialstore.model.observation import Observation
from trialstore.model.profile import PROFILE_FIELDS, Profile
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import format_time, now_text, parse_time

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["Describe", "ended_trial", "import_trials"]

CHUNK_ROWS = 1 << 17

Describe = Callable[[Mapping[str, Any], Mapping[str, Any] | None], dict[str, Any]]
"""Gives the stored form of parameters and fidelity, or raises `InvalidParamsError`."""

_PLAIN = ("name", "seed", "parent", "exception", "traceback", "worker", "runner")
_DICTS = ("summary", "attributes", "extras")
_TIMES = ("submitted_at", "started_at", "ended_at")
_REST = ("info", "sem", "n", "profiles", "storage")
_KNOWN = frozenset({"params", "metrics", "fidelity", "status", *_PLAIN, *_DICTS, *_TIMES, *_REST})


def import_trials(
    ledger: Ledger,
    metrics: tuple[Metric, ...],
    describe: Describe,
    rows: pa.Table | pl.DataFrame | Iterable[Mapping[str, Any]],
    progress: Callable[[int], None] | None,
) -> range:
    """See `Experiment.import_trials`."""
    ledger.require_writable()
    ledger.commit_buffered()
    first = None
    count = 0
    for chunk in _chunks(rows):
        records = _records(chunk, metrics, describe, offset=count)
        start = _import_chunk(ledger, records)
        first = start if first is None else first
        count = start + len(records) - first
        if progress is not None:
            progress(count)
    first = first or 0
    return range(first, first + count)


def _chunks(rows: Any) -> Iterator[list[Mapping[str, Any]]]:
    if hasattr(rows, "to_arrow"):
        rows = rows.to_arrow()
    if hasattr(rows, "column_names"):
        for start in range(0, rows.num_rows, CHUNK_ROWS):
            yield _nested(rows.slice(start, CHUNK_ROWS))
        return
    chunk: list[Mapping[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _nested(table: pa.Table) -> list[Mapping[str, Any]]:
    """Rows of a table whose columns may be structs, or flat ones such as ``params.lr``; null means absent."""
    rows: list[Mapping[str, Any]] = [{} for _ in range(table.num_rows)]
    for name in table.column_names:
        group, dot, field = name.partition(".")
        for row, value in zip(rows, table.column(name).to_pylist(), strict=True):
            if value is None:
                continue
            if dot and group in ("params", "metrics", "fidelity", "sem", "n"):
                row.setdefault(group, {})[field] = value  # type: ignore[attr-defined]
            elif isinstance(value, dict):
                row[name] = {key: item for key, item in value.items() if item is not None}  # type: ignore[index]
            else:
                row[name] = value  # type: ignore[index]
    return rows


def _records(
    rows: list[Mapping[str, Any]], metrics: tuple[Metric, ...], describe: Describe, offset: int
) -> list[TrialRecord]:
    now = now_text()
    declared = {metric.name: metric for metric in metrics}
    records, problems = [], []
    for index, row in enumerate(rows):
        try:
            records.append(ended_trial(row, declared, describe, now))
        except TrialStoreError as error:
            problems.append(f"row {offset + index}: {error.message}")
            if len(problems) == 20:
                break
    if problems:
        raise InvalidParamsError("\n".join(problems), hint="nothing of these rows was imported")
    return records


def ended_trial(row: Mapping[str, Any], declared: Mapping[str, Metric], describe: Describe, now: str) -> TrialRecord:
    """The packed record of a row, still without a number; see `Experiment.import_trials` for what a row may have.

    Args:
        row: What is known of a trial that has ended.
        declared: The experiment's metrics by name.
        describe: Gives the stored form of parameters and fidelity.
        now: The stored spelling of the time, for times that the row leaves out.
    """
    if not _KNOWN.issuperset(row):
        raise UsageError(f"unknown columns {sorted(row.keys() - _KNOWN)}; known are {sorted(_KNOWN)}")
    status = Status.parse(row.get("status", "SUCCEEDED"))
    if not status.is_final:
        raise UsageError(f"only finished trials can be imported, not {status}; register it instead")
    body = describe(row.get("params", {}), row.get("fidelity"))
    values, noise = _observed(row, declared)
    times = {name: _time(row[name]) for name in _TIMES if name in row}
    rest: dict[str, Any] = {name: row[name] for name in _PLAIN if name in row}
    rest |= {name: pack_dict(row[name], name) for name in _DICTS if name in row}
    if row.get("info") is not None:
        rest["info"] = pack(row["info"], "info")
    if row.get("profiles"):
        rest["profiles"] = [[pack(value) for value in item] for item in _profiles(row["profiles"])]
    if row.get("storage"):
        rest["storage"] = [check_name(name, "stored thing") for name in row["storage"]]
    return TrialRecord(
        number=-1,
        id=body["id"],
        params=body["params"],
        status=status,
        submitted_at=times.get("submitted_at", now),
        ended_at=times.get("ended_at", now),
        seq=-1,
        attempt=1,
        fidelity=body.get("fidelity"),
        metrics=pack_dict(values, "metrics"),
        started_at=times.get("started_at"),
        **noise,
        **rest,
    )


def _observed(row: Mapping[str, Any], declared: Mapping[str, Metric]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics, and what is known of their noise, packed."""
    given: dict[str, Any] = dict(row.get("metrics", {}))
    sem, n = row.get("sem") or {}, row.get("n") or {}
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


def _profiles(given: Any) -> Iterator[list[Any]]:
    """The stored rows of profiles by name, or of the structs that the column `profiles` has."""
    if isinstance(given, Mapping):
        for name, profile in given.items():
            if not isinstance(profile, Profile):
                raise UsageError(f"profile {name!r} is none: {profile!r:.100}")
            yield profile.to_row(check_name(name, "profile"))
        return
    for item in given:
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


def _time(value: object) -> str:
    if not isinstance(value, datetime):
        raise UsageError(f"not a time: {value!r}")
    return format_time(value)


def _import_chunk(ledger: Ledger, records: list[TrialRecord]) -> int:
    from trialstore.tables.live import records_table
    from trialstore.tables.parts import none_if_full, whole_or_none, write_part
    from trialstore.tables.rows import rows_table

    first: int = ledger.execute_one(Draft("allocate", {"count": len(records)}))
    for index, record in enumerate(records):
        record.number = first + index
    ended = [(r.number, r.attempt, str(r.status), r.ended_at, r.worker, "imported") for r in records]
    with whole_or_none(ledger.blobs, ledger.key) as parts:
        parts.append(write_part(ledger.blobs, ledger.key, "trials", records_table(records), seq=-1))
        parts.append(write_part(ledger.blobs, ledger.key, "status", rows_table("status", ended), seq=-1))
    counts: dict[str, int] = {}
    busy_us = 0
    for record in records:
        counts[record.status] = counts.get(record.status, 0) + 1
        if record.started_at is not None and record.ended_at is not None:
            ran = parse_time(record.ended_at) - parse_time(record.started_at)
            busy_us += max(0, round(ran.total_seconds() * 1_000_000))
    fields = {
        "parts": [part.to_json() for part in parts],
        "counts": counts,
        "busy_us": busy_us,
        "first_at": min(record.submitted_at for record in records),
        "last_at": max(record.ended_at or record.submitted_at for record in records),
    }
    if not ledger.entry.config["repeats"]:
        fields["keys"] = [repeat_key({"id": r.id, "fidelity": r.fidelity}).hex() for r in records]
    with none_if_full(ledger.blobs, ledger.key, parts):
        *_, outcome = ledger.execute(Draft("import", fields))
    if outcome.reason is not None:
        ledger.blobs.delete([part.blob_key(ledger.key) for part in parts])
        ledger.refuse(outcome)
    return first
