"""An operating system's error number as one of ours."""

from __future__ import annotations

import errno

from trialstore.model.errors import (
    AccessDeniedError,
    DamagedError,
    OutcomeUnknownError,
    StorageFullError,
    StoreUnavailableError,
    TrialStoreError,
    UsageError,
)

__all__ = ["from_oserror", "unsynced"]

_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MISPLACED = frozenset({errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.ENOTEMPTY})


def from_oserror(error: OSError, doing: str, **facts: object) -> TrialStoreError:
    """What to raise for an error of the local file system that left nothing behind.

    Args:
        error: The error.
        doing: What failed, as in ``"write a blob"``.
        facts: What was involved.
    """
    code = error.errno
    reason = error.strerror or str(error)
    if code in _DENIED:
        return AccessDeniedError(
            f"not allowed to {doing}", hint="check the owner and mode of the folder", **facts, reason=reason
        )
    if code in _FULL:
        return StorageFullError(
            f"no space left to {doing}", hint="free space or raise the quota, then try again", **facts, reason=reason
        )
    if code == errno.ELOOP:
        return DamagedError(
            f"a symbolic link in a store is not followed to {doing}",
            hint="put the file or folder itself there; a folder on another disk can be mounted there",
            **facts,
            reason=reason,
        )
    if code in _MISPLACED:
        return UsageError(
            f"the path cannot be used to {doing}",
            hint="a folder of the path is a file, a file of the path is a folder, or a name is too long",
            **facts,
            reason=reason,
        )
    return StoreUnavailableError(
        f"failed to {doing}", hint="check the disk and the mount, then try again", **facts, reason=reason
    )


def unsynced(error: OSError, **facts: object) -> TrialStoreError:
    """What to raise when a blob is in place, but the disk did not confirm that it stays."""
    return OutcomeUnknownError(
        "the blob was written, but the disk did not confirm it",
        hint="check the disk; read the blob back before trying again",
        **facts,
        reason=error.strerror or str(error),
    )
