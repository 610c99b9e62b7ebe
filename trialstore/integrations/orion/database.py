"""Oríon's database interface over a store: experiments, trials and algorithms are the store's own."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import orion.core
from orion.core.io.database import Database, DatabaseError, DatabaseTimeout
from orion.core.io.database.pickleddb import DEFAULT_HOST

import trialstore
from trialstore.integrations.orion.algorithms import Algorithm
from trialstore.integrations.orion.experiments import Experiments
from trialstore.integrations.orion.queries import Query, selected
from trialstore.integrations.orion.small import SmallCollections
from trialstore.integrations.orion.trials import Trials
from trialstore.model.errors import StoreUnavailableError, TrialStoreError
from trialstore.store import Store

__all__ = ["TrialStoreDB", "default_url", "told"]

P = ParamSpec("P")
T = TypeVar("T")


def told(method: Callable[P, T]) -> Callable[P, T]:
    """A method with errors of Oríon's: a store out of reach is a `DatabaseTimeout`, the rest a `DatabaseError`."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except StoreUnavailableError as error:
            raise DatabaseTimeout(str(error)) from error
        except TrialStoreError as error:
            raise DatabaseError(str(error)) from error

    return call


def default_url() -> str:
    """Where Oríon's store is when nothing says where: beside the file that Oríon would use."""
    return os.path.join(orion.core.DIRS.user_data_dir, "orion", "trialstore")


class TrialStoreDB(Database):  # type: ignore[misc]
    """A store as a database of Oríon: ``database: {type: trialstoredb, host: <url>}`` under ``type: legacy``.

    Every query and change has the semantics of Oríon's own databases. `TrialStore`, the storage, is quicker: use
    this where a database is asked for.

    Args:
        host: Path or URL of the store, which is created when it is not there.
        name: Not used; every store is one database.
        options: Of `trialstore.open`: durability, storage_options, lease_s, mode, maintenance.

    Attributes:
        store: The `trialstore.Store` underneath.
    """

    store: Store
    _db: Any

    def __init__(self, host: str | None = None, name: str | None = None, **options: Any) -> None:
        chosen = {option: value for option, value in options.items() if option not in ("port", "username", "password")}
        super().__init__(host=default_url() if host in (None, "", DEFAULT_HOST) else host, name=name, **chosen)

    @told
    def initiate_connection(self) -> None:
        """Open the store, unless it is open."""
        if self._db is None:
            self.store = trialstore.open(self.host, **self.options)
            self._connect()

    def _connect(self) -> None:
        self._db = SmallCollections(self.store)
        self._experiments = Experiments(self.store, lambda: self._db.indexes("experiments").values())
        self._algorithms: dict[int, Algorithm] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the store is open."""
        return self._db is not None

    def close_connection(self) -> None:
        """Commit what waits, and close the store."""
        if self._db is not None:
            self.store.close()
            self._db = None

    def __getstate__(self) -> dict[str, Any]:
        names = ("host", "name", "port", "username", "password", "options", "store", "_conn")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()

    @classmethod
    def get_defaults(cls) -> dict[str, Any]:
        """Where the store is when nothing says where."""
        return {"host": default_url()}

    # Indexes

    @told
    def ensure_index(self, collection_name: str, keys: Any, unique: bool = False) -> None:
        """Make an index; one that need not be unique says nothing that a store has to know."""
        if unique:
            self.ensure_indexes([(collection_name, keys)])

    def ensure_indexes(self, wanted: Sequence[tuple[str, Any]]) -> None:
        """Make several unique indexes at once: of a collection, over a field or fields with an order."""
        plain = []
        for name, keys in wanted:
            fields = (
                (keys,) if isinstance(keys, str) else tuple(key if isinstance(key, str) else key[0] for key in keys)
            )
            if name in ("trials", "algo") and fields != ("experiment", "id"):
                raise DatabaseError(f"no such unique index can be kept: collection={name} fields={fields}")
            plain.append((name, fields))
        self._db.ensure_indexes(plain)
        for name, _ in plain:
            if name not in ("experiments", "trials", "algo"):
                self._db.write(name, lambda collection: None)  # refuses when two documents are alike

    @told
    def index_information(self, collection_name: str) -> dict[str, bool]:
        """Names of the unique indexes."""
        return {"_id_": True, **dict.fromkeys(self._db.indexes(collection_name), True)}

    @told
    def drop_index(self, collection_name: str, name: str) -> None:
        """Forget an index.

        Raises:
            DatabaseError: there is none of this name.
        """
        if not self._db.drop_index(collection_name, name):
            raise DatabaseError(f"index not found with name {name}")

    # Documents

    @told
    def write(self, collection_name: str, data: Any, query: Mapping[str, Any] | None = None) -> int:
        """Add documents, which get an `_id`, or set fields of those that match; returns how many."""
        if query is not None:
            return self._update(collection_name, Query(query), data)
        documents = list(data) if isinstance(data, list | tuple) else [data]
        if collection_name == "experiments":
            for document in documents:
                self.experiments.insert(document)
        elif collection_name == "trials":
            self._insert_trials(documents)
        elif collection_name == "algo":
            for document in documents:
                self.algorithm(document.get("experiment"), create=True).insert(document)  # type: ignore[union-attr]
        else:
            self._db.write(collection_name, lambda collection: collection.insert_many(documents))
        return len(documents)

    def _insert_trials(self, documents: list[dict[str, Any]]) -> None:
        together: list[tuple[Any, list[dict[str, Any]]]] = []
        for document in documents:
            uid = document.get("experiment")
            if together and together[-1][0] == uid:
                together[-1][1].append(document)
            else:
                together.append((uid, [document]))
        for uid, some in together:
            self.experiments.trials_of(uid, create=True)[0].insert(some)

    def _update(self, name: str, query: Query, data: Mapping[str, Any]) -> int:
        if name == "experiments":
            return len(self.experiments.update(query, data))
        if name == "trials":
            return sum(self._update_trials(trials, query, data) for trials in self._trials(query))
        if name == "algo":
            return sum(algorithm.update(query, data) is not None for algorithm in self._some_algorithms(query))
        return int(self._db.write(name, lambda collection: collection.update_many(query.conditions, {"$set": data})))

    def _update_trials(self, trials: Trials, query: Query, data: Mapping[str, Any]) -> int:
        """Set fields of trials; those that get another experiment move there."""
        if "experiment" in data and data["experiment"] != trials.uid:
            moved = [{**document, **data} for document in trials.find(query)]
            if moved:
                trials.remove(Query({"_id": {"$in": [document["_id"] for document in moved]}}))
                self._insert_trials(moved)
            return len(moved)
        return len(trials.update(query, data))

    @told
    def read(
        self, collection_name: str, query: Mapping[str, Any] | None = None, selection: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Documents that match, or what a selection leaves of them."""
        asked = Query(query)
        if collection_name == "experiments":
            found = self.experiments.find(asked)
        elif collection_name == "trials":
            found = [document for trials in self._trials(asked) for document in trials.find(asked)]
        elif collection_name == "algo":
            documents = [algorithm.read() for algorithm in self._some_algorithms(asked)]
            found = [document for document in documents if document is not None and asked.matches(document)]
        else:
            wanted = None if selection is None else dict(selection)
            return list(self._db.read(collection_name, lambda small: small.find(asked.conditions, wanted)))
        return [selected(document, selection) for document in found]

    @told
    def read_and_write(
        self,
        collection_name: str,
        query: Mapping[str, Any],
        data: Mapping[str, Any],
        selection: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """Set fields of the first document that matches; what it is then, or None."""
        asked = Query(query)
        after: dict[str, Any] | None = None
        if collection_name == "experiments":
            for number in self.experiments.update(asked, data, first=True):
                after = self.experiments.document(number)
        elif collection_name == "trials":
            for trials in self._trials(asked):
                numbers = trials.update(asked, data, first=True)
                if numbers:
                    after = trials.document(numbers[0])
                    break
        elif collection_name == "algo":
            changes = (algorithm.update(asked, data) for algorithm in self._some_algorithms(asked))
            after = next((document for document in changes if document is not None), None)
        else:
            after = self._db.write(collection_name, lambda small: _change_first(small, asked, data))
        return None if after is None else selected(after, selection)

    @told
    def count(self, collection_name: str, query: Mapping[str, Any] | None = None) -> int:
        """How many documents match."""
        if collection_name == "trials":
            asked = Query(query)
            return sum(trials.count(asked) for trials in self._trials(asked))
        return len(self.read(collection_name, query))

    @told
    def remove(self, collection_name: str, query: Mapping[str, Any] | None) -> int:
        """Delete the documents that match; returns how many."""
        asked = Query(query)
        if collection_name == "experiments":
            return self.experiments.remove(asked)
        if collection_name == "trials":
            return sum(trials.remove(asked) for trials in self._trials(asked))
        if collection_name == "algo":
            return sum(algorithm.remove(asked) for algorithm in self._some_algorithms(asked))
        return int(self._db.write(collection_name, lambda small: small.delete_many(asked.conditions)))

    # Where things are

    @property
    def experiments(self) -> Experiments:
        """Oríon's experiments in the store."""
        return self._experiments

    def _trials(self, query: Query) -> list[Trials]:
        uids = query.values("experiment")
        if uids is None:
            return [trials for trials in self.experiments.all_trials() if query.allows("experiment", trials.uid)]
        return [trials for uid in uids for trials in self.experiments.trials_of(uid)]

    def _some_algorithms(self, query: Query) -> list[Algorithm]:
        uids = query.values("experiment")
        if uids is None:
            uids = list(dict.fromkeys(trials.uid for trials in self.experiments.all_trials()))
        found = (self.algorithm(uid) for uid in uids)
        return [algorithm for algorithm in found if algorithm is not None]

    def algorithm(self, uid: Any, *, create: bool = False) -> Algorithm | None:
        """The algorithm of the experiment with this `_id`; None when there is no such experiment, and none is made."""
        homes = self.experiments.homes_of(uid, create=create)
        if not homes:
            return None
        algorithm = self._algorithms.get(homes[0])
        if algorithm is None:
            algorithm = self._algorithms[homes[0]] = Algorithm(self.experiments.experiment(homes[0]), uid)
        return algorithm


def _change_first(small: Any, query: Query, data: Mapping[str, Any]) -> dict[str, Any] | None:
    found = small.find(query.conditions)
    if not found:
        return None
    one = {"_id": found[0]["_id"]}
    small.update_many(one, {"$set": dict(data)})
    after: dict[str, Any] = small.find(one)[0]
    return after
