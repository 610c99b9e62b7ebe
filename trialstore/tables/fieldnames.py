"""Columns and fields of a Polars frame by names that are meant to the letter.

Polars takes ``*``, and what begins with ``^`` and ends with ``$``, for a pattern; a parameter or a metric may be called
so.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

__all__ = ["column_of", "field_of"]


def column_of(names: Iterable[str], name: str) -> pl.Expr:
    """The column of this name, and of no other one, in a frame whose columns are called `names`, in their order."""
    return pl.nth(list(names).index(name)).alias(name) if _is_pattern(name) else pl.col(name)


def field_of(struct: pl.Expr, names: Iterable[str], name: str) -> pl.Expr:
    """The field of this name, and of no other one, of a struct whose fields are called `names`, in their order."""
    if not _is_pattern(name):
        return struct.struct.field(name)
    ordered = list(names)
    places = [str(place) for place in range(len(ordered))]
    return struct.struct.rename_fields(places).struct.field(places[ordered.index(name)]).alias(name)


def _is_pattern(name: str) -> bool:
    return name == "*" or (name.startswith("^") and name.endswith("$"))
