"""Oríon's storage protocol over a store: ``storage: {type: trialstore, url: <path or URL>}``."""

from __future__ import annotations

import datetime
import logging
import pickle
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orion.core.io.database import OutdatedDatabaseError
from orion.core.utils import backward
from orion.core.worker.trial import Trial, validate_status
from orion.storage.base import (
    FailedUpdate,
    LockAcquisitionTimeout,
    LockedAlgorithmState,
    get_trial_uid_and_exp,
    get_uid,
)
from orion.storage.legacy import Legacy

from trialstore.integrations.orion.collecting import uncollected
from trialstore.integrations.orion.database import TrialStoreDB, told
from trialstore.integrations.orion.queries import Query
from trialstore.store import Store

__all__ = ["TrialStore"]

_log = logging.getLogger(__name__)
_PENDING = ["new", "suspended", "interrupted"]


class TrialStore(Legacy):  # type: ignore[misc]
    """A store as the storage of Oríon, which finds it by the name ``trialstore`` once this package is installed.

    Every experiment of Oríon is an experiment of the store and every trial a trial of it, with typed parameters,
    results as metrics, and the store's statuses: `store.sql` sees them while workers run.

    Guarantees: what a returned call wrote is in the store. Where that is a folder, a crash of the machine can take back
    what was written of trials since the last one ended, until the linger is over. Of workers that reserve at once no
    two get the same trial; a status is set only where it is the expected one; a trial's id is registered once in an
    experiment; one process at a time has the algorithm. A process that dies with its lock loses it when its lease
    (300 s) runs out.

    Args:
        url: Path or URL of the store, which is created when it is not there.
        database: What Oríon's configuration says of a database: its ``host`` is the URL where `url` is not given.
        setup: Whether to make the indexes that Oríon asks for.
        options: Of `trialstore.open`: durability, storage_options, lease_s, maintenance.

    Example:
        >>> import tempfile
        >>> from orion.storage.base import setup_storage
        >>> storage = setup_storage({"type": "trialstore", "url": tempfile.mkdtemp()})
        >>> uid = storage.create_experiment(document := {"name": "tune", "version": 1})
        >>> storage.fetch_experiments({"name": "tune"}) == [document]
        True

    Source: Oríon, `orion.storage.base.BaseStorageProtocol`.
    """

    def __init__(
        self,
        url: str | None = None,
        database: Mapping[str, Any] | None = None,
        setup: bool = True,
        **options: Any,
    ) -> None:
        if url is None:
            url = (database or {}).get("host")
        self._db = TrialStoreDB(host=url, **options)
        if setup:
            self._setup_db()

    @property
    def store(self) -> Store:
        """The store underneath."""
        store: Store = self._db.store
        return store

    @told
    def _setup_db(self) -> None:
        if backward.db_is_outdated(self._db):
            raise OutdatedDatabaseError("The database is outdated. You can upgrade it with `orion db upgrade`.")
        unique = [("experiments", ("name", "version")), ("benchmarks", ("name",)), ("trials", ("experiment", "id"))]
        missing = [item for item in unique if "_".join(f"{key}_1" for key in item[1]) not in self._known(item[0])]
        if missing:
            self._db.ensure_indexes(missing)

    def _known(self, collection: str) -> dict[str, bool]:
        known: dict[str, bool] = self._db.index_information(collection)
        return known

    # Trials

    def _trials(self, uid: Any) -> Any:
        return self._db.experiments.trials_of(uid)

    def _fetch_trials(self, query: Mapping[str, Any], selection: Mapping[str, Any] | None = None) -> list[Trial]:
        """Trials that match, in the order in which they were submitted."""
        if selection is not None:
            return super()._fetch_trials(query, selection)  # type: ignore[no-any-return]
        return self._built(Query(query))

    @told
    def _built(self, query: Query) -> list[Trial]:
        with uncollected():
            trials = [Trial(**document) for kept in self._db._trials(query) for document in kept.find(query)]
        trials.sort(key=lambda trial: 0 if trial.submit_time is None else trial.submit_time)
        return trials

    @told
    def register_trial(self, trial: Trial) -> Trial:
        """Add a trial.

        Raises:
            DuplicateKeyError: the experiment has a trial of its id.
        """
        document = trial.to_dict()
        self._db._insert_trials([document])
        trial.id_override = document["_id"]
        return trial

    @told
    def get_trial(self, trial: Trial | None = None, uid: str | None = None, experiment_uid: Any = None) -> Trial | None:
        """The trial as it is stored, or None."""
        trial_uid, experiment_uid = get_trial_uid_and_exp(trial, uid, experiment_uid)
        query = Query({"id": trial_uid, "experiment": experiment_uid})
        for kept in self._trials(experiment_uid):
            for document in kept.find(query):
                return Trial(**document)
        return None

    @told
    def reserve_trial(self, experiment: Any) -> Trial | None:
        """Reserve the first trial that is new, suspended or interrupted; None when there is none."""
        for kept in self._trials(experiment._id):
            document = kept.reserve(datetime.datetime.utcnow())
            if document is not None:
                return Trial(**document)
        return None

    def push_trial_results(self, trial: Trial) -> int:
        """Store what a trial has; returns 1.

        Raises:
            FailedUpdate: it is not reserved any more.
        """
        count = self._update_one(trial, "reserved", trial.to_dict())
        if not count:
            raise FailedUpdate()
        return count

    def set_trial_status(
        self, trial: Trial, status: str, heartbeat: datetime.datetime | None = None, was: str | None = None
    ) -> None:
        """Set a status where it is the expected one in the store.

        Raises:
            FailedUpdate: the trial's status is not `was`, by default what the object says.
            ValueError: there is no such status.
        """
        heartbeat = heartbeat or datetime.datetime.utcnow()
        was = was or trial.status
        validate_status(status)
        validate_status(was)
        if not self._update_one(trial, was, {"status": status, "heartbeat": heartbeat}):
            raise FailedUpdate()
        trial.status = status

    @told
    def _update_one(self, trial: Trial, was: str, data: Mapping[str, Any]) -> int:
        """Set fields of a trial whose status is the expected one; returns how many there were."""
        query = Query({"id": data.get("id") or trial.id, "status": was})  # each look at a trial's id hashes it
        data = {name: value for name, value in data.items() if name not in ("_id", "id")}
        return sum(len(kept.update(query, data)) for kept in self._trials(trial.experiment))

    def update_heartbeat(self, trial: Trial) -> int:
        """Say that a trial's worker is alive; returns 0 when the trial is not reserved."""
        return self._update_one(trial, "reserved", {"heartbeat": datetime.datetime.utcnow()})

    @told
    def _count(self, experiment: Any, status: str) -> int:
        query = Query({"status": status})
        return sum(kept.count(query) for kept in self._trials(experiment._id))

    def count_completed_trials(self, experiment: Any) -> int:
        """How many trials are completed."""
        return self._count(experiment, "completed")

    def count_broken_trials(self, experiment: Any) -> int:
        """How many trials are broken."""
        return self._count(experiment, "broken")

    # The algorithm

    def release_algorithm_lock(self, experiment: Any = None, uid: Any = None, new_state: Any = None) -> int:
        """Free the lock whoever has it, with a new state where one is given; whether it was locked."""
        uid = get_uid(experiment, uid)
        data: dict[str, Any] = {"locked": 0, "heartbeat": datetime.datetime.utcnow()}
        if new_state is not None:
            data["state"] = pickle.dumps(new_state)
        return int(self._db.read_and_write("algo", {"experiment": uid, "locked": 1}, data) is not None)

    @contextmanager
    def acquire_algorithm_lock(
        self, experiment: Any = None, uid: Any = None, timeout: float = 60, retry_interval: float = 1
    ) -> Iterator[LockedAlgorithmState]:
        """Hold the algorithm's lock for a with-block, and save the state that it leaves; none when it raises.

        Where the lock was released by force before the block ended, or taken over when the lease had run out, no state
        is saved, and a warning is logged: what a later holder left stays.

        Raises:
            LockAcquisitionTimeout: somebody else had it all the time, or it was never initialised.
        """
        uid = get_uid(experiment, uid)
        start = time.perf_counter()
        taken = None
        while taken is None and time.perf_counter() - start < timeout:
            taken = self._take(uid)
            if taken is None:
                time.sleep(retry_interval)
        if taken is None:
            raise LockAcquisitionTimeout
        token, document = taken
        raw = document["state"]
        locked = LockedAlgorithmState(
            state=None if raw is None else pickle.loads(raw), configuration=document["configuration"], locked=True
        )
        state = None
        try:
            yield locked
            state = None if locked.state is None else pickle.dumps(locked.state)
        except BaseException:
            locked.reset()
            raise
        finally:
            if not self._give_back(uid, token, None if state == raw else state):
                _log.warning("the algorithm's lock was lost, and no state was saved, experiment=%r", uid)

    @told
    def _take(self, uid: Any) -> tuple[str, dict[str, Any]] | None:
        algorithm = self._db.algorithm(uid)
        return None if algorithm is None else algorithm.take(datetime.datetime.utcnow())

    @told
    def _give_back(self, uid: Any, token: str, state: bytes | None) -> bool:
        algorithm = self._db.algorithm(uid)
        return algorithm is not None and bool(algorithm.give_back(token, state, datetime.datetime.utcnow()))
