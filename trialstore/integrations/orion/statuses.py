"""Oríon's statuses of a trial and the store's, both ways."""

from __future__ import annotations

from trialstore.model.status import Status

__all__ = ["FROM_ORION", "TO_ORION"]

FROM_ORION = {
    "new": Status.PENDING,
    "reserved": Status.RUNNING,
    "suspended": Status.SUSPENDED,
    "interrupted": Status.INTERRUPTED,
    "completed": Status.SUCCEEDED,
    "broken": Status.CRASHED,
}
"""One to one, so that a status that Oríon gave comes back as it was."""

TO_ORION = {
    **{status: name for name, status in FROM_ORION.items()},
    Status.UNKNOWN: "new",
    Status.READY: "new",
    Status.FAILED: "broken",
    Status.TIMED_OUT: "broken",
    Status.PRUNED: "completed",
    Status.CANCELED: "broken",
}
"""The others are of trials that did not come from Oríon."""
