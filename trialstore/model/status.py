"""The life cycle of a trial: one canonical set of statuses and the steps between them."""

from __future__ import annotations

from enum import StrEnum

from trialstore.model.errors import InvalidStatusError, nearest

__all__ = ["BROKEN", "Status", "validate_status"]


class Status(StrEnum):
    """What a trial is doing, or how it ended.

    A trial starts PENDING, runs, and ends in one of the six final statuses. SUSPENDED and INTERRUPTED
    wait to be claimed again, like PENDING.

    Example:
        >>> Status.parse("succeeded")
        <Status.SUCCEEDED: 'SUCCEEDED'>
        >>> Status.SUCCEEDED.is_final, Status.RUNNING.allows(Status.PRUNED)
        (True, True)
    """

    UNKNOWN = "UNKNOWN"
    PENDING = "PENDING"
    READY = "READY"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    INTERRUPTED = "INTERRUPTED"
    SUCCEEDED = "SUCCEEDED"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"
    CANCELED = "CANCELED"
    TIMED_OUT = "TIMED_OUT"

    @classmethod
    def parse(cls, text: str) -> Status:
        """The status of this name, in any case; also of Oríon's new, reserved, completed and broken.

        Raises:
            InvalidStatusError: no status has this name; near ones are named.
        """
        try:
            name = text.strip().upper()
            return cls[_OF_ORION.get(name, name)]
        except (KeyError, AttributeError):
            near = nearest(str(text).upper(), cls.__members__)
            raise InvalidStatusError(
                "not a status", hint=f"one of {', '.join(near or cls.__members__)}", status=text
            ) from None

    @property
    def is_final(self) -> bool:
        """Whether the trial has ended; its row will not change by running."""
        return self in _FINAL

    @property
    def is_claimable(self) -> bool:
        """Whether `reserve_trial` may hand the trial to a worker."""
        return self in _CLAIMABLE

    @property
    def is_active(self) -> bool:
        """Whether a worker holds the trial."""
        return self is Status.RUNNING or self is Status.READY

    @property
    def orion(self) -> str:
        """Oríon's word for it, or the name in lower case where Oríon has none."""
        return _ORION.get(self, self.lower())

    def allows(self, following: Status) -> bool:
        """Whether a trial may go from this status to `following`."""
        return following in _STEPS[self]


def validate_status(status: Status | str) -> Status:
    """The status that a word means.

    Raises:
        InvalidStatusError: no status has this name; near ones are named.

    Source: Oríon, `orion.core.worker.trial.validate_status`.
    """
    return Status.parse(status)


BROKEN = frozenset({Status.CRASHED, Status.FAILED, Status.TIMED_OUT})
"""How a trial ends that broke."""

_FINAL = frozenset({Status.SUCCEEDED, Status.PRUNED, Status.FAILED, Status.CRASHED, Status.CANCELED, Status.TIMED_OUT})
_CLAIMABLE = frozenset({Status.PENDING, Status.SUSPENDED, Status.INTERRUPTED})
_OPEN = frozenset(set(Status) - _FINAL - {Status.UNKNOWN})
_STEPS: dict[Status, frozenset[Status]] = {
    Status.UNKNOWN: frozenset(set(Status) - {Status.UNKNOWN}),
    Status.PENDING: frozenset({Status.READY, Status.RUNNING, Status.SUSPENDED, Status.CANCELED, Status.FAILED}),
    Status.SUSPENDED: frozenset({Status.PENDING, Status.READY, Status.RUNNING, Status.CANCELED, Status.FAILED}),
    Status.INTERRUPTED: frozenset(
        {Status.PENDING, Status.READY, Status.RUNNING, Status.SUSPENDED, Status.CANCELED, Status.FAILED}
    ),
    Status.READY: _FINAL | _OPEN - {Status.READY},
    Status.RUNNING: _FINAL | _OPEN - {Status.RUNNING},
    **dict.fromkeys(_FINAL, frozenset()),
}
_ORION = {Status.PENDING: "new", Status.RUNNING: "reserved", Status.SUCCEEDED: "completed", Status.CRASHED: "broken"}
_OF_ORION = {word.upper(): status.name for status, word in _ORION.items()}
