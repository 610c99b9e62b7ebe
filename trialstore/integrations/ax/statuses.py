"""Ax's statuses of a trial and the store's, both ways."""

from __future__ import annotations

from ax.core.trial_status import TrialStatus

from trialstore.model.status import Status

__all__ = ["from_ax", "to_ax"]

_FROM_AX = {
    TrialStatus.CANDIDATE: Status.PENDING,
    TrialStatus.STAGED: Status.READY,
    TrialStatus.RUNNING: Status.RUNNING,
    TrialStatus.DISPATCHED: Status.RUNNING,
    TrialStatus.COMPLETED: Status.SUCCEEDED,
    TrialStatus.EARLY_STOPPED: Status.PRUNED,
    TrialStatus.FAILED: Status.FAILED,
    TrialStatus.ABANDONED: Status.CANCELED,
    TrialStatus.STALE: Status.CANCELED,
}

_TO_AX = {
    Status.UNKNOWN: TrialStatus.CANDIDATE,
    Status.PENDING: TrialStatus.CANDIDATE,
    Status.SUSPENDED: TrialStatus.CANDIDATE,
    Status.INTERRUPTED: TrialStatus.CANDIDATE,
    Status.READY: TrialStatus.STAGED,
    Status.RUNNING: TrialStatus.RUNNING,
    Status.SUCCEEDED: TrialStatus.COMPLETED,
    Status.PRUNED: TrialStatus.EARLY_STOPPED,
    Status.FAILED: TrialStatus.FAILED,
    Status.CRASHED: TrialStatus.FAILED,
    Status.TIMED_OUT: TrialStatus.FAILED,
    Status.CANCELED: TrialStatus.ABANDONED,
}


def from_ax(status: TrialStatus) -> Status:
    """What the store calls a status of Ax. STALE, which never ran, is CANCELED like ABANDONED.

    Example:
        >>> from ax.core.trial_status import TrialStatus
        >>> from_ax(TrialStatus.EARLY_STOPPED)
        <Status.PRUNED: 'PRUNED'>
    """
    return _FROM_AX[status]


def to_ax(status: Status, known: TrialStatus | None = None) -> TrialStatus:
    """What Ax calls a status of the store.

    Args:
        status: The store's.
        known: What Ax had said itself; it stays where it means `status`.

    Example:
        >>> from ax.core.trial_status import TrialStatus
        >>> to_ax(Status.CANCELED).name, to_ax(Status.CANCELED, TrialStatus.STALE).name
        ('ABANDONED', 'STALE')
    """
    if known is not None and _FROM_AX[known] is status:
        return known
    return _TO_AX[status]
