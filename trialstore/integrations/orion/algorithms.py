"""The algorithm of an experiment: its lock, which one process has at a time, and its state, which may be large.

The lock is a document of the experiment's journal, changed by compare-and-set. A large state is an artifact of the
experiment; of several states that were saved the last one is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trialstore.artifacts.store import Artifact, blob_folder, load
from trialstore.experiment import Experiment
from trialstore.integrations.orion.queries import Query, changed
from trialstore.integrations.orion.values import from_stored, to_stored
from trialstore.journal.journal import Draft
from trialstore.model.codec import pack, unpack
from trialstore.model.errors import BlobNotFoundError
from trialstore.model.identity import new_ulid
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import now_text

__all__ = ["DOCUMENT", "Algorithm"]

DOCUMENT = "orion.algorithm"
_INLINE_BYTES = 4096
_NO_TRIAL = -1
_NAME = "algorithm/state"


class Algorithm:
    """The document of one experiment's algorithm.

    Guarantees: of those who change it at once, each sees what the one before left. A state is there whole, or the one
    before it.

    Args:
        experiment: Of the store.
        uid: The `_id` of Oríon's experiment.
    """

    def __init__(self, experiment: Experiment, uid: Any) -> None:
        self.uid = uid
        self._ledger = experiment._ledger
        self._id = experiment.id
        self._cached: tuple[str, bytes] | None = None

    def _load(self) -> tuple[int, dict[str, Any] | None]:
        with self._ledger.journal.view() as state:
            revision, packed = state.documents.get(DOCUMENT, (0, None))
        return revision, None if packed is None else dict(unpack(packed))  # type: ignore[call-overload]

    def _document(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        document = {"experiment": self.uid, **from_stored(stored["document"])}
        document.setdefault("_id", self._id)
        if stored.get("artifact") is not None:
            document["state"] = self._bytes(Artifact(*stored["artifact"]))
        return document

    def _bytes(self, artifact: Artifact) -> bytes:
        if self._cached is None or self._cached[0] != artifact.id:
            self._cached = (artifact.id, load(self._ledger.blobs, artifact, "bytes"))
        return self._cached[1]

    def _read(self) -> tuple[int, dict[str, Any], dict[str, Any] | None]:
        """Its revision, what is stored, and the document, which is None when there is none."""
        while True:
            revision, stored = self._load()
            try:
                return revision, stored or {}, None if stored is None else self._document(stored)
            except BlobNotFoundError:
                if self._load()[0] == revision:
                    raise  # else somebody saved another state, and deleted this one

    def read(self) -> dict[str, Any] | None:
        """The document, None when there is none."""
        return self._read()[2]

    def insert(self, document: dict[str, Any]) -> None:
        """Make the document; one that is there stays as it is."""
        revision, stored = self._load()
        if stored is None:
            self._save(revision, {}, document)
        document.setdefault("_id", self._id)

    def update(self, query: Query, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """Set fields when the document matches; what it is then, or None."""
        while True:
            revision, stored, document = self._read()
            if document is None or not query.matches(document):
                return None
            after = changed(document, data)
            if self._save(revision, stored, after):
                return after

    def remove(self, query: Query) -> int:
        """Delete the document when it matches; how many were deleted."""
        while True:
            revision, stored, document = self._read()
            if document is None or not query.matches(document):
                return 0
            if self._save(revision, stored, None):
                return 1

    # The lock

    def take(self, heartbeat: datetime) -> tuple[str, dict[str, Any]] | None:
        """Take the lock when nobody has it, or who had it is gone: a token and the document. Else None."""
        revision, stored, document = self._read()
        if document is None:
            return None
        holder = stored.get("holder")
        if document["locked"] and (holder is None or not self._is_gone(*holder[:2])):
            return None
        session = self._ledger.session
        session.lease(self._ledger.key)
        token = new_ulid()
        after = {**document, "locked": 1, "heartbeat": heartbeat}
        if not self._save(revision, stored, after, [session.id.current(), now_text(), token]):
            return None
        session.hold(self._ledger.key)
        return token, after

    def give_back(self, token: str, state: bytes | None, heartbeat: datetime) -> bool:
        """Free the lock, with a new state or the one before; False when it is another's, and nothing was changed."""
        self._ledger.session.let_go(self._ledger.key)
        while True:
            revision, stored, document = self._read()
            holder = stored.get("holder")
            if document is None or not document["locked"] or holder is None or holder[2] != token:
                return False
            after = {**document, "locked": 0, "heartbeat": heartbeat}
            if state is not None:
                after["state"] = state
            if self._save(revision, stored, after):
                return True

    def _is_gone(self, session: str, since: str) -> bool:
        """Whether a session that took the lock at a time did not renew its lease since."""
        holder = TrialRecord(0, "", {}, Status.RUNNING, since, 0, session=session, started_at=since)
        return bool(self._ledger.session.leases.lost(self._ledger.key, [holder]))

    # What is stored

    def _save(
        self, revision: int, stored: Mapping[str, Any], document: dict[str, Any] | None, holder: list[str] | None = None
    ) -> bool:
        """Write the document when it still has the revision; a state that is no longer named is deleted."""
        ledger = self._ledger
        row = stored.get("artifact")
        before = None if row is None else Artifact(*row)
        after, value = None, None
        if document is not None:
            inline = {name: item for name, item in document.items() if name != "experiment"}
            state = inline.get("state")
            if isinstance(state, bytes) and len(state) > _INLINE_BYTES:
                after = self._put(state, before)
                inline["state"] = None
            if holder is None and document.get("locked"):
                holder = stored.get("holder")
            value = {
                "document": to_stored(inline),
                "artifact": None if after is None else after.row(),
                "holder": holder,
            }
        drafts = []
        if after is not None and after is not before:
            drafts.append(Draft("rows", {"table": "artifacts", "rows": [after.row()]}))
        body = {"name": DOCUMENT, "value": pack(value, DOCUMENT), "revision": revision}
        outcome = ledger.execute(*drafts, Draft("document", body))[-1]
        if outcome.reason not in (None, "stale revision"):
            ledger.refuse(outcome)
        gone, kept = (before, after) if outcome.reason is None else (after, before)
        if gone is not None and (kept is None or gone.id != kept.id):
            ledger.execute(Draft("remove_artifacts", {"ids": [gone.id]}))
            if gone.path.endswith(f"~{gone.id}"):  # no other artifact has the same bytes there
                ledger.blobs.delete([gone.path])
        return outcome.reason is None

    def _put(self, state: bytes, before: Artifact | None) -> Artifact:
        digest = hashlib.sha256(state).hexdigest()
        if before is not None and before.sha256 == digest:
            return before
        ulid = new_ulid()
        path = f"{blob_folder(self._ledger.key)}{digest}~{ulid}"
        self._ledger.blobs.write(path, state)
        self._cached = (ulid, state)
        return Artifact(_NO_TRIAL, 0, _NAME, path, len(state), digest, now_text(), "bytes", ulid)
