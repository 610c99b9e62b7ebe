"""A copied trial that had not ended, brought to what it is at its source."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial, TrialState

from trialstore.integrations.optuna.likeness import differing
from trialstore.integrations.optuna.storage import TrialStoreStorage
from trialstore.integrations.optuna.trials import body_of
from trialstore.journal.journal import Draft
from trialstore.model.errors import ConflictError

__all__ = ["catch_up"]

_MERGED = ("id", "params", "extras", "attributes", "metrics", "reports")


def catch_up(target: TrialStoreStorage, study_id: int, mine: FrozenTrial, theirs: FrozenTrial) -> bool:
    """Bring a trial that has not ended to what its source says, at the times that it says; whether it differed.

    Raises:
        ConflictError: a trial cannot take the steps that it took at its source: it was changed in the store.
    """
    if not differing(mine, theirs):
        return False
    study = target._study(study_id)
    body = body_of(theirs, study.metric_names, study.ledger.session.worker)
    fields: dict[str, Any] = {"trial": mine.number, **{name: body[name] for name in _MERGED if name in body}}
    if theirs.state is not mine.state and theirs.state is not TrialState.WAITING:
        if mine.state is TrialState.WAITING:
            start = {"trial": mine.number, "status": "RUNNING", "worker": body["worker"]}
            if "started_at" in body:
                start["when"] = body["started_at"]
            _send(study.execute(Draft("advance", start)), mine.number)
        if theirs.state.is_finished():
            fields["status"] = body["status"]
            if "ended_at" in body:
                fields["when"] = body["ended_at"]
    _send(study.execute(Draft("advance", fields)), mine.number)
    return True


def _send(outcome: Any, number: int) -> None:
    if outcome.reason is not None:
        raise ConflictError("trial has gone on in the store", hint="copy under another name", trial=number)
