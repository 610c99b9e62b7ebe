"""Collections of Oríon's database beside experiments, trials and algorithms: benchmarks, and what users add."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from orion.core.io.database.ephemeraldb import EphemeralCollection

from trialstore.integrations.orion.values import from_stored, to_stored
from trialstore.model.errors import StaleRevisionError
from trialstore.store import Store

__all__ = ["SmallCollections", "index_name"]

_PREFIX = "orion.collection."
_INDEXES = "orion.indexes"
T = TypeVar("T")


class SmallCollections:
    """Each collection is one document of the store, which is read, changed and written whole.

    Guarantees: a change is made to what is there, or tried again: none is lost, whoever else writes.

    Args:
        store: Of any backend.

    Cost: grows with the collection; they are meant for some hundred documents.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, name: str, look: Callable[[EphemeralCollection], T]) -> T:
        """What a look at a collection gives."""
        return look(self._load(name)[1])

    def write(self, name: str, change: Callable[[EphemeralCollection], T]) -> T:
        """Change a collection, and return what the change does.

        Raises:
            DuplicateKeyError: the change breaks an index; nothing was changed.
        """
        while True:
            revision, collection = self._load(name)
            result = change(collection)
            documents = [to_stored(document) for document in collection.find()]
            try:
                self._store.set_document(_PREFIX + name, {"documents": documents}, revision=revision)
            except StaleRevisionError:
                continue
            return result

    def _load(self, name: str) -> tuple[int, EphemeralCollection]:
        revision, stored = self._store.document(_PREFIX + name)
        collection = EphemeralCollection()
        for keys in self.indexes(name).values():
            collection.create_index([(key, None) for key in keys], unique=True)
        if stored is not None:
            collection.insert_many(from_stored(stored["documents"]))
        return revision, collection

    # Indexes of all collections

    def indexes(self, name: str) -> dict[str, tuple[str, ...]]:
        """Fields that must be unique together in a collection, by the index's name."""
        _, stored = self._store.document(_INDEXES)
        return {index: tuple(keys) for index, keys in (stored or {}).get(name, {}).items()}

    def ensure_indexes(self, wanted: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """Make indexes that are not there yet: of a collection, over fields."""
        wanted = list(wanted)
        while True:
            revision, stored = self._store.document(_INDEXES)
            indexes = {name: dict(keys) for name, keys in (stored or {}).items()}
            for name, keys in wanted:
                indexes.setdefault(name, {}).setdefault(index_name(keys), list(keys))
            if indexes == (stored or {}):
                return
            try:
                self._store.set_document(_INDEXES, indexes, revision=revision)
            except StaleRevisionError:
                continue
            return

    def drop_index(self, name: str, index: str) -> bool:
        """Forget an index; whether there was one."""
        while True:
            revision, stored = self._store.document(_INDEXES)
            if index not in (stored or {}).get(name, {}):
                return False
            indexes = {other: dict(keys) for other, keys in stored.items()}
            del indexes[name][index]
            try:
                self._store.set_document(_INDEXES, indexes, revision=revision)
            except StaleRevisionError:
                continue
            return True


def index_name(keys: tuple[str, ...]) -> str:
    """What Oríon calls an index over fields."""
    return "_id_" if keys == ("_id",) else "_".join(f"{key}_1" for key in keys)
