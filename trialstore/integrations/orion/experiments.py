"""Oríon's experiments: each is an experiment of the store, with its document in the metadata."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from orion.core.io.database import DuplicateKeyError

from trialstore.experiment import Experiment
from trialstore.integrations.orion.queries import Query, changed
from trialstore.integrations.orion.spaces import space_of
from trialstore.integrations.orion.trials import Trials
from trialstore.integrations.orion.values import from_stored, to_stored
from trialstore.journal.catalog import ExperimentEntry
from trialstore.journal.journal import Draft
from trialstore.model.codec import pack, unpack
from trialstore.model.errors import ConflictError, DuplicateExperimentError, InvalidNameError
from trialstore.model.identity import check_name, new_ulid
from trialstore.model.metric import Metric
from trialstore.store import Store

__all__ = ["Experiments"]

_MEMBER = "orion"
_DOCUMENT, _TRIALS_OF = "document", "trials_of"


class Experiments:
    """The experiments of Oríon in a store, and where the trials of each are.

    Guarantees: name and version are unique, however many processes create at once.

    Args:
        store: Of any backend.
        unique: Tells which fields must be unique together, besides name and version.
    """

    def __init__(self, store: Store, unique: Callable[[], Iterable[tuple[str, ...]]] = tuple) -> None:
        self._store = store
        self._unique = unique
        self._lock = threading.RLock()
        self._seq = -2
        self._decoded: dict[int, tuple[int, str, Any]] = {}
        self._documents: dict[int, dict[str, Any]] = {}
        self._homes: dict[Any, list[int]] = {}
        self._trials: dict[int, Trials] = {}

    def _refresh(self) -> None:
        with self._store._catalog.view() as catalog:
            if catalog.seq == self._seq:
                return
            self._seq = catalog.seq
            entries = list(catalog.experiments.values())
        self._documents, self._homes = {}, {}
        for entry in entries:
            known = self._decoded.get(entry.id)
            if known is None or known[0] != entry.revision:
                known = (entry.revision, *_decode(entry))
                self._decoded[entry.id] = known
            _, kind, value = known
            if kind == _DOCUMENT:
                document = value if "_id" in value else {**value, "_id": entry.id}
                self._documents[entry.id] = document
                self._homes.setdefault(_hashable(document["_id"]), []).append(entry.id)
            elif kind == _TRIALS_OF:
                self._homes.setdefault(_hashable(value), []).append(entry.id)
        for gone in self._trials.keys() - {entry.id for entry in entries}:
            del self._trials[gone]

    # Documents

    def find(self, query: Query) -> list[dict[str, Any]]:
        """Documents of the matching experiments, in the order of their creation."""
        with self._lock:
            self._refresh()
            return [document for _, document in self._matching(query)]

    def _matching(self, query: Query) -> list[tuple[int, dict[str, Any]]]:
        names = query.values("name")
        return [
            (number, document)
            for number, document in self._documents.items()
            if (names is None or document.get("name") in names) and query.matches(document)
        ]

    def document(self, number: int) -> dict[str, Any] | None:
        """The document of the store's experiment of this number."""
        with self._lock:
            self._refresh()
            return self._documents.get(number)

    def insert(self, document: dict[str, Any]) -> None:
        """Add an experiment, and give the document its `_id`.

        Raises:
            DuplicateKeyError: there is one of its name and version, or of its `_id`.
        """
        with self._lock:
            self._refresh()
            self._require_unique(document, None)
            number = self._create(document)
            self._refresh()
            if "_id" not in document:
                document["_id"] = self._documents[number]["_id"]
                if len(self._homes[_hashable(document["_id"])]) > 1:
                    taken = [d["_id"] for d in self._documents.values() if isinstance(d["_id"], int)]
                    document["_id"] = max(taken) + 1
                    self._save(number, document)

    def _create(self, document: Mapping[str, Any]) -> int:
        name, version = document.get("name"), document.get("version", 1)
        fits = type(version) is int and 1 <= version < 2**31
        try:
            name = check_name(name, "experiment")
        except InvalidNameError:
            fits = False
        if not fits:
            name, version = f"orion {new_ulid()}", 1
        try:
            experiment = self._store.create_experiment(
                str(name),
                version=version,
                metadata={"tool": _MEMBER, _MEMBER: {_DOCUMENT: to_stored(document)}},
                space=space_of(document),
                repeats=False,
                **_limits(document),
            )
        except DuplicateExperimentError:
            values = (name, version)
            raise DuplicateKeyError(f"Duplicate key error: index=name_1_version_1 value={values}") from None
        return experiment.id

    def _require_unique(self, document: Mapping[str, Any], but: int | None) -> None:
        """Refuse a document that shares what must be unique with another one."""
        indexes = [*self._unique(), ("name", "version")]
        if "_id" in document:
            indexes.append(("_id",))
        for fields in indexes:
            mine = [_field(document, name) for name in fields]
            if fields == ("name", "version") and None in mine:
                continue
            for number, other in self._documents.items():
                if number != but and [_field(other, name) for name in fields] == mine:
                    index = "_id_" if fields == ("_id",) else "_".join(f"{name}_1" for name in fields)
                    raise DuplicateKeyError(f"Duplicate key error: index={index} value={tuple(mine)}")

    def update(self, query: Query, data: Mapping[str, Any], *, first: bool = False) -> list[int]:
        """Set fields of the matching experiments, or of the first of them; returns their numbers in the store.

        Guarantees: an experiment that somebody changed meanwhile is looked at again, so no change is lost.
        """
        done: list[int] = []
        with self._lock:
            while True:
                self._refresh()
                open_ = [(number, document) for number, document in self._matching(query) if number not in done]
                for number, document in open_[:1] if first else open_:
                    after = changed(document, data)
                    self._require_unique(after, number)
                    if self._save(number, after, self._decoded[number][0]):
                        done.append(number)
                    else:
                        break  # somebody was first
                else:
                    return done

    def _save(self, number: int, document: Mapping[str, Any], revision: int | None = None) -> bool:
        with self._store._catalog.view(refresh=False) as catalog:
            entry = catalog.experiments.get(number)
        if entry is None:
            return False
        stored = pack({_DOCUMENT: to_stored(document)}, "experiment")
        config = {
            "metadata": {**entry.config["metadata"], _MEMBER: stored},
            "space": space_of(document).to_json(),
            **_limits(document),
        }
        draft = Draft("update_experiment", {"id": number, "revision": revision, "config": config})
        return self._store._catalog.execute(draft)[-1].reason is None

    def remove(self, query: Query) -> int:
        """Drop the matching experiments, with their trials; returns how many."""
        with self._lock:
            self._refresh()
            removed = 0
            for number, _ in self._matching(query):
                outcome = self._store._catalog.execute(Draft("drop_experiment", {"id": number}))[-1]
                removed += outcome.reason is None
            return removed

    # Trials

    def trials_of(self, uid: Any, *, create: bool = False) -> list[Trials]:
        """Where the trials of an experiment with this `_id` are.

        Args:
            uid: Of a document, or of none: trials may come without one.
            create: Make a place when there is none.
        """
        with self._lock:
            return [self._open(number, uid) for number in self.homes_of(uid, create=create)]

    def homes_of(self, uid: Any, *, create: bool = False) -> list[int]:
        """Numbers of the store's experiments that hold what belongs to this `_id`; see `trials_of`."""
        with self._lock:
            self._refresh()
            homes = self._homes.get(_hashable(uid), [])
            if not homes and create:
                metadata = {"tool": _MEMBER, _MEMBER: {_TRIALS_OF: to_stored(uid)}}
                name = f"orion trials of {uid!r}"[:1000]
                made = self._store.create_experiment(
                    name, version=None, metadata=metadata, repeats=False, metrics=[Metric("objective")]
                )
                homes = [made.id]
            return homes

    def all_trials(self) -> Iterator[Trials]:
        """Where the trials of all experiments are."""
        with self._lock:
            self._refresh()
            places = [
                (number, self._documents[number]["_id"] if kind == _DOCUMENT else value)
                for number, (_, kind, value) in self._decoded.items()
                if kind and number in self._known()
            ]
            opened = [self._open(number, uid) for number, uid in sorted(places, key=lambda place: place[0])]
        yield from opened

    def _known(self) -> set[int]:
        return {number for numbers in self._homes.values() for number in numbers}

    def _open(self, number: int, uid: Any) -> Trials:
        trials = self._trials.get(number)
        if trials is None or trials.uid != uid:
            trials = self._trials[number] = Trials(self.experiment(number), uid)
        return trials

    def experiment(self, number: int) -> Experiment:
        """The store's experiment of a number."""
        with self._store._catalog.view(refresh=False) as catalog:
            entry = catalog.experiments.get(number)
        if entry is None:
            raise ConflictError("experiment was deleted meanwhile", id=number)
        return self._store._open_experiment(entry)


def _decode(entry: ExperimentEntry) -> tuple[str, Any]:
    """What an experiment of the store is for Oríon; an empty kind when nothing."""
    packed = entry.config["metadata"].get(_MEMBER)
    member = unpack(packed) if isinstance(packed, dict) else None
    if isinstance(member, dict):
        for kind in (_DOCUMENT, _TRIALS_OF):
            if kind in member:
                return kind, from_stored(member[kind])
    return "", None


def _hashable(uid: Any) -> Any:
    try:
        hash(uid)
    except TypeError:
        return repr(uid)
    return uid


def _field(document: Mapping[str, Any], name: str) -> Any:
    value: Any = document
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _limits(document: Mapping[str, Any]) -> dict[str, Any]:
    """The limits that the store has a member for; Oríon's may also be infinite."""
    limits: dict[str, Any] = {}
    for name in ("max_trials", "max_broken"):
        value = document.get(name)
        limits[name] = value if type(value) is int and 0 < value < 2**53 else None
    return limits
