"""The steps of a trial that no session owns: any process may take them, until the trial has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trialstore.journal.commit import Command
from trialstore.journal.machine import Outcome, accepted, refused
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status

if TYPE_CHECKING:
    from trialstore.journal.experiment import ExperimentState

__all__ = ["advance", "log_reports"]

_MERGED = ("params", "attributes", "extras")


def advance(state: ExperimentState, command: Command) -> Outcome:
    """Merge values into a trial that has not ended, and take it to another status.

    Guarantees: a trial that has ended does not change. Of those who take a waiting trial to RUNNING one is accepted. A
    trial that another session has claimed is refused: only its owner may take a step. After a step to RUNNING nobody
    owns the trial, so that no lease is looked for.
    """
    record, refusal = state._live(command["trial"])
    if record is None:
        return refusal
    facts: dict[str, Any] = {"trial": record.number, "status": record.status}
    if record.status.is_final:
        return refused("finished", **facts)
    if record.session not in (None, command["session"]):
        return refused("owned", **facts, session=record.session, worker=record.worker)
    asked = Status(command["status"]) if "status" in command else record.status
    if asked.is_active and "status" in command:
        early = record.ready_at is not None and record.ready_at > command["at"]
        if record.status.is_active or (early and record.status.is_claimable):
            return refused("transition", **facts, asked=asked)
    for name in _MERGED:
        if name in command:
            setattr(record, name, {**(getattr(record, name) or {}), **command[name]})
    for name in ("metrics", "id"):
        if name in command:
            setattr(record, name, command[name])
    record.seq = state.seq
    log_reports(state, record, command)
    if asked is not record.status:
        _step(state, record, asked, command)
    return accepted(state.finished_live)


def _step(state: ExperimentState, record: TrialRecord, asked: Status, command: Command) -> None:
    at = command.get("when") or command["at"]
    if asked.is_active:
        record.attempt += 1
        record.worker = command.get("worker")
        record.started_at = at
    elif record.status.is_active:
        state._leave(record, asked, at)
    if asked.is_final:
        record.ended_at = at
    record.session = None
    state._move(record, asked, at, command.get("reason"))


def log_reports(state: ExperimentState, record: TrialRecord, body: dict[str, Any]) -> None:
    """Put the reports that came with a command among the rows of the metrics table."""
    reports = body.get("reports")
    if reports:
        number, attempt = record.number, record.attempt
        state.manifest.rows["metrics"].rows += [[number, attempt, *report] for report in reports]
