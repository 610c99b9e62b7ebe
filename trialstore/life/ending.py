"""Ending a trial: one commit of its status, its metrics, and all that was logged before."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Mapping
from typing import Any

from trialstore.journal.journal import Draft
from trialstore.life.held import Held
from trialstore.model.codec import pack_dict
from trialstore.model.errors import (
    InvalidMetricsError,
    LostTrialError,
    TransitionError,
    TrialNotFoundError,
    UsageError,
    nearest,
)
from trialstore.model.status import Status
from trialstore.model.times import now_text, parse_time
from trialstore.report import Report

__all__ = ["crash", "exception_text", "finish", "succeed"]


def succeed(held: Held, metrics: Mapping[str, Any]) -> Report:
    """See `Trial.success`."""
    if isinstance(held.exception, BaseException):
        raise TransitionError(
            "trial cannot succeed: its block raised",
            hint="call trial.fail() or trial.crashed()",
            trial=held.record.number,
            exception=repr(held.exception),
        )
    return finish(held, Status.SUCCEEDED, metrics)


def crash(held: Held, exception: BaseException | str | None, traceback: str | None) -> Report:
    """See `Trial.crashed`."""
    if exception is not None:
        held.exception = exception
        held.traceback = traceback
        if traceback is None and isinstance(exception, BaseException):
            held.traceback = "".join(tracebacks.format_exception(exception))
    return finish(held, Status.CRASHED, {})


def finish(
    held: Held,
    status: Status | str,
    metrics: Mapping[str, Any],
    *,
    reason: str | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Report:
    """See `Trial.finish`."""
    status = Status.parse(status)
    if not status.is_final:
        raise UsageError("not a final status", hint="use set_status", status=status)
    held.require_open()
    values = _checked(held, metrics, complete=status is Status.SUCCEEDED)
    if not held.record.status.is_active:
        if not values and not summary and held.exception is None and status is not Status.SUCCEEDED:
            held.set_status(status, reason)
            return _report(held, now_text())
        held.claim()  # nobody runs it, and there is a result to keep
    record = held.record
    fields: dict[str, Any] = {"trial": record.number, "attempt": record.attempt, "status": status}
    fields["metrics"] = pack_dict(values, "metrics")
    if summary:
        fields["summary"] = pack_dict(summary, "summary")
    if held.exception is not None:
        fields |= {"exception": exception_text(held), "traceback": held.traceback}
    if reason is not None:
        fields["reason"] = reason
    try:
        finished_live = held.ledger.execute_one(Draft("finish", fields))
    except (TransitionError, LostTrialError, TrialNotFoundError):
        held.disown()
        raise
    held.disown()
    record.status, record.metrics, record.ended_at = status, dict(values), now_text()
    held.ledger.maintain(finished_live)
    return _report(held, record.ended_at)


def exception_text(held: Held) -> str | None:
    """What was raised, as one line."""
    if isinstance(held.exception, BaseException):
        return "".join(tracebacks.format_exception_only(held.exception)).strip()
    return held.exception


def _report(held: Held, at: str) -> Report:
    record = held.record
    return Report(
        experiment=held.experiment,
        number=record.number,
        id=record.id,
        attempt=record.attempt,
        status=record.status,
        params=dict(held.params),
        metrics=dict(record.metrics),
        reported_at=parse_time(at),
        exception=exception_text(held),
        traceback=held.traceback,
    )


def _checked(held: Held, metrics: Mapping[str, Any], complete: bool) -> dict[str, Any]:
    declared = {metric.name: metric for metric in held.declared}
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, value in metrics.items():
        metric = declared.get(name)
        if metric is None:
            near = nearest(name, declared)
            problems.append(f"{name!r} was not declared" + (f"; did you mean {near[0]!r}?" if near else ""))
            continue
        values[name], problem = metric.check(value)
        if problem is not None:
            problems.append(problem)
    if complete:
        problems += [f"{name!r} is missing" for name in declared if name not in metrics]
    if problems:
        raise InvalidMetricsError(
            "metrics do not fit the experiment:\n    " + "\n    ".join(problems),
            hint=f"declared are {', '.join(map(repr, declared)) or 'none'}; "
            f"the trial is still {held.record.status.name}",
            experiment=held.experiment,
            trial=held.record.number,
        )
    return values
