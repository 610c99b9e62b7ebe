"""Dicts as a typed struct column: every value that fits is in its field, and what does not fit is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from trialstore.model.codec import encode
from trialstore.tables.schema import PLACEHOLDER, Fields, arrow_kind, fields_of, fold_name, merge_names, struct_type
from trialstore.tables.values import nearest_double

__all__ = ["MAX_FIELDS", "dicts_of", "struct_column"]

MAX_FIELDS = 2048
"""Most fields of a struct column; what comes after them is kept in the column `exact` alone."""

_PYTHON: dict[str, type] = {"bool": bool, "int64": int, "double": float, "string": str, "null": type(None)}
_NARROW: dict[frozenset[type], str] = {
    frozenset(): "null",
    frozenset({bool}): "bool",
    frozenset({float}): "double",
    frozenset({int, float}): "double",
    frozenset({str}): "string",
}

_INT64 = 2**63
_UNFIT = frozenset({"", PLACEHOLDER})
_Dict = dict[str, Any]


def struct_column(dicts: Sequence[_Dict | None], fields: Fields | None = None) -> tuple[pa.StructArray, set[int]]:
    """The struct column of these dicts, and the rows that cannot be rebuilt from it alone.

    A row can be rebuilt when its dict has the fields that are not null, in the order of the struct, with
    values of the column's own type; a null struct is None.

    Args:
        dicts: One a row.
        fields: The fields that the struct must have, wide enough for all values; found from the values when None.
    """
    if fields is None and all(row is None for row in dicts):  # most tables have columns that no row uses
        return pa.nulls(len(dicts), struct_type({})), set()
    shapes = [None if row is None else tuple(row) for row in dicts]
    distinct = [shape for shape in dict.fromkeys(shapes) if shape is not None]
    names = _field_names(distinct) if fields is None else list(fields)
    inexact: set[int] = set()
    aliases: dict[str, list[str]] = {}
    irregular = {shape for shape in distinct if not _follows(shape, names)}
    if irregular:
        inexact.update(index for index, shape in enumerate(shapes) if shape in irregular)
        aliases = _aliases(irregular, names)
    arrays: dict[str, pa.Array] = {}
    for name, column in _columns(dicts, distinct, names, aliases):
        array, misfits = _array(column, None if fields is None else fields[name])
        arrays[name] = array
        if misfits:
            inexact.update(misfits)
        if array.null_count:
            inexact.update(i for i, value in enumerate(column) if value is None and name in (shapes[i] or ()))
    mask = pa.array([row is None for row in dicts], pa.bool_()) if None in shapes else None
    type_ = struct_type({}) if not arrays else pa.struct([(name, array.type) for name, array in arrays.items()])
    children = list(arrays.values()) or [pa.nulls(len(dicts), type_.field(0).type)]
    return pa.StructArray.from_arrays(children, fields=list(type_), mask=mask), inexact


def _field_names(shapes: Sequence[tuple[str, ...]]) -> list[str]:
    """The names that become fields: not empty, without NUL, not the placeholder's, different by more than case."""
    spelling: dict[str, str] = {}
    fit = [
        [spelling.setdefault(fold_name(name), name) for name in shape if name not in _UNFIT and "\0" not in name]
        for shape in shapes
    ]
    return merge_names(fit)[:MAX_FIELDS]


def _follows(shape: tuple[str, ...], names: list[str]) -> bool:
    rest = iter(names)
    return all(name in rest for name in shape)


def _aliases(shapes: set[tuple[str, ...]], names: list[str]) -> dict[str, list[str]]:
    """The other spellings of each field that occur in rows."""
    folded = {fold_name(name): name for name in names}
    aliases: dict[str, list[str]] = {}
    for shape in sorted(shapes):
        for name in shape:
            field = folded.get(fold_name(name))
            if field is not None and field != name and name not in aliases.setdefault(field, []):
                aliases[field].append(name)
    return aliases


def _columns(
    dicts: Sequence[_Dict | None], distinct: list[tuple[str, ...]], names: list[str], aliases: Mapping[str, list[str]]
) -> Iterator[tuple[str, Sequence[Any]]]:
    """Each field's values, None where a row has none."""
    if len(distinct) == 1 and distinct[0] == tuple(names) and None not in dicts:
        yield from zip(names, zip(*[row.values() for row in dicts if row is not None], strict=True), strict=True)
        return
    empty: _Dict = {}
    rows = [empty if row is None else row for row in dicts]
    for name in names:
        if name in aliases:
            spellings = [name, *aliases[name]]
            yield name, [next((row[key] for key in spellings if key in row), None) for row in rows]
        else:
            yield name, [row.get(name) for row in rows]


def _array(column: Sequence[Any], kind: str | None) -> tuple[pa.Array, list[int]]:
    """The values as one typed array, and the rows whose value has another type than the array's."""
    types = frozenset(map(type, column)) - {type(None)}
    if kind is None:
        if types == {int}:
            try:
                return pa.array(column, pa.int64()), []
            except (OverflowError, pa.ArrowInvalid):
                kind = "double"
        else:
            kind = _NARROW.get(types, "string")
    if types <= {_PYTHON[kind]}:
        try:
            return pa.array(column, arrow_kind(kind)), []
        except (OverflowError, pa.ArrowInvalid):
            pass  # integers beyond 64 bits, which no kind was chosen for
    shown = [None if value is None else _shown(value, kind) for value in column]
    return pa.array(shown, arrow_kind(kind)), [i for i, value in enumerate(column) if shown[i] is not value]


def _shown(value: Any, kind: str) -> Any:
    """What a column of this kind shows of a value: itself, or the nearest thing, or None.

    None only stands for values that no kind was chosen for: second spellings of a name, fields past `MAX_FIELDS`.
    """
    fits: bool = type(value) is _PYTHON[kind]
    if fits and (kind != "int64" or -_INT64 <= value < _INT64):
        return value
    if kind == "string":
        return encode(value).decode()
    return nearest_double(value) if kind == "double" and type(value) is int else None


def dicts_of(column: pa.ChunkedArray | pa.Array) -> list[_Dict | None]:
    """The dicts of a struct column, right for every row that `struct_column` did not report."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        return [row for chunk in array.chunks for row in dicts_of(chunk)]
    names = list(fields_of(array.type))
    if not names:
        return [{} if valid else None for valid in array.is_valid().to_pylist()]
    children = array.flatten()
    rows = zip(*[child.to_pylist() for child in children], strict=True)
    if not any(child.null_count for child in children):
        return [dict(zip(names, row, strict=True)) for row in rows]
    present = array.is_valid().to_pylist()
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None} if valid else None
        for valid, row in zip(present, rows, strict=True)
    ]
