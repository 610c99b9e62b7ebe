"""What the lines of commits and checkpoints must look like, checked before anything believes them.

Whoever can write a store can write any JSON with a right checksum. What is checked here is what the fold and the tables
rely on: types, ranges, spellings of times and of names in keys. Members that are not named here are passed over.

Cost: about a microsecond a command.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from pydantic_core import CoreSchema, SchemaValidator, ValidationError
from pydantic_core import core_schema as cs

from trialstore.model.part import TABLES
from trialstore.model.status import Status

__all__ = ["CATALOG_HEAD", "ENTRY", "EXPERIMENT_HEAD", "INTERNED", "RECORD", "ROW", "Shape", "command_problem"]


class Shape:
    """What a line of a checkpoint must look like.

    Args:
        schema: Made into a validator when it is first needed.
    """

    def __init__(self, schema: CoreSchema) -> None:
        self._schema = schema
        self._validator: SchemaValidator | None = None

    def require(self, value: object) -> None:
        """Return when a value is of this shape.

        Raises:
            ValueError: it is not.
        """
        if self._validator is None:
            self._validator = SchemaValidator(self._schema)
        if not self._validator.isinstance_python(value):
            raise ValueError(_problem(self._validator, value))


def _problem(validator: SchemaValidator, value: object) -> str:
    try:
        validator.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return "it is not as the format says"


Field = tuple[CoreSchema, bool]


def _time(value: object) -> object:
    if type(value) is not str or len(value) != 27 or value[10] != "T" or value[26] != "Z":
        raise ValueError("not a stored time")
    datetime.fromisoformat(value)
    return value


def _number(least: int, most: int) -> CoreSchema:
    return cs.int_schema(strict=True, ge=least, le=most)


def _spelled(pattern: str) -> CoreSchema:
    return cs.str_schema(strict=True, pattern=pattern)


def _list(items: CoreSchema) -> CoreSchema:
    return cs.list_schema(items, strict=True)


def _row(*items: CoreSchema) -> CoreSchema:
    return cs.tuple_schema(list(items), strict=False)  # a JSON array is a list


def _map(keys: CoreSchema, values: CoreSchema) -> CoreSchema:
    return cs.dict_schema(keys, values, strict=True)


def _may(schema: CoreSchema) -> Field:
    return schema, False


def _or_null(schema: CoreSchema) -> CoreSchema:
    return cs.nullable_schema(schema)


def _fields(**fields: CoreSchema | Field) -> CoreSchema:
    members = {}
    for name, field in fields.items():
        schema, required = field if isinstance(field, tuple) else (field, True)
        members[name] = cs.typed_dict_field(schema, required=required)
    return cs.typed_dict_schema(members, extra_behavior="allow", strict=True)


_ANY = cs.any_schema()
_TEXT = cs.str_schema(strict=True)
_BOOL = cs.bool_schema(strict=True)
_TIME = cs.no_info_plain_validator_function(_time)
_COUNT = _number(0, 2**53)
_SEQ = _number(-1, 2**63 - 1)
_INT64 = _number(-(2**63), 2**63 - 1)
_ATTEMPT = _number(0, 2**31 - 2)  # a claim adds one
_ID = _spelled(r"^[0-9A-Za-z_-]{1,64}$")
_CRC32 = _spelled(r"^[0-9a-f]{8}$")
_KEY = _spelled(r"^[0-9A-Za-z_%~-][0-9A-Za-z_%~.-]{0,255}$")
_OBJECT = _map(_TEXT, _ANY)
_STATUS = cs.literal_schema([status.value for status in Status])
_TABLE = cs.literal_schema(list(TABLES))
_RANGES = _list(_row(_COUNT, _COUNT))
_OWNER = _number(-1, 2**53)  # of an artifact: a trial, or none
_TEXT_OR_NULL, _TIME_OR_NULL, _OBJECT_OR_NULL = _or_null(_TEXT), _or_null(_TIME), _or_null(_OBJECT)

_TRIAL: dict[str, CoreSchema | Field] = {
    "id": _TEXT,
    "params": _may(_OBJECT),
    "name": _may(_TEXT_OR_NULL),
    "seed": _may(_or_null(cs.int_schema(strict=True))),
    "fidelity": _may(_OBJECT_OR_NULL),
    "parent": _may(_or_null(_COUNT)),
    "ready_at": _may(_TIME_OR_NULL),
    "attributes": _may(_OBJECT_OR_NULL),
    "status": _may(_STATUS),
    "metrics": _may(_OBJECT),
    "summary": _may(_OBJECT_OR_NULL),
    "sem": _may(_OBJECT_OR_NULL),
    "n": _may(_OBJECT_OR_NULL),
    "extras": _may(_OBJECT_OR_NULL),
    "profiles": _may(_or_null(_list(_list(_ANY)))),
    "storage": _may(_or_null(_list(_TEXT))),
    "runner": _may(_or_null(_INT64)),
    "submitted_at": _may(_TIME),
    "started_at": _may(_TIME_OR_NULL),
    "ended_at": _may(_TIME_OR_NULL),
    "exception": _may(_TEXT_OR_NULL),
    "traceback": _may(_TEXT_OR_NULL),
    "worker": _may(_TEXT_OR_NULL),
    "attempt": _may(_ATTEMPT),
}
_REPORTS = _list(_row(_TEXT, _or_null(_INT64), _TIME, _ANY))
_ENDED = _fields(attempt=_ATTEMPT)
_RECORD = _fields(
    **{
        **_TRIAL,
        "number": _COUNT,
        "status": _STATUS,
        "submitted_at": _TIME,
        "seq": _SEQ,
        "session": _may(_or_null(_ID)),
        "attempts": _may(_list(_ENDED)),
    }
)
RECORD = Shape(_RECORD)
"""A trial of a checkpoint."""

_RESULT: dict[str, CoreSchema | Field] = {
    name: _TRIAL[name]
    for name in ("metrics", "summary", "exception", "traceback", "sem", "n", "profiles", "extras", "storage")
}
_PART = _fields(
    id=_ID,
    table=_TABLE,
    rows=_COUNT,
    size_bytes=_COUNT,
    crc32=_CRC32,
    trials=_list(_row(_OWNER, _OWNER)),
    seq=_SEQ,
    first_at=_may(_TIME_OR_NULL),
    last_at=_may(_TIME_OR_NULL),
    schema=_may(_or_null(_map(_TEXT, _map(_TEXT, cs.literal_schema(["null", "bool", "int64", "double", "string"]))))),
    exact=_may(_BOOL),
    after=_may(_COUNT),
)
_ROW = {
    "metrics": _row(_COUNT, _ATTEMPT, _TEXT, _or_null(_INT64), _TIME, _ANY),
    "telemetry": _row(_COUNT, _ATTEMPT, _TIME, _TEXT, _ANY),
    "status": _row(_COUNT, _ATTEMPT, _TEXT, _TIME, _TEXT_OR_NULL, _TEXT_OR_NULL),
    "artifacts": _row(_OWNER, _ATTEMPT, _TEXT, _TEXT, _COUNT, _TEXT, _TIME, _TEXT_OR_NULL, _TEXT),
}
ROW = {table: Shape(schema) for table, schema in _ROW.items()}
"""A row that rides the journal, by table."""

_CONFIG: dict[str, CoreSchema] = {
    "metrics": _list(_fields(name=_TEXT, minimize=_BOOL, bounds=_ANY)),
    "space": _map(_TEXT, _fields(kind=_TEXT)),
    "max_trials": _or_null(_COUNT),
    "max_broken": _or_null(_COUNT),
    "metadata": _OBJECT,
    "repeats": _BOOL,
}
_CONFIG_MORE: dict[str, CoreSchema] = {
    "working_dir": _TEXT_OR_NULL,
    "algorithms": _ANY,
    "refers": _fields(parent_id=_or_null(_COUNT), root_id=_or_null(_COUNT), adapter=_list(_fields(of_type=_TEXT))),
}
_CONFIGURED = _fields(**_CONFIG, **{name: _may(schema) for name, schema in _CONFIG_MORE.items()})
_VERSION = _number(1, 2**31)
_DOCUMENTS = _map(_TEXT, _row(_COUNT, _ANY))
_HEAD: dict[str, CoreSchema | Field] = {
    "sessions": _map(_ID, _row(_COUNT, _TIME)),
    "retired_before": _TEXT,
    "documents": _DOCUMENTS,
    "latest_at": _may(_TEXT),
}
CATALOG_HEAD = Shape(
    _fields(**_HEAD, last_id=_COUNT, keys=_list(_TEXT), configurations=_COUNT, dropped=_may(_map(_KEY, _TIME)))
)
"""The first line of a catalog's checkpoint."""

INTERNED = Shape(_row(_TEXT, _OBJECT))
"""Parameters that stand for a small integer."""

ENTRY = Shape(_row(_COUNT, _TEXT, _VERSION, _KEY, _TIME, _COUNT, _CONFIGURED, _SEQ))
"""An experiment of a catalog's checkpoint."""

EXPERIMENT_HEAD = Shape(
    _fields(
        **_HEAD,
        repeats=_BOOL,
        next_number=_COUNT,
        counts=_map(_STATUS, _COUNT),
        busy_us=_COUNT,
        first_at=_TIME_OR_NULL,
        last_at=_TIME_OR_NULL,
        known=_spelled("^[0-9a-f]*$"),
        trials=_COUNT,
        manifest=_fields(
            parts=_list(_PART),
            superseded=_map(_ID, _list(_COUNT)),
            removed_artifacts=_list(_TEXT),
            retired_blobs=_may(_map(_TEXT, _TIME)),
            replaced_by=_may(_map(_TEXT, _COUNT)),
            retired=_map(_ID, _row(_TABLE, _TIME)),
            disowned=_may(_map(_TEXT, _TIME)),
            attempts=_list(_row(_COUNT, _ATTEMPT)),
            removed_trials=_may(_list(_COUNT)),
            rows=_map(_TABLE, _row(_COUNT, _COUNT)),
        ),
    )
)
"""The first line of an experiment's checkpoint."""

_BODIES: dict[str, dict[str, CoreSchema | Field]] = {
    "document": {"name": _TEXT, "revision": _or_null(cs.int_schema(strict=True)), "value": _ANY},
    "retire_sessions": {"before": _TIME},
    "create_experiment": {"name": _TEXT, "version": _or_null(_VERSION), "config": _CONFIGURED},
    "update_experiment": {
        "id": _COUNT,
        "revision": _or_null(_COUNT),
        "config": _fields(**{name: _may(schema) for name, schema in (_CONFIG | _CONFIG_MORE).items()}),
    },
    "drop_experiment": {"id": _COUNT},
    "intern": {"hashes": _list(_TEXT), "params": _list(_OBJECT)},
    "register": {
        "trials": _list(
            _fields(**{**_TRIAL, "params": _OBJECT, "reports": _may(_REPORTS), "attempts": _may(_list(_ENDED))})
        ),
        "claimed": _may(_BOOL),
        "worker": _may(_TEXT_OR_NULL),
        "first": _may(_COUNT),
    },
    "allocate": {"count": _COUNT},
    "import": {
        "parts": _list(_PART),
        "counts": _map(_STATUS, _COUNT),
        "busy_us": _COUNT,
        "first_at": _TIME_OR_NULL,
        "last_at": _TIME_OR_NULL,
        "keys": _may(_list(_spelled("^[0-9a-f]*$"))),
    },
    "claim": {
        "worker": _may(_TEXT_OR_NULL),
        "trial": _may(_or_null(_COUNT)),
        "when": _may(_TIME_OR_NULL),
    },
    "finish": {
        **_RESULT,
        "trial": _COUNT,
        "attempt": _ATTEMPT,
        "status": _STATUS,
        "reason": _may(_TEXT_OR_NULL),
        "when": _may(_TIME_OR_NULL),
    },
    "status": {
        "trial": _COUNT,
        "status": _STATUS,
        "attempt": _may(_or_null(_ATTEMPT)),
        "was": _may(_or_null(_STATUS)),
        "reason": _may(_TEXT_OR_NULL),
        "worker": _may(_TEXT_OR_NULL),
        "when": _may(_TIME_OR_NULL),
    },
    "expire": {"trial": _COUNT, "attempt": _ATTEMPT},
    "annotate": {
        "trial": _COUNT,
        "attributes": _may(_OBJECT),
        "extras": _may(_OBJECT),
        "storage": _may(_list(_TEXT)),
        "gone": _may(_list(_TEXT)),
    },
    "amend": {
        **_TRIAL,
        "id": _may(_TEXT),
        "extras": _may(_OBJECT),
        "trial": _COUNT,
        "was": _may(_or_null(_STATUS)),
        "reason": _may(_TEXT_OR_NULL),
    },
    "remove": {"trials": _list(_COUNT)},
    "advance": {
        "trial": _COUNT,
        "id": _may(_TEXT),
        **{name: _may(_OBJECT) for name in ("params", "attributes", "extras", "metrics")},
        "reports": _may(_REPORTS),
        "status": _may(_STATUS),
        "reason": _may(_TEXT_OR_NULL),
        "worker": _may(_TEXT_OR_NULL),
        "when": _may(_TIME_OR_NULL),
    },
    "assign": {"trial": _COUNT, "was": _may(_or_null(_INT64)), "runner": _or_null(_INT64)},
    "revive": {"record": _RECORD, "part": _ID},
    "parts": {"parts": _list(_PART)},
    "flush": {
        "seq": _SEQ,
        "trials": _RANGES,
        "rows": _map(_TABLE, _row(_COUNT, _COUNT)),
        "parts": _list(_PART),
    },
    "replace": {
        "remove": _list(_ID),
        "add": _list(_PART),
        "dropped": _map(_ID, _list(_COUNT)),
        "dropped_artifacts": _list(_TEXT),
    },
    "forget": {"parts": _list(_ID), "blobs": _may(_list(_TEXT))},
    "disown": {"parts": _list(_TEXT)},
    "remove_artifacts": {"ids": _list(_TEXT)},
    "retire_blobs": {"blobs": _map(_TEXT, _TIME_OR_NULL)},
}
_ROWS = "rows"
_COMMAND: dict[str, CoreSchema | Field] = {
    "session": _ID,
    "counter": _number(1, 2**63 - 1),
    "at": _TIME,
    "kind": _TEXT,
    "opens": _may(_BOOL),
    "optional": _may(_BOOL),
}


@cache
def _validator_of_kind(kind: str, table: str = "") -> SchemaValidator:
    body = {"table": _TABLE, "rows": _list(_ROW[table])} if kind == _ROWS else _BODIES.get(kind, {})
    return SchemaValidator(_fields(**{**_COMMAND, **body}))


def command_problem(command: Any) -> str | None:
    """What is wrong with a command line, None when it is as the format says."""
    kind = command.get("kind") if type(command) is dict else None
    if type(kind) is not str:
        return "it is no command"
    if kind == _ROWS:
        table = command.get("table")
        if type(table) is not str or table not in _ROW:
            return f"there are no rows of this table: {table!r}"
        validator = _validator_of_kind(kind, table)
    else:
        validator = _validator_of_kind(kind if kind in _BODIES else "")
    return None if validator.isinstance_python(command) else _problem(validator, command)
