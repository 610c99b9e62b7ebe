"""Optuna's storage on a store."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Literal
from uuid import uuid4

from optuna import logging
from optuna._experimental import warn_experimental_argument
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.storages._base import DEFAULT_STUDY_NAME_PREFIX
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

import trialstore.store
from trialstore.blobs.protocol import Blobs
from trialstore.experiment import Experiment
from trialstore.integrations.optuna.heartbeats import Heartbeats
from trialstore.integrations.optuna.linking import LINK, adopt, home_of_study, home_of_trial
from trialstore.integrations.optuna.naming import (
    METADATA,
    earlier_names,
    experiment_name,
    find_study,
    split_id,
    study_name,
    trial_id,
)
from trialstore.integrations.optuna.study import Study
from trialstore.integrations.optuna.trials import attribute, copied
from trialstore.journal.catalog import Catalog, ExperimentEntry
from trialstore.journal.journal import Draft
from trialstore.model.codec import pack, pack_dict, unpack
from trialstore.model.errors import DuplicateExperimentError, UsageError
from trialstore.model.metric import Metric
from trialstore.store import Store

__all__ = ["TrialStoreStorage"]

_logger = logging.get_logger(__name__)

_METRIC_NAMES = "study:metric_names"
_ATTR_LIMIT_BYTES = 16 << 20

_entering = threading.Lock()

StaleCallback = Callable[[Any, FrozenTrial], None]


class TrialStoreStorage(BaseStorage, BaseHeartbeat):
    """Studies in one folder or bucket, for any number of threads, processes and machines.

    Guarantees: the end of a trial is durable when the call returns, and so is all that was set through this object in
    that study before; of those who start a waiting trial one succeeds; a finished trial never changes; ids of studies
    and trials are never used again. A new trial, and a step to another state, is in the store when the call returns;
    where that is a folder, a crash of the machine can take it back until the next trial has ended or the linger is
    over. Parameters, attributes and intermediate values are seen by others with the next such call, at the latest
    after the linger. Under ``durability="strict"`` each is seen and durable at once.

    A study is an experiment of the store, and every experiment of the store is a study. Objects may be pickled, and
    used after a fork.

    Args:
        url: Where the store is, as for `trialstore.open`, or an open store.
        heartbeat_interval: Seconds between the heartbeats of a trial; None for none.
        grace_period: Seconds without a heartbeat after which a running trial is stale; twice the interval by default.
        heartbeat_stale_trial_callback: Called with the study and each trial that was found stale.
        failed_trial_callback: The same, by the name that it had before Optuna 4.9.
        storage_options: For fsspec's filesystem: credentials, endpoint, and so on.
        durability: ``"machine"`` or ``"process"``, as for `trialstore.open`; ``"strict"`` is ``"machine"`` and makes
            every call durable when it returns.
        options: Others of `trialstore.open`: linger_s, lease_s, maintenance, mode.

    Raises:
        ValueError: the interval or the grace period is not positive.
        UsageError: see `trialstore.open`.

    Example:
        >>> import optuna
        >>> from trialstore.integrations.optuna import TrialStoreStorage
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(storage=TrialStoreStorage("memory://doctest/optuna"), study_name="tune")
        >>> study.optimize(lambda trial: trial.suggest_float("lr", 0, 1) ** 2, n_trials=3)
        >>> len(study.trials)
        3
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | Blobs | Store,
        *,
        heartbeat_interval: int | None = None,
        grace_period: int | None = None,
        heartbeat_stale_trial_callback: StaleCallback | None = None,
        failed_trial_callback: StaleCallback | None = None,
        storage_options: Mapping[str, Any] | None = None,
        durability: Literal["machine", "process", "strict"] = "machine",
        **options: Any,
    ) -> None:
        for name, seconds in (("heartbeat_interval", heartbeat_interval), ("grace_period", grace_period)):
            if seconds is not None and seconds <= 0:
                raise ValueError(f"The value of `{name}` should be a positive integer.")
        if heartbeat_interval is not None:
            warn_experimental_argument("heartbeat_interval")
        if heartbeat_stale_trial_callback is not None and failed_trial_callback is not None:
            raise ValueError("Specify only one of `heartbeat_stale_trial_callback` and `failed_trial_callback`.")
        self.heartbeat_interval = heartbeat_interval
        self.grace_period = grace_period
        self.heartbeat_stale_trial_callback = heartbeat_stale_trial_callback or failed_trial_callback
        self._strict = durability == "strict"
        self._opened = not isinstance(url, Store)
        if isinstance(url, Store):
            if storage_options or options:
                raise UsageError("an open store has its options already", hint="pass them to trialstore.open")
            self.store = url
        else:
            lasts = "machine" if durability == "strict" else durability
            self.store = trialstore.store.open(url, storage_options=storage_options, durability=lasts, **options)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._studies: dict[int, Study] = {}
        self._heartbeats: dict[int, Heartbeats] = {}
        self._process = os.getpid()

    @property
    def url(self) -> str:
        """The store's address."""
        return self.store.url

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        kept = ("heartbeat_interval", "grace_period", "heartbeat_stale_trial_callback", "_strict", "_opened", "store")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def experiment(self, study_id: int) -> Experiment:
        """The experiment of the store that a study is, with all that was set through this object.

        Raises:
            KeyError: there is no such study.
        """
        study = self._study(study_id, look=True)
        if study.has_waiting:
            study.commit()
        return self.store._open_experiment(study.ledger.entry)

    def flush(self) -> None:
        """Commit all that was set through this object; others see it when this returns."""
        if self._process == os.getpid():
            for study in list(self._studies.values()):
                if study.has_waiting:
                    study.commit()

    def close(self) -> None:
        """Commit all that was set through this object, and close the store when this object has opened it."""
        self.flush()
        if self._opened:
            self.store.close()

    def remove_session(self) -> None:
        """Commit all that was set through this object."""
        self.flush()

    # Studies

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """See `BaseStorage`."""
        name = DEFAULT_STUDY_NAME_PREFIX + str(uuid4()) if study_name is None else study_name
        called, told = experiment_name(name)
        told["directions"] = [int(direction) for direction in directions]
        metrics = [
            Metric(metric, minimize=direction is not StudyDirection.MAXIMIZE)
            for metric, direction in zip(_default_names(len(directions)), directions, strict=True)
        ]
        try:
            experiment = self.store.create_experiment(called, metrics=metrics, metadata={METADATA: told})
        except DuplicateExperimentError:
            raise DuplicatedStudyError(f"Another study with name '{name}' already exists.") from None
        _logger.info(f"A new study created in the store with name: {name}")
        return experiment.id

    def delete_study(self, study_id: int) -> None:
        """See `BaseStorage`."""
        study = self._study(study_id, look=True)
        outcome = self.store._catalog.execute(Draft("drop_experiment", {"id": study_id}))[-1]
        with self._lock:
            self._studies.pop(study_id, None)
            self._heartbeats.pop(study_id, None)
        self.store._ledgers.pop(study.id, None)
        if outcome.reason is not None:
            raise _no_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`; durable when it returns."""
        self._set_study_attr(study_id, _USER + key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`; durable when it returns. The metric names become those of the experiment."""
        self._set_study_attr(study_id, _SYSTEM + key, value)
        if key == _METRIC_NAMES:
            self._rename_metrics(study_id, value)
        elif key.startswith(LINK):
            adopt(home_of_study(self.store, study_id, value), key.removeprefix(LINK))

    def _set_study_attr(self, study_id: int, name: str, value: Any) -> None:
        fields = {"name": name, "value": [pack(attribute(value), name)], "revision": None}
        self._study(study_id, look=True).execute(Draft("document", fields))

    def _rename_metrics(self, study_id: int, names: Any) -> None:
        study = self._study(study_id)
        entry = study.ledger.entry
        metrics = [Metric.from_json(body) for body in entry.config["metrics"]]
        told = entry.config["metadata"].get(METADATA)
        if told is None or len(set(names)) < len(metrics) or names == [metric.name for metric in metrics]:
            return
        renamed = [Metric(name, metric.minimize) for name, metric in zip(names, metrics, strict=True)]
        before = [*earlier_names(entry), metrics[0].name]
        metadata = {**entry.config["metadata"], METADATA: {**told, "earlier_names": before}}
        config = {"metrics": [metric.to_json() for metric in renamed], "metadata": pack_dict(metadata, "metadata")}
        self.store._catalog.execute(Draft("update_experiment", {"id": study_id, "revision": None, "config": config}))
        self._study(study_id, look=True)

    def get_study_id_from_name(self, study_name: str) -> int:
        """See `BaseStorage`."""
        with self._catalog() as catalog:
            entry = find_study(catalog, study_name)
        if entry is None:
            raise KeyError(f"No study with the name {study_name!r} exists in {self.url}.")
        return entry.id

    def get_study_name_from_id(self, study_id: int) -> str:
        """See `BaseStorage`."""
        return study_name(self._entry(study_id))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """See `BaseStorage`."""
        return self._study(study_id, look=True).directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """See `BaseStorage`."""
        return self._study_attrs(self._study(study_id, look=True), _USER)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """See `BaseStorage`."""
        return self._study_attrs(self._study(study_id, look=True), _SYSTEM)

    def _study_attrs(self, study: Study, prefix: str) -> dict[str, Any]:
        with study.ledger.journal.view() as state:
            stored = {name: v for name, (_, v) in state.documents.items() if name.startswith(prefix) and v is not None}
        return {name[len(prefix) :]: unpack(value[0]) for name, value in stored.items()}

    def get_all_studies(self) -> list[FrozenStudy]:
        """See `BaseStorage`."""
        with self._catalog() as catalog:
            ids = sorted(catalog.experiments)
        studies = []
        for study_id in ids:
            try:
                study = self._study(study_id)
            except KeyError:  # deleted meanwhile
                continue
            studies.append(
                FrozenStudy(
                    study_name=study_name(study.ledger.entry),
                    direction=None,
                    directions=study.directions,
                    user_attrs=self._study_attrs(study, _USER),
                    system_attrs=self._study_attrs(study, _SYSTEM),
                    study_id=study_id,
                )
            )
        return studies

    # Trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See `BaseStorage`. Cost: one commit."""
        study = self._study(study_id, look=self.store._catalog.reads_are_cheap)
        return trial_id(study_id, study.create(template_trial))

    def create_new_trials(self, study_id: int, template_trials: Sequence[FrozenTrial]) -> list[int]:
        """Add many trials with all that they have, in one commit: all of them or none; their ids.

        Args:
            study_id: Of the study.
            template_trials: What to copy; numbers and ids are given anew.
        """
        numbers = self._study(study_id, look=True).create_many(template_trials) if template_trials else ()
        return [trial_id(study_id, number) for number in numbers]

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """See `BaseStorage`."""
        study, number = self._of(trial_id)
        study.set_param(number, param_name, param_value_internal, distribution)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """See `BaseStorage`."""
        if trial_number < 0:
            raise KeyError(f"No trial with trial number {trial_number} exists in study with study_id {study_id}.")
        self._study(study_id).trial(trial_number)
        return trial_id(study_id, trial_number)

    def get_trial_number_from_id(self, trial_id: int) -> int:
        """See `BaseStorage`."""
        study, number = self._of(trial_id)
        return int(study.trial(number).number)

    def get_trial_param(self, trial_id: int, param_name: str) -> float:
        """See `BaseStorage`."""
        trial = self.get_trial(trial_id)
        return float(trial.distributions[param_name].to_internal_repr(trial.params[param_name]))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """See `BaseStorage`. Cost: one commit, which takes along what was set before."""
        study, number = self._of(trial_id)
        is_taken = study.step(number, state, values)
        heartbeats = self._heartbeats.get(study.id)
        if heartbeats is not None and state.is_finished():
            heartbeats.forget(number)
        return is_taken

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """See `BaseStorage`."""
        study, number = self._of(trial_id)
        study.set_step(number, int(step), float(intermediate_value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        self._set_trial_attr(trial_id, key, value, system=False)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        self._set_trial_attr(trial_id, key, value, system=True)
        if key.startswith(LINK):
            self.flush()  # who stores the artifact may be another process, and looks for this
            adopt(home_of_trial(self.store, trial_id, value), key.removeprefix(LINK))

    def _set_trial_attr(self, trial_id: int, key: str, value: Any, *, system: bool) -> None:
        study, number = self._of(trial_id)
        if type(value) in (bool, int, float, type(None)):
            size_bytes = 64
        else:
            text = json.dumps(value)
            size_bytes = 64 + len(text)
            if size_bytes > _ATTR_LIMIT_BYTES:
                raise ValueError(f"an attribute can have {_ATTR_LIMIT_BYTES} bytes as JSON, not {size_bytes}: {key!r}")
            value = json.loads(text)
        study.set_attr(number, key, value, size_bytes, system=system)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See `BaseStorage`; the trial is the caller's own copy."""
        study, number = self._of(trial_id)
        return study.trial(number)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """See `BaseStorage`. Cost: what changed since the last look, and a pointer (or a copy) for each trial."""
        trials = self._study(study_id).trials(states)
        return [copied(trial) for trial in trials] if deepcopy else trials

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """See `BaseStorage`. Not a copy: Optuna makes one where its user may change it."""
        study = self._study(study_id)
        best = study.best()
        if best is None:
            raise ValueError("No trials are completed yet.")
        if len(study.directions) > 1:
            raise RuntimeError("Best trial can be obtained only for single-objective optimization.")
        return best

    # Heartbeats

    def record_heartbeat(self, trial_id: int) -> None:
        """See `BaseHeartbeat`. Cost: one write."""
        study, number = self._of(trial_id)
        self._beats(study).beat(number, self._grace_s())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        if self.heartbeat_interval is None:
            return []
        study = self._study(study_id)
        stale = self._beats(study).stale(study.running(), self._grace_s())
        return [trial_id(study_id, number) for number in stale]

    def get_heartbeat_interval(self) -> int | None:
        """See `BaseHeartbeat`."""
        return self.heartbeat_interval

    def get_heartbeat_stale_trial_callback(self) -> StaleCallback | None:
        """See `BaseHeartbeat`."""
        return self.heartbeat_stale_trial_callback

    def get_failed_trial_callback(self) -> StaleCallback | None:
        """The same, by the name that it had before Optuna 4.9."""
        return self.heartbeat_stale_trial_callback

    def _grace_s(self) -> float:
        if self.grace_period is not None:
            return self.grace_period
        return 2.0 * (self.heartbeat_interval or 0)

    def _beats(self, study: Study) -> Heartbeats:
        with self._lock:
            beats = self._heartbeats.get(study.id)
            if beats is None:
                beats = self._heartbeats[study.id] = Heartbeats(study.ledger)
            return beats

    # Finding what an id means

    def _catalog(self) -> Any:
        return self.store._catalog.view()

    def _entry(self, study_id: int) -> ExperimentEntry:
        with self._catalog() as catalog:
            return _found(catalog, study_id)

    def _study(self, study_id: int, look: bool = False) -> Study:
        """The study of an id.

        Args:
            study_id: Its id.
            look: Whether to see first that nobody has deleted it.

        Raises:
            KeyError: there is none.
        """
        if self._process != os.getpid():
            with _entering:
                if self._process != os.getpid():
                    self._reset()  # what the parent had set is the parent's to commit
        study = self._studies.get(study_id)
        if study is not None and not look:
            return study
        with self._catalog() as catalog:
            entry = catalog.experiments.get(study_id)
        if entry is None:
            self._studies.pop(study_id, None)
            raise _no_study(study_id)
        if study is not None:
            study.ledger.entry = entry
            return study
        with self._lock:
            study = self._studies.get(study_id)
            if study is None:
                experiment: Experiment = self.store._open_experiment(entry)
                study = self._studies[study_id] = Study(experiment, strict=self._strict)
            return study

    def _of(self, trial_id: int) -> tuple[Study, int]:
        study_id, number = split_id(trial_id)
        try:
            return self._study(study_id), number
        except KeyError:
            raise KeyError(f"No trial with trial-id {trial_id} found.") from None


_USER, _SYSTEM = "optuna.user.", "optuna.system."


def _default_names(count: int) -> list[str]:
    return ["value"] if count == 1 else [f"value_{index}" for index in range(count)]


def _found(catalog: Catalog, study_id: int) -> ExperimentEntry:
    entry = catalog.experiments.get(study_id)
    if entry is None:
        raise _no_study(study_id)
    return entry


def _no_study(study_id: int) -> KeyError:
    return KeyError(f"No study with the id {study_id} exists.")
