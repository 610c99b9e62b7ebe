"""One trial as the journal's state holds it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from trialstore.model.codec import pack, pack_dict, unpack, unpack_dict
from trialstore.model.status import Status

__all__ = ["GIVEN", "RECORD_FIELDS", "TrialRecord"]


@dataclass(slots=True)
class TrialRecord:
    """Everything decided about one trial. Times are stored spellings (see `trialstore.model.times`).

    Attributes:
        number: 0, 1, 2 … in the experiment.
        id: Hash of the parameters, 32 hexadecimal digits.
        params: Parameter values by name, in the order they were given.
        status: Where the trial is in its life.
        attempt: 0 before the first claim; every claim adds one.
        session: The session that holds the current attempt, None when nobody does.
        worker: A readable label of who ran the last attempt.
        submitted_at, started_at, ended_at: When it was registered, first claimed for the current attempt, and ended.
        ready_at: Not to be claimed before this time; None means at once.
        attempts: Ended attempts that did not finish the trial, and late results of them.
        metrics: Final values by metric name, as they were reported.
        sem, n: Standard errors and counts of those that were given as observations.
        profiles: Rows of `Profile.to_row`, in the order in which the measurements began.
        info: What the optimiser keeps with the trial: any value.
        extras: What plugins attached.
        storage: Names of what was stored outside of the store.
        runner: Who is meant to run it.
        seq: Sequence number of the commit that last changed the trial.
    """

    number: int
    id: str
    params: dict[str, Any]
    status: Status
    submitted_at: str
    seq: int
    name: str | None = None
    attempt: int = 0
    session: str | None = None
    worker: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    ready_at: str | None = None
    seed: int | None = None
    fidelity: dict[str, Any] | None = None
    parent: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] | None = None
    exception: str | None = None
    traceback: str | None = None
    attributes: dict[str, Any] | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    sem: dict[str, Any] | None = None
    n: dict[str, Any] | None = None
    profiles: list[list[Any]] | None = None
    info: Any = None
    extras: dict[str, Any] | None = None
    storage: list[str] | None = None
    runner: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The stored form; empty fields are left out. The dicts must be in plain JSON form."""
        body = {}
        for name in _FIELDS:
            value = getattr(self, name)
            if value is not None and (name in _NULLABLE or (value != [] and value != {})):
                body[name] = value
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> TrialRecord:
        """The record that `to_json` described."""
        record = cls(**{"params": {}, **body})
        record.status = Status(record.status)
        return record

    def decoded(self) -> TrialRecord:
        """A copy with the values themselves in place of their plain JSON form."""
        return TrialRecord(
            self.number,
            self.id,
            unpack_dict(self.params),
            self.status,
            self.submitted_at,
            self.seq,
            self.name,
            self.attempt,
            self.session,
            self.worker,
            self.started_at,
            self.ended_at,
            self.ready_at,
            self.seed,
            None if self.fidelity is None else unpack_dict(self.fidelity),
            self.parent,
            unpack_dict(self.metrics),
            None if self.summary is None else unpack_dict(self.summary),
            self.exception,
            self.traceback,
            None if self.attributes is None else unpack_dict(self.attributes),
            self.attempts,
            None if self.sem is None else unpack_dict(self.sem),
            None if self.n is None else unpack_dict(self.n),
            None if self.profiles is None else [[unpack(value) for value in row] for row in self.profiles],
            None if self.info is None else unpack(self.info),
            None if self.extras is None else unpack_dict(self.extras),
            self.storage,
            self.runner,
        )

    def encoded(self) -> TrialRecord:
        """A copy with the plain JSON form in place of the values: the inverse of `decoded`."""
        return replace(
            self,
            params=pack_dict(self.params, "params"),
            fidelity=None if self.fidelity is None else pack_dict(self.fidelity, "fidelity"),
            metrics=pack_dict(self.metrics, "metrics"),
            summary=None if self.summary is None else pack_dict(self.summary, "summary"),
            attributes=None if self.attributes is None else pack_dict(self.attributes, "attributes"),
            sem=None if self.sem is None else pack_dict(self.sem, "sem"),
            n=None if self.n is None else pack_dict(self.n, "n"),
            profiles=None if self.profiles is None else [[pack(value) for value in row] for row in self.profiles],
            info=pack(self.info, "info"),
            extras=None if self.extras is None else pack_dict(self.extras, "extras"),
        )


_FIELDS = tuple(field.name for field in fields(TrialRecord))
RECORD_FIELDS = frozenset(_FIELDS)
_NULLABLE = frozenset({"fidelity", "summary", "attributes", "extras", "info"})


GIVEN = (
    *("name", "seed", "fidelity", "parent", "ready_at", "attributes", "metrics", "summary", "started_at", "ended_at"),
    *("exception", "traceback", "worker", "attempt", "info", "sem", "n", "profiles", "extras", "storage", "runner"),
    "attempts",
)
"""Members that a registration may give as they are, and that are left at their defaults when it does not."""
