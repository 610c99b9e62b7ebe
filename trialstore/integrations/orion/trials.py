"""The trials of one of Oríon's experiments: found by index, changed by compare-and-set, never all looked at for one."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from orion.core.io.database import DuplicateKeyError

from trialstore.experiment import Experiment
from trialstore.integrations.orion.collecting import uncollected
from trialstore.integrations.orion.queries import Query, changed
from trialstore.integrations.orion.statuses import TO_ORION
from trialstore.integrations.orion.trial_rows import (
    changes_of,
    document_of,
    is_trial_id,
    objective_of,
    registration,
)
from trialstore.integrations.orion.values import to_time
from trialstore.journal.changes import Changes
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft
from trialstore.ledger import catalog_of
from trialstore.model.codec import decode
from trialstore.model.errors import BlobNotFoundError, UsageError
from trialstore.model.metric import Metric
from trialstore.model.part import Part
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import now_text

__all__ = ["Trials"]

_IDS_A_TABLE = 2**32
_OWN_ID = "orion._id"


class Trials:
    """The trials of one experiment.

    Guarantees: of those who reserve at once no two get one trial; of those who set a status that must be another one
    before, one succeeds; an id is registered once. All of it holds over processes and machines.

    Args:
        experiment: Of the store.
        uid: The `_id` of Oríon's experiment.

    Cost: every call looks whether something is new, and folds what is. What is found by id, status or both takes no
    longer where there are more trials.
    """

    def __init__(self, experiment: Experiment, uid: Any) -> None:
        self.uid = uid
        self._ledger = experiment._ledger
        self._key = self._ledger.key
        self._first_id = experiment.id * _IDS_A_TABLE + 1
        self._lock = threading.RLock()
        self._changes = Changes()
        self._ledger.journal.watch(self._changes)
        self._status: dict[int, Status] = {}
        self._of_status: dict[Status, dict[int, None]] = {}
        self._ids: dict[str, int] = {}
        self._own_ids: dict[Any, int] = {}
        self._cold: dict[str, dict[int, TrialRecord]] = {}
        self._held: set[int] = set()

    # Index

    def _refresh(self, state: ExperimentState) -> None:
        """Bring the index up to the state."""
        with self._changes.following(state) as numbers:
            self._follow(state, numbers)

    def _follow(self, state: ExperimentState, numbers: set[int] | None) -> None:
        if numbers is None:
            for index in (self._status, self._of_status, self._ids, self._own_ids):
                index.clear()
            for part in state.manifest.parts.values():
                if part.table == "trials":
                    self._enter_part(part, state.manifest.superseded.get(part.id, ()))
            numbers = set(state.trials)
        for number in numbers:
            live = state.trials.get(number)
            if live is not None:
                self._enter(live)
            elif number in self._status:
                if number in state.manifest.removed_trials:
                    self._forget(number)
            else:
                holder = state.manifest.part_of(number)
                if holder is not None:
                    self._enter(self._records_of(holder.id, state)[number])

    def _records_of(self, part_id: str, state: ExperimentState) -> dict[int, TrialRecord]:
        """The records of a part, which are read once; of some a newer one may be elsewhere."""
        records = self._cold.get(part_id)
        if records is None:
            from trialstore.tables.parts import read_records

            for old in self._cold.keys() - state.manifest.parts.keys():
                del self._cold[old]
            part = state.manifest.parts[part_id]
            records = {record.number: record for record in read_records(self._ledger.blobs, self._key, part)}
            self._cold[part_id] = records
        return records

    def _enter_part(self, part: Part, gone: Container[int]) -> None:
        """Enter the trials of a part, of which nothing but the index's columns is read."""
        from trialstore.tables.parts import read_columns

        rows = read_columns(self._ledger.blobs, self._key, part, ("trial", "id", "status", "extras"))
        columns = (rows.column(name).to_pylist() for name in ("trial", "id", "status", "extras"))
        for number, identifier, status, extras in zip(*columns, strict=True):
            if number not in gone:
                own = decode(extras) if extras is not None and f'"{_OWN_ID}"' in extras else None
                self._note(number, identifier, Status(status), own)

    def _enter(self, record: TrialRecord) -> None:
        self._note(record.number, record.id, record.status, record.extras)

    def _note(self, number: int, identifier: str, status: Status, extras: Any) -> None:
        before = self._status.get(number)
        if before is not status:
            if before is None:
                self._ids[identifier] = number
                own = None if extras is None else extras.get(_OWN_ID)
                if own is not None:
                    self._own_ids[own if isinstance(own, str | int) else str(own)] = number
            else:
                self._of_status[before].pop(number, None)
            self._status[number] = status
            self._of_status.setdefault(status, {})[number] = None

    def _forget(self, number: int) -> None:
        status = self._status.pop(number)
        self._of_status[status].pop(number, None)
        for index in (self._ids, self._own_ids):
            for key in [key for key, value in index.items() if value == number]:
                del index[key]

    def _records(self, numbers: Iterable[int], state: ExperimentState) -> Iterator[TrialRecord]:
        """The records of these trials, decoded. Which part holds a trial is only asked where the last one does not."""
        part: Mapping[int, TrialRecord] = {}
        gone: Container[int] = ()
        for number in numbers:
            live = state.trials.get(number)
            if live is not None:
                yield live.decoded()
                continue
            record = None if number in gone else part.get(number)
            if record is None:
                holder = state.manifest.part_of(number)
                if holder is None:
                    continue
                part, gone = self._records_of(holder.id, state), state.manifest.superseded.get(holder.id, ())
                record = part[number]
            yield record

    def _record(self, number: int, state: ExperimentState) -> TrialRecord | None:
        return next(self._records([number], state), None) if number in self._status else None

    def _candidates(self, query: Query) -> tuple[Iterable[int], Query]:
        """Numbers among which the matching ones are, in order, and what is still to be asked of each."""
        rest = query.without("experiment")
        ids = rest.values("id")
        numbers: Iterable[int]
        if ids is not None and all(is_trial_id(item) for item in ids):
            numbers = sorted({self._ids[item] for item in ids if item in self._ids})
            rest = rest.without("id")
        else:
            own = rest.values("_id")
            if own is not None:
                found = {self._numbered(item) for item in own if isinstance(item, str | int)}
                numbers = sorted(number for number in found if number is not None)
            else:
                statuses = [status for status in self._of_status if self._is_asked_for(rest, status)]
                chosen = [self._of_status[status] for status in statuses]
                numbers = sorted(chosen[0]) if len(chosen) == 1 else sorted(n for some in chosen for n in some)
        if rest.is_about("status"):
            numbers = [n for n in numbers if self._is_asked_for(rest, self._status[n])]
            rest = Query(None) if not self._is_strange(rest) else rest
        return numbers, rest

    def _is_strange(self, query: Query) -> bool:
        """Whether a status that Oríon does not have may play a part."""
        return bool(self._of_status.get(Status.UNKNOWN)) or any(
            not isinstance(value, str) for value in query.values("status") or ()
        )

    @staticmethod
    def _is_asked_for(query: Query, status: Status) -> bool:
        return status is Status.UNKNOWN or query.allows("status", TO_ORION[status])

    def _numbered(self, own_id: str | int) -> int | None:
        number = self._own_ids.get(own_id)
        if number is None and isinstance(own_id, int) and own_id - self._first_id in self._status:
            number = own_id - self._first_id
        return number

    # Reading

    def _document(self, record: TrialRecord) -> dict[str, Any]:
        return document_of(record, self.uid, self._first_id + record.number)

    def _found(self, query: Query, state: ExperimentState) -> Iterator[tuple[TrialRecord, dict[str, Any] | None]]:
        """The records that match, decoded, each with its document where that was needed to see it."""
        numbers, rest = self._candidates(query)
        for record in self._records(numbers, state):
            document = self._document(record) if rest.conditions else None
            if document is None or rest.matches(document):
                yield record, document

    def find(self, query: Query) -> list[dict[str, Any]]:
        """Documents of the matching trials, in the order in which they were registered."""
        with self._lock:
            while True:
                try:
                    with uncollected(), self._ledger.journal.view() as state:
                        self._refresh(state)
                        return [document or self._document(record) for record, document in self._found(query, state)]
                except BlobNotFoundError:
                    continue  # a compaction replaced the part, and vacuum deleted it: look again

    def document(self, number: int) -> dict[str, Any] | None:
        """The document of the trial of a number."""
        with self._ledger.journal.view() as state:
            self._refresh(state)
            record = self._record(number, state)
        return None if record is None else self._document(record)

    def count(self, query: Query) -> int:
        """How many trials match."""
        with self._lock, self._ledger.journal.view() as state:
            self._refresh(state)
            numbers, rest = self._candidates(query)
            if not rest.conditions:
                return len(list(numbers))
        return len(self.find(query))

    # Writing

    def insert(self, documents: Sequence[dict[str, Any]]) -> None:
        """Register trials, all of them or none, and give each document its `_id`.

        Raises:
            DuplicateKeyError: one has an id that is there already.
        """
        bodies = [registration({n: v for n, v in item.items() if n != "experiment"}) for item in documents]
        with self._lock:
            own = [item["_id"] for item in documents if "_id" in item]
            if own:
                with self._ledger.journal.view() as state:
                    self._refresh(state)
                    twice = next((item for item in own if self._numbered(item) is not None), None)
                if twice is not None or len(set(own)) < len(own):
                    raise DuplicateKeyError(f"Duplicate key error: index=_id_ value={(twice,)}")
            ended = any(body.get("status", Status.PENDING).is_final for body in bodies)
            *_, outcome = self._ledger.execute(Draft("register", {"trials": bodies}), force=ended)
            if outcome.reason == "duplicate":
                first = documents[outcome.value["indexes"][0]]
                values = (first.get("experiment"), first.get("id"))
                raise DuplicateKeyError(f"Duplicate key error: index=experiment_1_id_1 value={values}")
            if outcome.reason is not None:
                self._ledger.refuse(outcome)
        for number, item in enumerate(documents, start=outcome.value):
            item.setdefault("_id", self._first_id + number)
        for item in documents:
            self._declare(item)

    def update(self, query: Query, data: Mapping[str, Any], *, first: bool = False) -> list[int]:
        """Set fields of the matching trials, or of the first of them; returns their numbers.

        Guarantees: a trial whose status is no longer what the query asks for is left as it is.
        """
        data = dict(data)
        if "experiment" in data and data["experiment"] == self.uid:
            del data["experiment"]
        dotted = any("." in name for name in data)
        asks_status = any(name.partition(".$")[0] == "status" for name in query.conditions)
        done: list[int] = []
        with self._lock:
            while True:
                drafts = []
                force = False
                with self._ledger.journal.view() as state:
                    self._refresh(state)
                    for record, document in self._found(query, state):
                        if record.number in done:
                            continue
                        fields = data if not dotted else _whole_fields(document or self._document(record), data)
                        body = {"trial": record.number, **changes_of(record, fields, now_text())}
                        if asks_status:
                            body["was"] = record.status
                        drafts.append(Draft("amend", body))
                        force |= record.status.is_final or body.get("status", record.status).is_final
                        if first:
                            break
                if not drafts:
                    return done
                again = False
                outcomes = self._ledger.execute(*drafts, force=force)[-len(drafts) :]
                ended = 0
                for draft, outcome in zip(drafts, outcomes, strict=True):
                    number = draft.fields["trial"]
                    if outcome.reason is None:
                        done.append(number)
                        ended = max(ended, outcome.value or 0)
                        self._let_go(number, draft.fields.get("status"))
                    elif outcome.reason == "finished":  # its row is in a part
                        self._ledger.revive(number)
                        again = True
                    elif outcome.reason in ("transition", "no trial"):
                        again = True
                    else:
                        self._ledger.refuse(outcome)
                if any(draft.fields.get("status", Status.RUNNING).is_final for draft in drafts):
                    self._ledger.maintain(ended)
                if not again or (first and done):
                    self._declare(data)
                    return done

    def _declare(self, data: Mapping[str, Any]) -> None:
        """Make the first objective that comes in the experiment's metric, unless it has one."""
        ledger = self._ledger
        name = None if ledger.entry.config["metrics"] else objective_of(data)
        try:
            metric = None if name is None else Metric(name)
        except UsageError:
            return  # the name is none that a metric may have
        if metric is None:
            return
        catalog = catalog_of(ledger.session)
        while True:
            with catalog.view() as state:
                entry = state.experiments.get(ledger.entry.id)
            if entry is None:
                return  # it was deleted meanwhile
            ledger.entry = entry
            if entry.config["metrics"]:
                return
            changes = {"metrics": [metric.to_json()]}
            catalog.execute(Draft("update_experiment", {"id": entry.id, "revision": entry.revision, "config": changes}))

    def _let_go(self, number: int, status: Status | None) -> None:
        if status is not None and number in self._held and not status.is_active:
            self._held.discard(number)
            self._ledger.session.let_go(self._key)

    def reserve(self, now: datetime) -> dict[str, Any] | None:
        """Reserve the first trial that is new, suspended or interrupted; its document, or None when there is none.

        Guarantees: it is the caller's alone.

        Args:
            now: When it starts, in UTC without zone.
        """
        session = self._ledger.session
        with self._lock:
            for refresh in (False, True):
                with self._ledger.journal.view(refresh=refresh) as state:
                    waits = state.next_claim_at() is not None
                if waits:
                    break
            else:
                return None
            session.lease(self._key)
            while True:
                claim = Draft("claim", {"worker": session.worker, "when": to_time(now)})
                claimed = self._ledger.execute_one(claim, force=False)
                if claimed is None:
                    return None
                number, attempt = claimed
                with self._ledger.journal.view(refresh=False) as state:
                    self._refresh(state)
                    record = self._record(number, state)
                if record is not None and record.attempt == attempt and record.status.is_active:
                    if number not in self._held:
                        self._held.add(number)
                        session.hold(self._key)
                    return self._document(record)

    def remove(self, query: Query) -> int:
        """Take the matching trials out; returns how many. Their ids may be registered again."""
        removed = 0
        with self._lock:
            while True:
                with self._ledger.journal.view() as state:
                    self._refresh(state)
                    numbers = [record.number for record, _ in self._found(query, state)]
                    stored = [number for number in numbers if number not in state.trials]
                if not numbers:
                    return removed
                for number in stored:
                    self._ledger.revive(number)
                *_, outcome = self._ledger.execute(Draft("remove", {"trials": numbers}))
                if outcome.reason is None:
                    for number in numbers:
                        self._let_go(number, Status.CANCELED)
                    with self._ledger.journal.view(refresh=False) as state:
                        self._refresh(state)
                    removed += len(numbers)
                elif outcome.reason not in ("finished", "no trial"):
                    self._ledger.refuse(outcome)


def _whole_fields(document: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The whole fields that result where parts of fields are set."""
    after = changed(document, data)
    return {name: after[name] for name in {name.partition(".")[0] for name in data}}
