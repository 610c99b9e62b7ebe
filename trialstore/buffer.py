"""What a session logged and did not commit yet: rows of one experiment, and steps that nobody waits for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trialstore.blobs.protocol import Blobs
from trialstore.journal.journal import Draft

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RowBuffer"]

JOURNAL_ROWS = 256
"""From this many rows of a table on, they are written as a part instead of riding the journal."""

PART_ROWS = 1 << 20
"""So many telemetry rows are written as a part at once, to bound memory."""

_entering = threading.Lock()


class RowBuffer:
    """Rows by table, in the order they were logged.

    Few rows ride the journal, so that other workers see them with the next commit; many are written as a part
    that the next commit announces. A reader cannot tell which.

    Args:
        blobs: Where parts are written.
        key: The experiment's folder.
    """

    def __init__(self, blobs: Blobs, key: str) -> None:
        self._blobs = blobs
        self._key = key
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, list[list[Any]]] = {}
        self._chunks: list[pa.Table | list[list[Any]]] = []  # and the telemetry rows that came after the first
        self._chunk_rows = 0
        self._steps: list[Draft] = []
        self._written: list[Draft] = []
        self.since: float | None = None
        self.parts_written = 0
        self._process = os.getpid()

    def _enter_process(self) -> None:
        if self._process != os.getpid():
            with _entering:
                if self._process != os.getpid():
                    self._reset()  # what a forked child inherits is its parent's to commit

    def add(self, table: str, rows: list[list[Any]]) -> None:
        """Keep rows, in plain JSON form."""
        self._enter_process()
        with self._lock:
            if self._chunks and table == "telemetry":
                self._chunks.append(rows)
            else:
                self._rows.setdefault(table, []).extend(rows)
            self._touch()

    def add_telemetry(self, chunk: pa.Table) -> None:
        """Keep a telemetry table; a very large one is written at once, and announced with the next commit."""
        self._enter_process()
        with self._lock:
            self._chunks.append(chunk)
            self._chunk_rows += chunk.num_rows
            self._touch()
            if self._chunk_rows >= PART_ROWS:
                self._write_telemetry(self._rows.get("telemetry", []))
                self._rows.pop("telemetry", None)

    def add_step(self, step: Draft) -> None:
        """Keep a command whose outcome nobody waits for; it comes before the rows that are here."""
        self._enter_process()
        with self._lock:
            self._steps.append(step)
            self._touch()

    def take_back(self, table: str, row: list[Any]) -> bool:
        """Forget the row that was added last to a table; False where it is another one, or on its way already."""
        self._enter_process()
        with self._lock:
            rows = self._rows.get(table)
            if not rows or rows[-1] != row:
                return False
            rows.pop()
            if not rows:
                del self._rows[table]
            if not (self._rows or self._chunks or self._steps or self._written):
                self.since = None
            return True

    @property
    def has_steps(self) -> bool:
        """Whether trials are about to change otherwise than by rows."""
        self._enter_process()
        return bool(self._steps)

    def hand_over(self, post: Callable[..., None]) -> None:
        """Post commands that bring everything here into the store; large tables are written as parts on the way.

        What one thread logged is posted when any later call of this returns, whichever thread makes it. An error
        leaves here whatever is not yet in a part.

        Args:
            post: Takes the commands.
        """
        self._enter_process()
        with self._lock:
            if self.since is None:
                return
            for table in list(self._rows):
                rows = self._rows[table]
                if table == "telemetry" and (self._chunks or len(rows) >= JOURNAL_ROWS):
                    self._write_telemetry(rows)
                elif len(rows) >= JOURNAL_ROWS:
                    self._written.append(self._write(table, rows))
                else:
                    self._written.append(Draft("rows", {"table": table, "rows": rows}))
                del self._rows[table]
            if self._chunks:
                self._write_telemetry([])
            drafts = self._steps + self._written
            self._steps, self._written, self.since = [], [], None
            post(*drafts)

    def _touch(self) -> None:
        if self.since is None:
            self.since = time.monotonic()

    def _write(self, table: str, rows: list[list[Any]]) -> Draft:
        from trialstore.tables.live import packed_rows_table
        from trialstore.tables.parts import write_part

        part = write_part(self._blobs, self._key, table, packed_rows_table(table, rows), seq=-1)
        self.parts_written += 1
        return Draft("parts", {"parts": [part.to_json()]})

    def _write_telemetry(self, rows: list[list[Any]]) -> None:
        import pyarrow as pa

        from trialstore.tables.live import packed_rows_table
        from trialstore.tables.parts import write_part

        pieces = [rows, *self._chunks] if rows else self._chunks
        tables = [packed_rows_table("telemetry", piece) if isinstance(piece, list) else piece for piece in pieces]
        part = write_part(self._blobs, self._key, "telemetry", pa.concat_tables(tables), seq=-1)
        self._chunks, self._chunk_rows = [], 0
        self.parts_written += 1
        self._written.append(Draft("parts", {"parts": [part.to_json()]}))
