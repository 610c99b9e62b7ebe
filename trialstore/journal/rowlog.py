"""Rows that ride the journal until a flush moves them into a part."""

from __future__ import annotations

from typing import Any

__all__ = ["RowLog"]


class RowLog:
    """The rows of one table that are in no part yet, in the order they came.

    Attributes:
        start: How many rows were moved into parts before the first one here. A flush names it, so that
            two flushes of the same rows cannot both take effect.
        rows: Lists of plain JSON values, one a row.
    """

    __slots__ = ("rows", "start")

    def __init__(self, start: int = 0, rows: list[list[Any]] | None = None) -> None:
        self.start = start
        self.rows: list[list[Any]] = [] if rows is None else rows

    def drop(self, count: int) -> None:
        """Forget the first `count` rows: they are in a part now."""
        del self.rows[:count]
        self.start += count
