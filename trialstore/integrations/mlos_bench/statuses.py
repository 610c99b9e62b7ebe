"""mlos_bench's statuses of a trial and the store's, both ways."""

from __future__ import annotations

from mlos_bench.environments.status import Status as MlosStatus

from trialstore.model.status import Status

__all__ = ["MLOS_NAMES", "from_mlos", "to_mlos"]

MLOS_NAMES = {
    **{status: status.value for status in Status},
    Status.SUSPENDED: "PENDING",
    Status.INTERRUPTED: "PENDING",
    Status.PRUNED: "CANCELED",
    Status.CRASHED: "FAILED",
}
"""What mlos_bench calls a status of the store. What others can claim again is pending to it."""


def from_mlos(status: MlosStatus) -> Status:
    """What the store calls a status of mlos_bench.

    Example:
        >>> from_mlos(MlosStatus.TIMED_OUT)
        <Status.TIMED_OUT: 'TIMED_OUT'>
    """
    return Status[status.name]


def to_mlos(status: Status) -> MlosStatus:
    """What mlos_bench calls a status of the store.

    Example:
        >>> to_mlos(Status.INTERRUPTED).name, to_mlos(Status.CRASHED).name
        ('PENDING', 'FAILED')
    """
    return MlosStatus[MLOS_NAMES[status]]
