"""A page: what is to be said of one thing, without a word on how it looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["STYLES", "Block", "Column", "Grid", "Line", "Page", "Prose", "style_of_status"]

STYLES: Mapping[str, str] = {
    "SUCCEEDED": "green",
    "RUNNING": "cyan",
    "READY": "cyan",
    "PENDING": "blue",
    "PRUNED": "yellow",
    "FAILED": "red",
    "CRASHED": "red",
    "TIMED_OUT": "red",
}
"""Colours of the statuses."""


def style_of_status(text: str) -> str:
    """Colour of a cell that holds the name of a status."""
    return STYLES.get(text, "")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        cells: A cell a row.
        number: Whether cells are numbers or times: aligned to the right and never cut.
        style: Style of a cell's text, given the text.
    """

    title: str
    cells: Sequence[str]
    number: bool = False
    style: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A labelled value.

    Attributes:
        label: What it is; empty for a value that stands alone.
        value: The value.
    """

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A table.

    Attributes:
        columns: Its columns, all of one length.
        title: What stands above it.
        note: What stands below it, such as how many rows were left out.
    """

    columns: Sequence[Column]
    title: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Prose:
    """Text of several lines, such as a traceback.

    Attributes:
        text: The text.
        style: A colour, or ``dim``.
    """

    text: str
    style: str = ""


Block: TypeAlias = Line | Grid | Prose


@dataclass(frozen=True, slots=True)
class Page:
    """What is said of one thing.

    Attributes:
        title: Its name.
        status: The name of its status, where it has one.
        aside: What follows the title in smaller type.
        blocks: The rest, in order.
    """

    title: str
    status: str = ""
    aside: str = ""
    blocks: Sequence[Block] = ()
