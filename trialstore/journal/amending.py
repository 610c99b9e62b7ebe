"""What another tool says of a trial that is its own: recorded, and not judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialstore.journal.commit import Command
from trialstore.journal.machine import Outcome, accepted, refused
from trialstore.model.status import Status

if TYPE_CHECKING:
    from trialstore.journal.experiment import ExperimentState

__all__ = ["amend"]

_MEMBERS = frozenset(
    {"name", "seed", "fidelity", "parent", "ready_at", "attributes", "metrics", "summary", "started_at", "ended_at"}
    | {"exception", "traceback", "worker", "attempt", "info", "sem", "n", "profiles", "storage", "runner"}
    | {"params", "id", "submitted_at"}
)


def amend(state: ExperimentState, command: Command) -> Outcome:
    """Make a trial what another tool says that it is: that tool decides, so no step is refused.

    It is refused where the trial's status is not the one that the command expects. Extras are merged, and one that
    becomes null is gone. After a step no session owns the trial.
    """
    record, refusal = state._live(command["trial"])
    if record is None:
        return refusal
    if command.get("was") not in (None, record.status):
        asked = command.get("status", record.status)
        return refused("transition", trial=record.number, status=record.status, was=command["was"], asked=asked)
    for name in command.keys() & _MEMBERS:
        setattr(record, name, command[name])
    if "extras" in command:
        extras = {**(record.extras or {}), **command["extras"]}
        record.extras = {name: value for name, value in extras.items() if value is not None} or None
    record.seq = state.seq
    status = Status(command.get("status", record.status))
    if status is not record.status:
        state.finished_live -= record.status.is_final
        if record.status.is_active and not status.is_active:
            state._leave(record, status, command["at"], command.get("reason"))
        record.session = None
        state._move(record, status, command["at"], command.get("reason"))
    return accepted(state.finished_live)
