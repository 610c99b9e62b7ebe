"""Telemetry rows cut where parts came between them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from trialstore.journal.arrival import cut_between
from trialstore.model.extent import Extent
from trialstore.model.part import Part
from trialstore.model.ranges import ranges_of
from trialstore.tables.times import time_text

__all__ = ["rows_extent", "segments"]


def segments(rows: pa.Table, start: int, parts: Iterable[Part]) -> list[tuple[int, pa.Table]]:
    """The rows in pieces between which parts came, each with its place.

    Guarantees: of a piece and a part that may hold a sample of it, one came before the other as a whole. Where no part
    may, rows are not cut, however many parts came meanwhile.

    Args:
        rows: Telemetry rows that rode the journal, in the order they came.
        start: The place of the first of them.
        parts: Parts of the table.
    """
    end = start + rows.num_rows
    inside = [part for part in parts if start < part.after < end]
    pieces = []
    while rows.num_rows:
        piece = rows
        while inside and (cut := cut_between(rows_extent(piece), start, start + piece.num_rows, inside)):
            piece = rows.slice(0, cut - start)
        pieces.append((start, piece))
        start += piece.num_rows
        rows = rows.slice(piece.num_rows)
    return pieces


def rows_extent(rows: pa.Table) -> Extent:
    """Where rows are."""
    limits = pc.min_max(rows["at"])
    if not limits["min"].is_valid:
        return Extent((), None, None)
    return Extent(ranges_of(pc.unique(rows["trial"]).to_pylist()), time_text(limits["min"]), time_text(limits["max"]))
