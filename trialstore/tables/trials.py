"""Trial records as a typed table, and back, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pyarrow as pa
from pydantic_core import from_json, to_json

from trialstore.model.codec import decode, encode, pack_dict, unpack, unpack_dict
from trialstore.model.profile import PROFILE_FIELDS
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.tables.schema import STRUCTS, Fields, trials_schema
from trialstore.tables.structs import dicts_of, struct_column
from trialstore.tables.times import time_array, time_texts

__all__ = ["records_from", "trials_table"]

_INT64 = 2**63
_DIRECT = ("id", "name", "worker", "runner", "parent", "exception", "traceback", "storage", "seq")
_TIMES = ("submitted_at", "started_at", "ended_at", "ready_at")
_OPTIONAL = frozenset({"fidelity", "summary", "sem", "n"})
_JSON_DICTS = ("attributes", "extras")
_FIELDS = tuple(field.name for field in fields(TrialRecord))


def trials_table(records: Sequence[TrialRecord], structs: Mapping[str, Fields] | None = None) -> pa.Table:
    """The trials table of these records, in their order, with nothing lost: `records_from` is the inverse.

    Args:
        records: Trials with decoded values.
        structs: The fields that the struct columns must have, wide enough for all values; found from the values
            when None.
    """
    columns: dict[str, pa.Array] = {name: [getattr(record, name) for record in records] for name in _DIRECT}
    columns["trial"] = [record.number for record in records]
    columns["status"] = [record.status.value for record in records]
    columns["attempt"] = [record.attempt for record in records]
    for name in _TIMES:
        columns[name] = time_array([getattr(record, name) for record in records])
    kept: dict[int, dict[str, Any]] = {}
    for name in STRUCTS:
        dicts = [getattr(record, name) for record in records]
        columns[name], inexact = struct_column(dicts, None if structs is None else structs[name])
        for index in inexact:
            kept.setdefault(index, {})[name] = pack_dict(dicts[index], name)
    columns["seed"] = [record.seed for record in records]
    for index, record in enumerate(records):
        if record.seed is not None and not -_INT64 <= record.seed < _INT64:
            kept.setdefault(index, {})["seed"] = {"$int": str(record.seed)}
            columns["seed"][index] = None
        if record.session is not None:
            kept.setdefault(index, {})["session"] = record.session
    for name in _JSON_DICTS:
        dicts = [getattr(record, name) for record in records]
        columns[name] = [None if row is None else to_json(pack_dict(row, name)).decode() for row in dicts]
    columns["info"] = [None if record.info is None else encode(record.info).decode() for record in records]
    columns["profiles"] = [
        None if record.profiles is None else [dict(zip(PROFILE_FIELDS, row, strict=True)) for row in record.profiles]
        for record in records
    ]
    columns["attempts"] = [to_json(record.attempts).decode() if record.attempts else None for record in records]
    exact: list[str | None] = [None] * len(records)
    for index, body in kept.items():
        exact[index] = to_json(body).decode()
    columns["exact"] = exact
    schema = trials_schema({})
    arrays = [
        columns[field.name] if isinstance(columns[field.name], pa.Array) else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.table(arrays, names=schema.names)


def records_from(table: pa.Table) -> list[TrialRecord]:
    """The records that `trials_table` wrote."""
    columns: dict[str, list[Any]] = {name: table[name].to_pylist() for name in (*_DIRECT, "attempt", "seed", "exact")}
    columns["number"] = table["trial"].to_pylist()
    columns["status"] = [Status(status) for status in table["status"].to_pylist()]
    for name in _TIMES:
        columns[name] = time_texts(table[name])
    for name in STRUCTS:
        dicts = dicts_of(table[name])
        columns[name] = dicts if name in _OPTIONAL else [row or {} for row in dicts]
    for name in _JSON_DICTS:
        columns[name] = _dicts(table[name].to_pylist())
    columns["info"] = [None if text is None else decode(text) for text in table["info"].to_pylist()]
    columns["profiles"] = [
        None if rows is None else [[row[name] for name in PROFILE_FIELDS] for row in rows]
        for rows in table["profiles"].to_pylist()
    ]
    columns["attempts"] = [[] if text is None else from_json(text) for text in table["attempts"].to_pylist()]
    exact = columns.pop("exact")
    nothing = [None] * table.num_rows
    records = list(map(TrialRecord, *(columns.get(name, nothing) for name in _FIELDS)))
    for record, text in zip(records, exact, strict=True):
        if text is not None:
            for name, value in from_json(text).items():
                setattr(record, name, unpack_dict(value) if name in STRUCTS else unpack(value))
    return records


def _dicts(texts: Sequence[str | None]) -> list[dict[str, Any] | None]:
    """What JSON texts say. One that is repeated, as where a tool says the same of each trial, is read once."""
    dicts: list[dict[str, Any] | None] = []
    last, read, is_flat = None, {}, False
    for text in texts:
        if text is None:
            dicts.append(None)
            continue
        if text != last or not is_flat:
            last, read = text, from_json(text)
            if '"$' in text:
                read = unpack_dict(read)
            is_flat = not any(isinstance(value, (dict, list, tuple)) for value in read.values())
            dicts.append(read)
        else:
            dicts.append(read.copy())
    return dicts
