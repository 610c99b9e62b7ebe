"""The columns of every table, and how the types of struct fields unify."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import ascii_lowercase, ascii_uppercase
from typing import TypeAlias

import pyarrow as pa

from trialstore.model.profile import PROFILE_FIELDS

__all__ = [
    "NAMES",
    "PLACEHOLDER",
    "PROFILES",
    "ROW_SCHEMAS",
    "SORT_KEYS",
    "STRUCTS",
    "TIME",
    "TRIAL_COLUMNS",
    "Fields",
    "arrow_kind",
    "fields_of",
    "fold_name",
    "merge_names",
    "struct_type",
    "trials_schema",
    "unify_fields",
    "unify_kinds",
]

Fields: TypeAlias = Mapping[str, str]
"""Kind of each field of a struct column, in order: null, bool, int64, double or string."""

TIME = pa.timestamp("us", "UTC")

STRUCTS = ("params", "metrics", "sem", "n", "fidelity", "summary")
"""The struct columns of the trials table."""

PLACEHOLDER = "_"
"""The only field, always null, of a struct column that has no field: Parquet cannot write an empty struct."""

PROFILES = pa.list_(
    pa.field(
        "element",
        pa.struct(
            [(name, pa.float64() if name.endswith(("_s", "_bytes")) else pa.string()) for name in PROFILE_FIELDS]
        ),
    )
)
"""What was measured in a trial, in the order in which the measurements began: rows of `Profile.to_row`."""

NAMES = pa.list_(pa.field("element", pa.string()))

TRIAL_COLUMNS: Mapping[str, pa.DataType | None] = {
    "trial": pa.int64(),
    "id": pa.string(),
    "name": pa.string(),
    "status": pa.string(),
    "attempt": pa.int32(),
    "worker": pa.string(),
    "runner": pa.int64(),
    "submitted_at": TIME,
    "started_at": TIME,
    "ended_at": TIME,
    "ready_at": TIME,
    "seed": pa.int64(),
    "fidelity": None,
    "parent": pa.int64(),
    "info": pa.string(),
    "params": None,
    "metrics": None,
    "sem": None,
    "n": None,
    "summary": None,
    "profiles": PROFILES,
    "exception": pa.string(),
    "traceback": pa.string(),
    "attributes": pa.string(),
    "extras": pa.string(),
    "storage": NAMES,
    "attempts": pa.string(),
    "exact": pa.string(),
    "seq": pa.int64(),
}
"""Columns of the trials table in order; None stands for a struct column."""

_VALUE = [("value", pa.float64()), ("text", pa.string()), ("type", pa.string())]

ROW_SCHEMAS: Mapping[str, pa.Schema] = {
    "metrics": pa.schema(
        [
            ("trial", pa.int64()),
            ("attempt", pa.int32()),
            ("name", pa.string()),
            ("step", pa.int64()),
            ("at", TIME),
            *_VALUE,
        ]
    ),
    "telemetry": pa.schema(
        [("trial", pa.int64()), ("attempt", pa.int32()), ("at", TIME), ("name", pa.string()), *_VALUE]
    ),
    "status": pa.schema(
        [
            ("trial", pa.int64()),
            ("attempt", pa.int32()),
            ("status", pa.string()),
            ("at", TIME),
            ("worker", pa.string()),
            ("reason", pa.string()),
        ]
    ),
    "artifacts": pa.schema(
        [
            ("trial", pa.int64()),
            ("attempt", pa.int32()),
            ("name", pa.string()),
            ("path", pa.string()),
            ("size_bytes", pa.int64()),
            ("sha256", pa.string()),
            ("at", TIME),
            ("loader", pa.string()),
            ("id", pa.string()),
        ]
    ),
}
"""The tables whose columns never vary."""

SORT_KEYS: Mapping[str, tuple[str, ...]] = {
    "trials": ("trial",),
    "metrics": ("trial", "name", "at"),
    "telemetry": ("trial", "name", "at"),
    "status": ("trial",),
    "artifacts": ("trial",),
}
"""What the rows of a part are sorted by; equal rows keep their order."""

# Null is int32, which no value is stored as: not every engine reads Parquet's own type for nothing but nulls.
_ARROW = {"null": pa.int32(), "bool": pa.bool_(), "int64": pa.int64(), "double": pa.float64(), "string": pa.string()}
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_KINDS = {type_: kind for kind, type_ in _ARROW.items()}


def arrow_kind(kind: str) -> pa.DataType:
    """The Arrow type of a field of this kind."""
    return _ARROW[kind]


def struct_type(fields: Fields) -> pa.StructType:
    """The Arrow type of a struct column with these fields, with the placeholder when there is none."""
    if not fields:
        return pa.struct([(PLACEHOLDER, _ARROW["null"])])
    return pa.struct([(name, _ARROW[kind]) for name, kind in fields.items()])


def fields_of(type_: pa.StructType) -> dict[str, str]:
    """The fields of a struct column; the placeholder is none."""
    fields = {field.name: _KINDS[field.type] for field in (type_.field(i) for i in range(type_.num_fields))}
    return {} if fields == {PLACEHOLDER: "null"} else fields


def trials_schema(structs: Mapping[str, Fields]) -> pa.Schema:
    """The schema of a trials table whose struct columns have these fields."""
    return pa.schema(
        [
            (name, struct_type(structs.get(name, {})) if type_ is None else type_)
            for name, type_ in TRIAL_COLUMNS.items()
        ]
    )


def fold_name(name: str) -> str:
    """What two names share that DuckDB takes for one field: it ignores the case of ASCII letters, and of no others."""
    return name.translate(_LOWER)


def unify_kinds(kinds: Iterable[str]) -> str:
    """The narrowest kind that holds values of all these kinds; text holds everything."""
    some = set(kinds) - {"null"}
    if len(some) <= 1:
        return some.pop() if some else "null"
    return "double" if some == {"int64", "double"} else "string"


def merge_names(shapes: Iterable[Iterable[str]]) -> list[str]:
    """All names of several sequences once, in an order that as many of the sequences as possible agree with.

    A name that is new in a sequence comes right after the one that it follows there.

    Example:
        >>> merge_names([["lr", "seed"], ["lr", "momentum", "seed"]])
        ['lr', 'momentum', 'seed']
    """
    merged: list[str] = []
    known: set[str] = set()
    for shape in shapes:
        position = 0
        for name in shape:
            if name in known:
                position = merged.index(name) + 1
            else:
                merged.insert(position, name)
                known.add(name)
                position += 1
    return merged


def unify_fields(schemas: Iterable[Fields]) -> dict[str, str]:
    """The fields of a struct column that holds the rows of columns with these fields.

    Names that `fold_name` makes equal are one field, under the spelling that comes first.
    """
    distinct = list(dict.fromkeys(tuple(schema.items()) for schema in schemas))
    spelling: dict[str, str] = {}
    kinds: dict[str, list[str]] = {}
    shapes = []
    for schema in distinct:
        shape = [spelling.setdefault(fold_name(name), name) for name, _ in schema]
        shapes.append(shape)
        for name, (_, kind) in zip(shape, schema, strict=True):
            kinds.setdefault(name, []).append(kind)
    return {name: unify_kinds(kinds[name]) for name in merge_names(shapes)}
