"""What the journal says of one Parquet file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["TABLES", "Part", "Ranges"]

TABLES = ("trials", "metrics", "telemetry", "status", "artifacts")
"""The tables that parts belong to."""

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Inclusive, ascending, disjoint ranges of trial numbers."""


@dataclass(frozen=True, slots=True)
class Part:
    """One immutable Parquet file of a table: ``<table>/experiment=<key>/<id>.parquet``.

    Attributes:
        id: A ULID, unique over the store.
        table: One of `TABLES`.
        rows: Rows in the file.
        size_bytes: Size of the file.
        crc32: CRC-32 of the whole file.
        trials: The trial numbers that have rows in it.
        seq: The sequence number of the journal that its rows reach up to.
        first_at: Earliest `at` in the file, None for the trials table and for an empty file.
        last_at: Latest `at` in the file.
        schema: Of a trials part, the type of each field of each struct column, as
            ``{"params": {"lr": "double"}, "metrics": {"loss": "double"}}``.
        exact: Whether a row of a trials part has something in its `exact` column.
        after: Of a telemetry part, how many rows of the table's row log came before its rows. With `seq`, and the
            place in the manifest where parts are alike in both, it says in which order equal samples came.
    """

    id: str
    table: str
    rows: int
    size_bytes: int
    crc32: int
    trials: Ranges
    seq: int
    first_at: str | None = None
    last_at: str | None = None
    schema: Mapping[str, Mapping[str, str]] | None = None
    exact: bool = False
    after: int = 0

    def blob_key(self, experiment_key: str) -> str:
        """Where the file is in the store."""
        return f"{self.table}/experiment={experiment_key}/{self.id}.parquet"

    def to_json(self) -> dict[str, Any]:
        """The stored form; what does not apply is left out."""
        body: dict[str, Any] = {
            "id": self.id,
            "table": self.table,
            "rows": self.rows,
            "size_bytes": self.size_bytes,
            "crc32": f"{self.crc32:08x}",
            "trials": [list(pair) for pair in self.trials],
            "seq": self.seq,
        }
        if self.first_at is not None:
            body |= {"first_at": self.first_at, "last_at": self.last_at}
        if self.schema is not None:
            body["schema"] = {column: dict(fields) for column, fields in self.schema.items()}
        if self.exact:
            body["exact"] = True
        if self.after:
            body["after"] = self.after
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Part:
        """The part that `to_json` described."""
        return cls(
            id=body["id"],
            table=body["table"],
            rows=body["rows"],
            size_bytes=body["size_bytes"],
            crc32=int(body["crc32"], 16),
            trials=tuple((first, last) for first, last in body["trials"]),
            seq=body["seq"],
            first_at=body.get("first_at"),
            last_at=body.get("last_at"),
            schema=body.get("schema"),
            exact=body.get("exact", False),
            after=body.get("after", 0),
        )
