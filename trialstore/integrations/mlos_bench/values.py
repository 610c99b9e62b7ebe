"""Values as mlos_bench shows them, text, and as the store keeps them: numbers as numbers, so that SQL can use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytz

from trialstore.model.codec import plain
from trialstore.model.record import TrialRecord

__all__ = ["in_mlos_zone", "in_store_zone", "results_of", "split_results", "storable", "storable_dict", "text", "texts"]

_PLAIN = frozenset({int, float, bool, str, type(None)})


def text(value: Any) -> str | None:
    """What mlos_bench shows of a stored value: ``str(value)``, and None for None.

    Example:
        >>> text(0.1 + 0.2), text(True), text(float("nan")), text(None)
        ('0.30000000000000004', 'True', 'nan', None)
    """
    return value if value is None or type(value) is str else str(value)


def texts(values: Mapping[str, Any]) -> dict[str, str | None]:
    """`text` of each value."""
    return {name: text(value) for name, value in values.items()}


def storable(value: Any) -> Any:
    """A value that the store keeps with its type and of which `text` is what it was before.

    Example:
        >>> import numpy
        >>> storable(numpy.float64(0.5)), storable(numpy.float32(0.1)), storable([1, 2])
        (0.5, '0.1', '[1, 2]')
    """
    if type(value) in _PLAIN:
        return value
    shown = str(value)
    simple = plain(value)
    return simple if type(simple) in _PLAIN and str(simple) == shown else shown


def storable_dict(values: Mapping[str, Any]) -> dict[str, Any]:
    """`storable` of each value."""
    return {str(name): storable(value) for name, value in values.items()}


def split_results(metrics: Mapping[str, Any]) -> tuple[dict[str, int | float], dict[str, Any]]:
    """The results of a trial that are numbers, which are its metrics, and the others, which go into its summary.

    Example:
        >>> split_results({"score": 1.5, "unit": "ms", "ok": True})
        ({'score': 1.5}, {'unit': 'ms', 'ok': True})
    """
    values = storable_dict(metrics)
    numbers = {name: value for name, value in values.items() if type(value) in (int, float)}
    return numbers, {name: value for name, value in values.items() if name not in numbers}


def results_of(record: TrialRecord) -> dict[str, Any]:
    """What `split_results` took apart."""
    return {**record.metrics, **(record.summary or {})}


def in_store_zone(time: datetime) -> datetime:
    """A time of mlos_bench, aware, or naive and local, as the store takes it: aware UTC."""
    return time.astimezone(UTC)


def in_mlos_zone(times: Iterable[datetime | None]) -> list[Any]:
    """Aware UTC times with the zone that mlos_bench compares with, which is pytz's."""
    return [None if time is None else time.replace(tzinfo=pytz.UTC) for time in times]
