"""The report of a trial that has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trialstore.model.status import Status

__all__ = ["Report"]


@dataclass(frozen=True, slots=True)
class Report:
    """What was recorded when a trial ended.

    Attributes:
        experiment: Name of the experiment.
        number: Number of the trial.
        id: Hash of its parameters.
        attempt: The attempt that ended.
        status: How it ended.
        params: Its parameters.
        metrics: The final values.
        reported_at: When it ended, aware UTC.
        exception: What was raised, as one line, if anything was.
        traceback: Where, if anything was.

    Source: AMLTK, `amltk.optimization.Trial.Report`.
    """

    experiment: str
    number: int
    id: str
    attempt: int
    status: Status
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    reported_at: datetime
    exception: str | None = None
    traceback: str | None = None
