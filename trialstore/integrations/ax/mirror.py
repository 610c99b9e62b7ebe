"""What this process knows of an Ax experiment's rows in a store, so that a save writes what changed and no more."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from trialstore.experiment import Experiment
from trialstore.integrations.ax.rows import DATA, Row
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.model.codec import encode, pack_dict
from trialstore.model.errors import TrialNotFoundError
from trialstore.model.identity import packed_hash
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status

__all__ = ["Known", "Mirror", "mirror_of"]

_FIELDS = ("status", "name", "params", "submitted_at", "started_at", "ended_at", "metrics", "sem", "n")
_PACKED = frozenset({"params", "metrics", "sem", "n", "extras"})


@dataclass(slots=True)
class Known:
    """A row as it was last saved.

    Attributes:
        number: Of the trial in the store.
        attempt: Its attempt.
        prints: A hash of each column and of each member of the extras.
        data: Hashes of the rows of data, in order.
        runs: A hash of what tells the generator runs apart.
        run_count: How many of them were saved.
    """

    number: int
    attempt: int = 0
    prints: dict[str, bytes] = field(default_factory=dict)
    data: list[bytes] = field(default_factory=list)
    runs: bytes | None = None
    run_count: int = 0


class Mirror:
    """The rows of one experiment, by index of the trial and name of the arm.

    Args:
        experiment: The store's.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.ledger: Ledger = experiment._ledger
        self.known: dict[int, dict[str | None, Known]] = {}
        self._next = 0

    def refresh(self, experiment: Experiment) -> None:
        """Learn of rows that others added."""
        with self.ledger.journal.view() as state:
            following = state.next_number
        if following == self._next:
            return
        for record in _records(experiment, self._next, following):
            self._learn(record)
        self._next = following

    def _learn(self, record: TrialRecord) -> None:
        extras = record.extras or {}
        head = extras.get("ax")
        if head is None or head.get("gone"):
            return  # it was never Ax's, or is not any more
        known = _known(record)
        known.prints |= {name: _print(value) for name, value in extras.items() if not name.startswith(DATA)}
        known.data = [_print(row) for row in stored_data(extras)]
        known.runs, known.run_count = _print(head.get("marks")), len(head.get("marks") or ())
        self.known.setdefault(head["trial"], {})[head["arm"]] = known

    def adopt(self, record: TrialRecord, index: int, arm: str) -> None:
        """Take a row that was registered in the store itself for an arm of Ax."""
        self.known.setdefault(index, {}).setdefault(arm, _known(record))

    def find(self, row: Row, index: int) -> Known | None:
        """The row of an arm; an adopted one only while it is of the same parameters."""
        known = self.known.setdefault(index, {}).get(row.arm)
        if known is not None and "ax" not in known.prints and known.prints["params"] != _print(row.fields["params"]):
            return None
        return known

    def run_count(self, index: int) -> int:
        """How many generator runs of a trial were saved."""
        return max((known.run_count for known in self.known.get(index, {}).values()), default=0)

    # Saving

    def register(self, row: Row, index: int) -> dict[str, Any]:
        """What the journal says of a row that is new."""
        fields = {name: value for name, value in row.fields.items() if value not in (None, {}) or name == "params"}
        packed = {name: pack_dict(value, name) if name in _PACKED else value for name, value in fields.items()}
        extras = self._extras(row)
        if row.data:
            extras[f"{DATA}0"] = row.data
        return {
            **packed,
            "id": packed_hash(fields["params"], packed["params"]),
            "attempt": int(fields["status"] is not Status.PENDING),
            "attributes": {"trial_index": index},
            "extras": pack_dict(extras, "extras"),
        }

    def amend(self, row: Row, known: Known) -> dict[str, Any]:
        """What the journal says of what changed of a row; nothing but its number when nothing did."""
        body: dict[str, Any] = {}
        for name in _FIELDS:
            value = row.fields.get(name)
            if _print(value or None) != known.prints.get(name):
                body[name] = pack_dict(value or {}, name) if name in _PACKED else value
                if name in ("sem", "n") and not value:
                    body[name] = None
        if "params" in body:
            body["id"] = packed_hash(row.fields["params"], body["params"])
        if "status" in body and known.attempt == 0 and body["status"] is not Status.PENDING:
            body["attempt"] = 1
        extras = {name: v for name, v in self._extras(row).items() if _print(v) != known.prints.get(name)}
        if "ax_runs" in extras and _print(row.marks or None) == known.runs:
            del extras["ax_runs"]  # the same runs, with more or less of their generators' state
        new = [_print(item) for item in row.data]
        if new[: len(known.data)] == known.data:
            if len(new) > len(known.data):
                extras[f"{DATA}{len(known.data)}"] = row.data[len(known.data) :]
        else:
            extras |= {f"{DATA}{start}": None for start in range(1, len(known.data))}
            extras[f"{DATA}0"] = row.data or None
        if extras:
            body["extras"] = pack_dict(extras, "extras")
        return {"trial": known.number, **body}

    @staticmethod
    def _extras(row: Row) -> dict[str, Any]:
        extras = dict(row.extras)
        extras["ax"] = {**extras["ax"], "marks": row.marks} if row.marks else extras["ax"]
        return extras

    def steps(self, row: Row, known: Known | None) -> list[list[Any]]:
        """Rows of data with a step that were not saved yet."""
        seen = set() if known is None else set(known.data)
        return [item for item in row.data if item[4] is not None and item[4] == item[4] and _print(item) not in seen]

    def saved(self, row: Row, index: int, number: int) -> None:
        """Remember a row as it is in the store now."""
        rows = self.known.setdefault(index, {})
        before = rows.get(row.arm)
        known = Known(number, max(int(row.fields["status"] is not Status.PENDING), before.attempt if before else 0))
        known.prints = {name: _print(row.fields.get(name) or None) for name in _FIELDS}
        known.prints |= {name: _print(value) for name, value in self._extras(row).items()}
        known.data = [_print(item) for item in row.data]
        known.runs, known.run_count = _print(row.marks or None), len(row.marks)
        rows[row.arm] = known
        self._next = max(self._next, number + 1)


_mirrors: weakref.WeakKeyDictionary[Ledger, Mirror] = weakref.WeakKeyDictionary()


def mirror_of(experiment: Experiment) -> Mirror:
    """The one mirror that this process has of an experiment, up to date."""
    mirror = _mirrors.get(experiment._ledger)
    if mirror is None:
        mirror = _mirrors[experiment._ledger] = Mirror(experiment)
    mirror.refresh(experiment)
    return mirror


def _known(record: TrialRecord) -> Known:
    prints = {name: _print(getattr(record, name) or None) for name in _FIELDS}
    return Known(record.number, record.attempt, prints)


def _records(experiment: Experiment, start: int, end: int) -> Iterator[TrialRecord]:
    if start == 0:
        yield from (trial._held.record for trial in experiment.trials())
        return
    for number in range(start, end):
        try:
            yield experiment.trial(number)._held.record
        except TrialNotFoundError:
            continue  # set aside for an import, and not used


def stored_data(extras: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of data that the extras of a record hold, in order."""
    parts = {int(name[len(DATA) :]): value for name, value in extras.items() if name.startswith(DATA)}
    return [row for start in sorted(parts) for row in parts[start] or ()]


def _print(value: Any) -> bytes:
    return blake2b(encode(value), digest_size=16).digest()


def amendment(number: int, **fields: Any) -> Draft:
    """A command that makes a trial what it says."""
    return Draft("amend", {"trial": number, **fields})
