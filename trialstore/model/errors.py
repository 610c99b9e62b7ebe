"""The error tree. Branches are named by what the caller does next.

::

    TrialStoreError
    ├── UsageError (also ValueError)          fix the call
    │   ├── InvalidNameError
    │   ├── InvalidParamsError
    │   ├── InvalidMetricsError
    │   ├── InvalidStatusError
    │   ├── InvalidTimeError
    │   ├── ReadOnlyError
    │   └── QueryError
    ├── NotFoundError (also LookupError)      look for something else
    │   ├── BlobNotFoundError
    │   ├── SnapshotNotFoundError
    │   ├── StoreNotFoundError
    │   ├── ExperimentNotFoundError
    │   ├── TrialNotFoundError
    │   └── ArtifactNotFoundError
    ├── ConflictError                         somebody was first: look again, then decide
    │   ├── DuplicateExperimentError
    │   ├── DuplicateTrialError
    │   ├── TransitionError
    │   ├── LostTrialError
    │   ├── StaleRevisionError
    │   ├── LockAcquisitionTimeout
    │   ├── LostLockError
    │   ├── AlgorithmChangedError (also RuntimeError)
    │   ├── BranchingError
    │   └── SessionExpiredError
    ├── OutcomeUnknownError                   it may have happened: look before trying again
    ├── StoreUnavailableError                 try again later
    │   ├── AccessDeniedError
    │   └── StorageFullError
    ├── DamagedError                          restore or repair
    ├── FormatTooNewError                     upgrade trialstore
    └── UnsupportedError                      use another backend or install an extra
        ├── UnsafeBackendError
        └── MissingExtraError
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import Enum

from trialstore.render.values import printable

__all__ = [
    "AccessDeniedError",
    "AlgorithmChangedError",
    "ArtifactNotFoundError",
    "BlobNotFoundError",
    "BranchingError",
    "ConflictError",
    "DamagedError",
    "DuplicateExperimentError",
    "DuplicateTrialError",
    "ExperimentNotFoundError",
    "FormatTooNewError",
    "InvalidMetricsError",
    "InvalidNameError",
    "InvalidParamsError",
    "InvalidStatusError",
    "InvalidTimeError",
    "LockAcquisitionTimeout",
    "LostLockError",
    "LostTrialError",
    "MissingExtraError",
    "NotFoundError",
    "OutcomeUnknownError",
    "QueryError",
    "ReadOnlyError",
    "SessionExpiredError",
    "SnapshotNotFoundError",
    "StaleRevisionError",
    "StorageFullError",
    "StoreNotFoundError",
    "StoreUnavailableError",
    "TransitionError",
    "TrialNotFoundError",
    "TrialStoreError",
    "UnsafeBackendError",
    "UnsupportedError",
    "UsageError",
    "nearest",
]


class TrialStoreError(Exception):
    """Root of every error that trialstore raises on purpose.

    Args:
        message: What happened, lower case, one line or a short list.
        hint: An action that mends it.
        facts: What was involved, shown as ``key=value``; also readable as ``error.facts``.
    """

    def __init__(self, message: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def __str__(self) -> str:
        lines = [printable(self.message, lines=True)]
        if self.facts:
            lines.append("  " + " ".join(f"{name}={_shorten(value)}" for name, value in self.facts.items()))
        if self.hint:
            lines.append(f"  hint: {printable(self.hint)}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.facts)


def _rebuild(kind: type[TrialStoreError], message: str, hint: str | None, facts: dict[str, object]) -> TrialStoreError:
    error = kind.__new__(kind)
    TrialStoreError.__init__(error, message, hint=hint, **facts)
    return error


def _shorten(value: object, limit: int = 200) -> str:
    text = repr(value.value if isinstance(value, Enum) else value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def nearest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Known names that look like `name`, best first: what a "did you mean" offers."""
    return difflib.get_close_matches(name[:200], [k[:200] for k in known], n=limit, cutoff=0.5)


class UsageError(TrialStoreError, ValueError):
    """The call itself is wrong: nothing was written, and the same call will fail again."""


class InvalidNameError(UsageError):
    """A name is empty, too long, or not valid Unicode."""


class InvalidParamsError(UsageError):
    """Parameters are missing, unknown, or outside the space; all problems stand in one error."""


class InvalidMetricsError(UsageError):
    """A metric was not declared, is missing, or is not a number."""


class InvalidStatusError(UsageError):
    """A word is not the name of a status."""


class InvalidTimeError(UsageError):
    """A time has no zone, or cannot be kept to the microsecond."""


class ReadOnlyError(UsageError):
    """A write was asked of a store that was opened with ``mode="r"``."""


class QueryError(UsageError):
    """A SQL query failed; the message is DuckDB's, and the tables and columns there are follow."""


class NotFoundError(TrialStoreError, LookupError):
    """What was asked for does not exist."""


class BlobNotFoundError(NotFoundError):
    """No blob has this key."""


class SnapshotNotFoundError(NotFoundError):
    """The past that was asked for is no longer kept, or has not come to this store."""


class StoreNotFoundError(NotFoundError):
    """There is no store at this address."""


class ExperimentNotFoundError(NotFoundError):
    """The store has no experiment of this name."""


class TrialNotFoundError(NotFoundError):
    """The experiment has no trial of this number or id."""


class ArtifactNotFoundError(NotFoundError):
    """The trial has no artifact of this name."""


class ConflictError(TrialStoreError):
    """Somebody else was first. Nothing of this call took effect."""


class DuplicateExperimentError(ConflictError):
    """An experiment of this name and version exists."""


class DuplicateTrialError(ConflictError):
    """A trial of these parameters exists, and the experiment forbids repeats."""


class TransitionError(ConflictError):
    """The trial's status does not allow this step, such as finishing it twice."""


class LostTrialError(ConflictError):
    """The trial is no longer owned by this session: its lease ran out, or it was released."""


class StaleRevisionError(ConflictError):
    """A compare-and-set found another revision than the one expected."""


class LockAcquisitionTimeout(ConflictError):  # noqa: N818 - Oríon's name for it
    """Another session held the lock for all the time that the caller would wait."""


class LostLockError(ConflictError):
    """The lock is no longer this session's: its lease ran out, or somebody released it. Nothing was written."""


class AlgorithmChangedError(ConflictError, RuntimeError):
    """The algorithm is configured otherwise than it was when it last ran on the experiment."""


class BranchingError(ConflictError):
    """An experiment is asked for otherwise than it is; all differences stand in one error, and nothing was written."""


class SessionExpiredError(ConflictError):
    """The session was silent for so long that the store forgot it; nothing of this call took effect."""


class OutcomeUnknownError(TrialStoreError):
    """The backend's answer was lost: the write may or may not have happened."""


class StoreUnavailableError(TrialStoreError):
    """The backend did not do its part this time: time-outs, throttling, refused connections."""


class AccessDeniedError(StoreUnavailableError):
    """The backend refuses this user: permissions or credentials."""


class StorageFullError(StoreUnavailableError):
    """The disk or the quota is full; what was being written does not exist."""


class DamagedError(TrialStoreError):
    """A blob does not hold what was written to it."""


class FormatTooNewError(TrialStoreError):
    """The store was written by a newer trialstore that this one cannot read."""


class UnsupportedError(TrialStoreError):
    """This installation or backend cannot do it."""


class UnsafeBackendError(UnsupportedError):
    """The backend ignores conditional writes, so a store on it would lose data."""


class MissingExtraError(UnsupportedError):
    """A package is missing; the hint names the extra that brings it."""
