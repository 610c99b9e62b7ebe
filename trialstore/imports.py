"""Taking in many finished trials at once: rows become parts without passing through the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trialstore.journal.journal import Draft
from trialstore.journal.repeating import repeat_key
from trialstore.ledger import Ledger
from trialstore.life.arriving import Describe, ended_trial
from trialstore.model.errors import InvalidParamsError, TrialStoreError
from trialstore.model.metric import Metric
from trialstore.model.part import Part
from trialstore.model.record import TrialRecord
from trialstore.model.times import now_text, parse_time
from trialstore.report import Report

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["CHUNK_ROWS", "import_trials", "take_in"]

CHUNK_ROWS = 1 << 17


def import_trials(
    ledger: Ledger,
    metrics: tuple[Metric, ...],
    describe: Describe,
    rows: pa.Table | pl.DataFrame | Iterable[Mapping[str, Any] | Report],
    progress: Callable[[int], None] | None,
) -> range:
    """See `Experiment.import_trials`."""
    ledger.require_writable()
    ledger.commit_buffered()
    first = None
    count = 0
    for chunk in _chunks(rows):
        records = _records(chunk, metrics, describe, offset=count)
        start = _import_chunk(ledger, records)
        first = start if first is None else first
        count = start + len(records) - first
        if progress is not None:
            progress(count)
    first = first or 0
    return range(first, first + count)


def _chunks(rows: Any) -> Iterator[list[Mapping[str, Any]]]:
    if hasattr(rows, "to_arrow"):
        rows = rows.to_arrow()
    if hasattr(rows, "column_names"):
        for start in range(0, rows.num_rows, CHUNK_ROWS):
            yield _nested(rows.slice(start, CHUNK_ROWS))
        return
    chunk: list[Mapping[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _nested(table: pa.Table) -> list[Mapping[str, Any]]:
    """Rows of a table whose columns may be structs, or flat ones such as ``params.lr``; null means absent."""
    rows: list[Mapping[str, Any]] = [{} for _ in range(table.num_rows)]
    for name in table.column_names:
        group, dot, field = name.partition(".")
        for row, value in zip(rows, table.column(name).to_pylist(), strict=True):
            if value is None:
                continue
            if dot and group in ("params", "metrics", "fidelity", "sem", "n"):
                row.setdefault(group, {})[field] = value  # type: ignore[attr-defined]
            elif isinstance(value, dict):
                row[name] = {key: item for key, item in value.items() if item is not None}  # type: ignore[index]
            else:
                row[name] = value  # type: ignore[index]
    return rows


def _records(rows: list[Any], metrics: tuple[Metric, ...], describe: Describe, offset: int) -> list[TrialRecord]:
    now = now_text()
    declared = {metric.name: metric for metric in metrics}
    records, problems = [], []
    for index, row in enumerate(rows):
        try:
            records.append(ended_trial(row, declared, describe, now))
        except TrialStoreError as error:
            problems.append(f"row {offset + index}: {error.message}")
            if len(problems) == 20:
                break
    if problems:
        raise InvalidParamsError("\n".join(problems), hint="nothing of these rows was imported")
    return records


def _import_chunk(ledger: Ledger, records: list[TrialRecord]) -> int:
    first: int = ledger.execute_one(Draft("allocate", {"count": len(records)}))
    for index, record in enumerate(records):
        record.number = first + index
    steps = [(r.number, r.attempt, str(r.status), r.ended_at, r.worker, "imported") for r in records]
    take_in(ledger, records, steps)
    return first


def take_in(
    ledger: Ledger,
    records: list[TrialRecord],
    steps: Sequence[Sequence[Any]],
    keys: list[str] | None = None,
    then: Callable[[Part], list[Draft]] = lambda part: [],
) -> None:
    """Commit finished trials of numbers that were set aside before, as parts: all of them, or none.

    Args:
        ledger: Of their experiment.
        records: The trials, packed; one at least.
        steps: What becomes of them in the table ``status``, in the order of its columns.
        keys: 32 hexadecimal digits for each trial: of two trials with equal ones only one can come in. By default those
            of their parameters where the experiment forbids repeats.
        then: Commands for the same commit, given the part that the trials are in.

    Raises:
        ConflictError: the fold refused them; nothing came in.
    """
    from trialstore.tables.live import records_table
    from trialstore.tables.parts import none_if_full, whole_or_none, write_part
    from trialstore.tables.rows import rows_table

    with whole_or_none(ledger.blobs, ledger.key) as parts:
        parts.append(write_part(ledger.blobs, ledger.key, "trials", records_table(records), seq=-1))
        if steps:
            parts.append(write_part(ledger.blobs, ledger.key, "status", rows_table("status", steps), seq=-1))
    counts: dict[str, int] = {}
    busy_us = 0
    for record in records:
        counts[record.status] = counts.get(record.status, 0) + 1
        if record.started_at is not None and record.ended_at is not None:
            ran = parse_time(record.ended_at) - parse_time(record.started_at)
            busy_us += max(0, round(ran.total_seconds() * 1_000_000))
    fields = {
        "parts": [part.to_json() for part in parts],
        "counts": counts,
        "busy_us": busy_us,
        "first_at": min(record.submitted_at for record in records),
        "last_at": max(record.ended_at or record.submitted_at for record in records),
    }
    if keys is None and not ledger.entry.config["repeats"]:
        keys = [repeat_key({"id": r.id, "fidelity": r.fidelity}).hex() for r in records]
    if keys is not None:
        fields["keys"] = keys
    drafts = [Draft("import", fields), *then(parts[0])]
    with none_if_full(ledger.blobs, ledger.key, parts):
        outcomes = ledger.execute(*drafts)[-len(drafts) :]
    if outcomes[0].reason is not None:
        ledger.blobs.delete([part.blob_key(ledger.key) for part in parts])
    for outcome in outcomes:
        if outcome.reason is not None:
            ledger.refuse(outcome)
