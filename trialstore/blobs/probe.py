"""Proof that a backend excludes, before anything is trusted to it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from trialstore.blobs.protocol import Blobs
from trialstore.model.errors import UnsafeBackendError
from trialstore.model.identity import new_ulid

__all__ = ["PROBES", "probe"]

PROBES = "probe/"
"""The folder of what a probe writes; one that was killed leaves something there that means nothing."""

_ROUNDS = 3
_WRITERS = 6


def probe(blobs: Blobs) -> None:
    """Return if `create` of this backend lets exactly one writer win; leaves nothing behind.

    A few rounds find a backend that ignores the condition, and most that check before they write. They cannot
    prove that a race never has two winners.

    Args:
        blobs: The backend; blobs under ``probe/`` and a fresh name are made and deleted.

    Raises:
        UnsafeBackendError: a second create of one key succeeded, or replaced the content, or several of
            the writers that met at one key were told that they won.

    Cost: two creates and one read, and for each of 3 rounds 6 creates and one read.
    """
    folder = f"{PROBES}{new_ulid()}"
    keys = [f"{folder}/{number}" for number in range(_ROUNDS + 1)]
    try:
        _in_turn(blobs, keys[0])
        with ThreadPoolExecutor(_WRITERS) as pool:
            for key in keys[1:]:
                _at_once(blobs, key, pool)
    finally:
        blobs.delete(keys)


def _in_turn(blobs: Blobs, key: str) -> None:
    blobs.create(key, b"first")
    if blobs.create(key, b"second"):
        raise _unsafe(blobs, "a blob that exists was created again")
    if blobs.read(key) != b"first":
        raise _unsafe(blobs, "a refused create replaced the blob")


def _at_once(blobs: Blobs, key: str, pool: ThreadPoolExecutor) -> None:
    start = Barrier(_WRITERS)

    def create(writer: bytes) -> bytes | None:
        start.wait()
        return writer if blobs.create(key, writer) else None

    winners = [who for who in pool.map(create, [b"%d" % n for n in range(_WRITERS)]) if who is not None]
    if len(winners) > 1:
        raise _unsafe(blobs, f"{len(winners)} of {_WRITERS} writers created the same blob")
    if winners and blobs.read(key) != winners[0]:
        raise _unsafe(blobs, "the blob does not hold what its only winner wrote")


def _unsafe(blobs: Blobs, what: str) -> UnsafeBackendError:
    return UnsafeBackendError(
        f"this storage does not honour conditional writes: {what}",
        hint="a store on it would lose data; use another server or another version of it",
        url=blobs.url,
    )
