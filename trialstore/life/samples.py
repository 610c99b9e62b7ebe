"""What is logged while a trial runs: reported values and telemetry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trialstore.life.held import Held
from trialstore.model.codec import pack, plain
from trialstore.model.errors import InvalidTimeError, UsageError
from trialstore.model.identity import check_name
from trialstore.model.status import Status
from trialstore.model.times import format_time, now_text

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["report", "update_telemetry"]

_BATCH = 256
"""From so many samples on a call makes an Arrow table of them."""


def report(held: Held, values: Mapping[str, Any], step: int | None, at: datetime | None) -> None:
    """See `Trial.report`."""
    held.require_open()
    step = plain(step)  # type: ignore[assignment]
    if step is not None and (type(step) is not int or not -(2**63) <= step < 2**63):
        raise UsageError("step must be a whole number of at most 64 bits", step=step)
    time = now_text() if at is None else format_time(at)
    number, attempt = held.record.number, held.record.attempt
    held.ledger.log_rows(
        "metrics",
        [
            [number, attempt, check_name(name, "metric"), step, time, pack(value, name)]
            for name, value in values.items()
        ],
    )


def update_telemetry(
    held: Held,
    status: Status | str,
    timestamp: datetime,
    metrics: Iterable[tuple[datetime, str, Any]] | pa.Table | pl.DataFrame,
) -> None:
    """See `Trial.update_telemetry`."""
    status = Status.parse(status)
    at = format_time(timestamp)
    number, attempt = held.record.number, held.record.attempt
    if hasattr(metrics, "to_arrow") or hasattr(metrics, "column_names"):
        from trialstore.tables.telemetry import telemetry_from_arrow

        held.ledger.log_telemetry(telemetry_from_arrow(number, attempt, metrics))
    else:
        samples = metrics if isinstance(metrics, list) else list(metrics)
        if len(samples) >= _BATCH:
            from trialstore.tables.telemetry import telemetry_from_tuples

            held.ledger.log_telemetry(telemetry_from_tuples(number, attempt, samples))
        elif samples:
            held.ledger.log_rows("telemetry", [[number, attempt, *_sample(sample)] for sample in samples])
    if status is not held.record.status:
        held.set_status(status, at=at)


def _sample(sample: tuple[datetime, str, Any]) -> tuple[str, str, Any]:
    try:
        time, name, value = sample
    except (TypeError, ValueError):
        raise UsageError("a sample must be a tuple of time, name and value", sample=sample) from None
    if not isinstance(time, datetime):
        raise InvalidTimeError("the time of a sample must be a datetime", hint="datetime.now(timezone.utc)", time=time)
    return format_time(time), check_name(name, "metric"), pack(value, name)
