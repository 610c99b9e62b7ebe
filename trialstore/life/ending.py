"""Ending a trial: one commit of its status, its metrics, and all that was gathered before."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trialstore.journal.journal import Draft
from trialstore.life.held import Held
from trialstore.life.measuring import stop_all
from trialstore.model.codec import pack, pack_dict
from trialstore.model.errors import (
    InvalidMetricsError,
    LostTrialError,
    TransitionError,
    TrialNotFoundError,
    UsageError,
    nearest,
)
from trialstore.model.observation import Observation
from trialstore.model.status import Status
from trialstore.model.times import format_time, now_text
from trialstore.report import Report

if TYPE_CHECKING:
    from trialstore.report import Reported

__all__ = ["crash", "exception_text", "finish", "report_of", "succeed", "update"]


def succeed(held: Held, metrics: Mapping[str, Any], trial: Reported) -> Report:
    """See `Trial.success`."""
    if isinstance(held.exception, BaseException):
        raise TransitionError(
            "trial cannot succeed: its block raised",
            hint="call trial.fail() or trial.crashed()",
            trial=held.record.number,
            exception=repr(held.exception),
        )
    return finish(held, Status.SUCCEEDED, metrics, trial)


def crash(held: Held, exception: BaseException | str | None, traceback: str | None, trial: Reported) -> Report:
    """See `Trial.crashed`."""
    held.require_open()
    if exception is not None:
        held.exception = exception
        held.traceback = traceback
        if traceback is None and isinstance(exception, BaseException):
            held.traceback = "".join(tracebacks.format_exception(exception))
    elif traceback is not None:
        held.traceback = traceback
    return finish(held, Status.CRASHED, {}, trial)


def finish(
    held: Held,
    status: Status | str,
    metrics: Mapping[str, Any],
    trial: Reported,
    *,
    reason: str | None = None,
    summary: Mapping[str, Any] | None = None,
    at: str | None = None,
) -> Report:
    """See `Trial.finish`.

    Args:
        held: The trial.
        status: How it ends.
        metrics: Final values.
        trial: Its handle, for the report.
        reason: For the status history.
        summary: Goes into the trial's own.
        at: The stored spelling of the time of the end; now by default.
    """
    status = Status.parse(status)
    if not status.is_final:
        raise UsageError("not a final status", hint="use set_status", status=status)
    held.require_open()
    result, values = _checked(held, metrics, complete=status is Status.SUCCEEDED)
    if held.measuring:
        _gathered(held, summary or {})  # what cannot be stored is refused before the measuring ends
        stop_all(held)
    if summary or held.unsaved is not None:
        values |= _gathered(held, summary or {})
    if not held.record.status.is_active:
        if not result and len(values) == 1 and held.exception is None and status is not Status.SUCCEEDED:
            held.set_status(status, reason, at=at)
            return report_of(held, trial)
        held.claim()  # nobody runs it, and there is a result to keep
    record = held.record
    fields: dict[str, Any] = {"trial": record.number, "attempt": record.attempt, "status": status, **values}
    if held.exception is not None:
        fields |= {"exception": exception_text(held), "traceback": held.traceback}
    if reason is not None:
        fields["reason"] = reason
    if at is not None:
        fields["when"] = at
    try:
        finished_live = held.ledger.execute_one(Draft("finish", fields))
    except (TransitionError, LostTrialError, TrialNotFoundError):
        held.disown()
        raise
    held.disown()
    _ended(held, fields)
    held.ledger.maintain(finished_live)
    return report_of(held, trial)


def update(
    held: Held, status: Status | str, timestamp: datetime, metrics: Mapping[str, Any] | None, trial: Reported
) -> dict[str, Any] | None:
    """See `Trial.update`."""
    status, at = Status.parse(status), format_time(timestamp)
    if not status.is_final:
        if metrics:
            raise UsageError("metrics come with a final status", hint="use report", status=status)
        if status is not held.record.status:
            held.set_status(status, at=at)
        return None if metrics is None else {}
    declared = {metric.name for metric in held.declared}
    given = dict(metrics or {})
    targets = {name: value for name, value in given.items() if name in declared}
    rest = {name: value for name, value in given.items() if name not in declared}
    finish(held, status, targets, trial, summary=rest, at=at)
    return None if metrics is None else given


def exception_text(held: Held) -> str | None:
    """What was raised, as one line."""
    if isinstance(held.exception, BaseException):
        return "".join(tracebacks.format_exception_only(held.exception)).strip()
    return held.exception


def report_of(held: Held, trial: Reported, storage: Iterable[str] | None = None) -> Report:
    """The report of a trial that has ended."""
    version = held.ledger.entry.version
    return Report(
        held.record, experiment=held.experiment, version=version, metrics=held.declared, trial=trial, storage=storage
    )


def _ended(held: Held, fields: dict[str, Any]) -> None:
    """Know of the trial what the store knows of it now."""
    with held.ledger.journal.view(refresh=False) as state:
        known = state.trials.get(held.record.number)
        if known is not None:
            held.record = known.decoded()
    if known is None:  # a flush that this process has seen was quicker
        held.record = replace(held.record, status=Status(fields["status"]), ended_at=now_text())
        held.refresh()
    held.unsaved = None


def _gathered(held: Held, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What of the trial is stored now, packed; empty kinds are left out."""
    unsaved = held.unsaved
    found: dict[str, Any] = {}
    if unsaved is not None:
        summary = {**unsaved.summary, **summary}
        extras = {name: value for name, value in unsaved.extras.items() if name not in unsaved.passing}
        if extras:
            found["extras"] = pack_dict(extras, "extras")
        if unsaved.profiles:
            rows = [profile.to_row(name) for name, profile in unsaved.profiles.items()]
            found["profiles"] = [[pack(value) for value in row] for row in rows]
        if unsaved.elsewhere:
            found["storage"] = list(unsaved.elsewhere)
    if summary:
        found["summary"] = pack_dict(summary, "summary")
    return found


def _checked(held: Held, metrics: Mapping[str, Any], complete: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The final values, and the members of the command that say them."""
    declared = {metric.name: metric for metric in held.declared}
    problems: list[str] = []
    values: dict[str, Any] = {}
    noise: dict[str, dict[str, Any]] = {}
    for name, value in metrics.items():
        metric = declared.get(name)
        if metric is None:
            near = nearest(name, declared)
            problems.append(f"{name!r} was not declared" + (f"; did you mean {near[0]!r}?" if near else ""))
            continue
        if isinstance(value, Observation):
            if value.sem is not None:
                noise.setdefault("sem", {})[name] = value.sem
            if value.n is not None:
                noise.setdefault("n", {})[name] = value.n
            value = value.mean
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
    return values, {
        "metrics": pack_dict(values, "metrics"),
        **{kind: pack_dict(known, kind) for kind, known in noise.items()},
    }
