"""Oríon's queries: which documents they match, and what they say of the fields that there is an index for."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from orion.core.io.database.ephemeraldb import EphemeralDocument
from orion.core.utils.flatten import flatten, unflatten

__all__ = ["Query", "changed", "selected"]


class Query:
    """A query in the dialect that Oríon's databases share.

    Attributes:
        conditions: Values by flat name; an operator is the name's last part, as in ``status.$in``.
    """

    def __init__(self, query: Mapping[str, Any] | None) -> None:
        conditions = dict(query or {})
        is_nested = any(isinstance(value, Mapping) for value in conditions.values())
        self.conditions: dict[str, Any] = flatten(conditions) if is_nested else conditions

    def matches(self, document: Mapping[str, Any]) -> bool:
        """Whether a document is meant."""
        return bool(EphemeralDocument(dict(document)).match(self.conditions))

    def is_about(self, *fields: str) -> bool:
        """Whether it asks for nothing but whether these fields have given values."""
        return all(
            name in fields or any(name in (f"{field}.$in", f"{field}.$ne") for field in fields)
            for name in self.conditions
        )

    def allows(self, field: str, value: Any) -> bool:
        """Whether a field with this value is as its conditions for equality want it."""
        conditions = self.conditions
        if field in conditions and conditions[field] != value:
            return False
        chosen = conditions.get(f"{field}.$in")
        if chosen is not None and value not in chosen:
            return False
        return f"{field}.$ne" not in conditions or bool(value != conditions[f"{field}.$ne"])

    def values(self, field: str) -> list[Any] | None:
        """The only values that a field may have; None when there is no such list."""
        if field in self.conditions:
            return [self.conditions[field]]
        chosen: Iterable[Any] | None = self.conditions.get(f"{field}.$in")
        return None if chosen is None else list(chosen)

    def without(self, *fields: str) -> Query:
        """The conditions on other fields."""
        kept = {name: value for name, value in self.conditions.items() if name.partition(".$")[0] not in fields}
        return self if len(kept) == len(self.conditions) else Query(kept)


def selected(document: Mapping[str, Any], selection: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of a document with the fields that a selection leaves."""
    if not selection:
        return unflatten(flatten(dict(document)))  # type: ignore[no-any-return]
    return EphemeralDocument(dict(document)).select(dict(selection))  # type: ignore[no-any-return]


def changed(document: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a document with fields set; a dotted name sets a field in a field."""
    after = copy.deepcopy(dict(document))
    for name, value in data.items():
        *path, last = name.split(".")
        inner = after
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = copy.deepcopy(value)
    return after
