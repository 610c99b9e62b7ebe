"""mlos_bench's experiment, over an experiment of the store."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from mlos_bench.environments.status import Status as MlosStatus
from mlos_bench.storage.base_storage import Storage
from mlos_bench.tunables.tunable_groups import TunableGroups

from trialstore.experiment import Experiment
from trialstore.integrations.mlos_bench.life import (
    ended_records,
    next_trial_id,
    open_records,
    register,
    start_of,
)
from trialstore.integrations.mlos_bench.merging import merge, merged_rows
from trialstore.integrations.mlos_bench.repository import Repository
from trialstore.integrations.mlos_bench.statuses import to_mlos
from trialstore.integrations.mlos_bench.telemetry import telemetry_rows
from trialstore.integrations.mlos_bench.trial import TrialStoreTrial
from trialstore.integrations.mlos_bench.values import in_store_zone, results_of, storable_dict, texts
from trialstore.interning import interning_of
from trialstore.model.errors import ExperimentNotFoundError
from trialstore.model.metric import Metric
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import format_time
from trialstore.store import Store

__all__ = ["TrialStoreExperiment"]

_LOG = logging.getLogger(__name__)
_LOADED = frozenset({MlosStatus.SUCCEEDED, MlosStatus.FAILED, MlosStatus.TIMED_OUT})


class TrialStoreExperiment(Storage.Experiment):
    """An experiment in which trials are scheduled and run. `TrialStoreStorage.experiment` gives one.

    Args:
        store: Where it is.
        tunables: What is tuned.
        experiment_id: Its name.
        trial_id: The id of its first trial; of an experiment that has trials already, the next one counts.
        root_env_config: Path of the root environment's configuration.
        description: For people to read.
        opt_targets: The objectives, and which way is better.
        repository: Where `root_env_config` comes from; git is asked by default.
    """

    def __init__(
        self,
        *,
        store: Store,
        tunables: TunableGroups,
        experiment_id: str,
        trial_id: int,
        root_env_config: str,
        description: str,
        opt_targets: dict[str, Literal["min", "max"]],
        repository: Repository | None = None,
    ) -> None:
        # The base class would ask git itself, and fail where there is no remote.
        known = Repository.of(root_env_config) if repository is None else repository
        self._tunables = tunables.copy()
        self._trial_id = trial_id
        self._experiment_id = experiment_id
        self._repository = known
        self._git_repo, self._git_commit = known.git_repo, known.git_commit
        self._root_env_config = self._git_rel_root_env_config = known.path
        self._abs_root_env_config = root_env_config
        self._description = description
        self._opt_targets = opt_targets
        self._in_context = False
        self._first_id = trial_id
        self._store = store
        self._experiment: Experiment | None = None

    @property
    def experiment(self) -> Experiment:
        """The store's experiment.

        Raises:
            ExperimentNotFoundError: there is none yet: the context was never entered.
        """
        if self._experiment is None:
            self._experiment = self._store.experiment(self._experiment_id)
        return self._experiment

    @property
    def trial_id(self) -> int:
        """The id that the next trial will have, unless another process is quicker."""
        return self._trial_id

    def _setup(self) -> None:
        """Create the experiment, or go on with the one of this name."""
        super()._setup()
        try:
            found = self._store.experiment(self._experiment_id)
        except ExperimentNotFoundError:
            _LOG.info("Start new experiment: %s", self._experiment_id)
            found = self._store.create_experiment(
                self._experiment_id,
                metrics=[Metric(name, minimize=way == "min") for name, way in self._opt_targets.items()],
                metadata={"description": self._description, **self._repository.to_metadata()},
                exist_ok=True,
            )
        self._experiment = found
        following = next_trial_id(found._ledger)
        self._trial_id = self._first_id = following if following > 1 else max(1, self._trial_id)
        first = Repository.from_metadata(found.metadata)
        if first.git_commit != self._git_commit:
            _LOG.warning("Experiment %s git expected: %s %s", self, first.git_repo, first.git_commit)

    def _teardown(self, is_ok: bool) -> None:
        super()._teardown(is_ok)
        ledger = self.experiment._ledger
        ledger.commit_buffered()
        interning_of(ledger.session).flush_lingering()

    def merge(self, experiment_ids: list[str]) -> None:
        """Warm up the optimizer with the results of other experiments, now and whenever this one goes on.

        Their trials stay theirs: `load` gives them first, in the order of `experiment_ids`, with the trial id 0. Values
        of tunables that they do not have are the defaults; those that this experiment does not have are left out.

        Raises:
            ValueError: one of them is not in the store, is this experiment, or does not have its objectives; nothing
                was merged.
        """
        merge(self._store, self.experiment, experiment_ids)

    def load_tunable_config(self, config_id: int) -> dict[str, Any]:
        """The values of a configuration, as text; empty when there is none of this id."""
        try:
            return texts(self._store.configuration(config_id))
        except ExperimentNotFoundError:
            return {}

    def load_telemetry(self, trial_id: int) -> list[tuple[datetime, str, Any]]:
        """The samples of a trial by time and name, each with its value as text."""
        return telemetry_rows(self.experiment, trial_id)

    def load(
        self, last_trial_id: int = -1
    ) -> tuple[list[int], list[dict[str, Any]], list[dict[str, Any] | None], list[MlosStatus]]:
        """Trials that ended and have an id above `last_trial_id`: ids, tunables, results, and how they ended.

        Values are text, as those of mlos_bench's own storage. A trial without success has None for results. Canceled
        ones are left out. From the start on (-1), the trials of merged experiments come first.

        Cost: trials that ended lately are in memory; older ones are read from the parts that hold some of them.
        """
        rows = merged_rows(self._store, self.experiment, self._tunables) if last_trial_id < 0 else []
        for record in ended_records(self.experiment._ledger, last_trial_id - 1):
            rows.append((record.number + 1, texts(record.params), record))
        chosen = [(id_, config, record) for id_, config, record in rows if to_mlos(record.status) in _LOADED]
        return (
            [id_ for id_, _, _ in chosen],
            [config for _, config, _ in chosen],
            [texts(results_of(record)) if record.status is Status.SUCCEEDED else None for _, _, record in chosen],
            [to_mlos(record.status) for _, _, record in chosen],
        )

    def get_trial_by_id(self, trial_id: int) -> Storage.Trial | None:
        """A trial of any status, None when there is none of this id."""
        ledger = self.experiment._ledger
        ledger.settle()
        record = ledger.record(trial_id - 1) if trial_id > 0 else None
        return None if record is None else self._trial(record)

    def pending_trials(
        self, timestamp: datetime, *, running: bool, trial_runner_assigned: bool | None = None
    ) -> Iterator[Storage.Trial]:
        """Trials that may begin by `timestamp`, by id.

        Args:
            timestamp: Aware, or naive and local.
            running: Those that have begun and not ended, too.
            trial_runner_assigned: Only those that have a runner, or only those that have none.

        Cost: nothing is read but new commits.
        """
        until = format_time(in_store_zone(timestamp))
        for record in open_records(self.experiment._ledger):
            if start_of(record) > until or (record.status.is_active and not running):
                continue
            if trial_runner_assigned is None or trial_runner_assigned == (record.runner is not None):
                yield self._trial(record)

    def _new_trial(
        self, tunables: TunableGroups, ts_start: datetime | None = None, config: dict[str, Any] | None = None
    ) -> Storage.Trial:
        """Add a trial; two processes that do so get two ids.

        It is in the store, for all processes, when this returns. A crash of the machine can take it back until a trial
        has ended, or the linger is over.
        """
        values = storable_dict({tunable.name: tunable.value for tunable, _ in tunables})
        start = in_store_zone(ts_start or datetime.now(UTC))
        record = register(self.experiment, values, start, storable_dict(config or {}), self._first_id)
        self._first_id = 1
        self._trial_id = record.number + 2
        return self._trial(record, tunables, config)

    def _trial(
        self, record: TrialRecord, tunables: TunableGroups | None = None, config: Mapping[str, Any] | None = None
    ) -> Storage.Trial:
        if tunables is None:
            # The flag that says what changed is reset after the assignment.
            tunables = self._tunables.copy().assign(texts(record.params)).reset()
            config = texts(record.attributes or {})
        return TrialStoreTrial(
            experiment=self.experiment,
            record=record,
            experiment_id=self._experiment_id,
            tunables=tunables,
            opt_targets=self._opt_targets,
            config=None if config is None else dict(config),
        )
