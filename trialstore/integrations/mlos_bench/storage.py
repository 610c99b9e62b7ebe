"""mlos_bench's storage, over a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from mlos_bench.config.schemas.config_schemas import ConfigSchema
from mlos_bench.services.base_service import Service
from mlos_bench.storage.base_experiment_data import ExperimentData
from mlos_bench.storage.base_storage import Storage
from mlos_bench.tunables.tunable_groups import TunableGroups

from trialstore.integrations.mlos_bench.data import ExperimentTrialStoreData
from trialstore.integrations.mlos_bench.experiment import TrialStoreExperiment
from trialstore.integrations.mlos_bench.life import next_trial_id
from trialstore.integrations.mlos_bench.repository import Repository
from trialstore.integrations.mlos_bench.results import configuration_ids
from trialstore.integrations.mlos_bench.schema import CLASS_NAME, register_schema
from trialstore.integrations.mlos_bench.views import run_sql
from trialstore.model.errors import ExperimentNotFoundError
from trialstore.query.result import Result
from trialstore.store import Store
from trialstore.store import open as open_store

__all__ = ["TrialStoreStorage"]


class TrialStoreStorage(Storage):
    """mlos_bench's storage in a folder or bucket, which any number of machines may use at once.

    Experiments, trials, telemetry and statuses are the store's own: SQL, frames and whatever else reads a store reads
    them, with the types that they had. It may be pickled: what comes out is open on the same store.

    Args:
        config: ``url``, and any of ``mode``, ``durability``, ``lease_s``, ``linger_s`` and ``storage_options``; see
            `trialstore.open`.
        global_config: As mlos_bench passes it.
        service: As mlos_bench passes it.

    Raises:
        jsonschema.ValidationError: the configuration has something else, or no ``url``.
    """

    def __init__(
        self, config: dict[str, Any], global_config: dict[str, Any] | None = None, service: Service | None = None
    ) -> None:
        super().__init__(config, global_config, service)
        self._store = open_store(**self._config)

    def _validate_json_config(self, config: dict[str, Any]) -> None:
        register_schema()
        ConfigSchema.STORAGE.validate({"class": CLASS_NAME, "config": config})

    @property
    def store(self) -> Store:
        """The store itself, for SQL and frames."""
        return self._store

    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Result:
        """DuckDB SQL over the store's tables, and over views that a user of mlos_bench's own database knows.

        ``experiment``, ``objectives``, ``trial``, ``config``, ``config_param``, ``trial_param``, ``trial_status``,
        ``trial_result`` and ``trial_telemetry`` have the columns of its tables; ``trial`` has
        ``tunable_config_trial_group_id`` besides, and ``config_hash`` is the ``id`` of the store's trials.
        ``results`` is ``results_df`` of all experiments, with the types that values have; ``results_stats`` adds the
        size of each group of repeats, and the mean, variance, deviation and percentiles of each result in it.

        Args:
            query: What to run; it only reads.
            parameters: Values for ``?`` or ``$name`` in it.

        Raises:
            QueryError: DuckDB's message, and the tables and columns there are; or what the query may not do.
        """
        known = partial(configuration_ids, self._store._session)
        return run_sql(self._store.snapshot(), known, query, parameters)

    def __repr__(self) -> str:
        return f"trialstore:{self._store.url}"

    def update_schema(self) -> None:
        """Do nothing: a store that can be opened needs no update."""

    @property
    def experiments(self) -> dict[str, ExperimentData]:
        """What is stored of all experiments, by name; of several versions of one the newest."""
        found = {experiment.name: experiment for experiment in self._store.experiments()}
        return {name: ExperimentTrialStoreData(store=self._store, experiment=found[name]) for name in sorted(found)}

    def get_experiment_by_id(
        self, experiment_id: str, tunables: TunableGroups, opt_targets: dict[str, Literal["min", "max"]]
    ) -> Storage.Experiment | None:
        """An experiment to go on with, None when there is none of this name."""
        try:
            found = self._store.experiment(experiment_id)
        except ExperimentNotFoundError:
            return None
        origin = Repository.from_metadata(found.metadata)
        return TrialStoreExperiment(
            store=self._store,
            tunables=tunables,
            experiment_id=experiment_id,
            trial_id=next_trial_id(found._ledger),
            root_env_config=origin.path,
            description=str(found.metadata.get("description") or ""),
            opt_targets=opt_targets,
            repository=origin,
        )

    def experiment(
        self,
        *,
        experiment_id: str,
        trial_id: int,
        root_env_config: str,
        description: str,
        tunables: TunableGroups,
        opt_targets: dict[str, Literal["min", "max"]],
    ) -> Storage.Experiment:
        """An experiment to begin, or to go on with: it is looked for, and made, when its context is entered.

        Args:
            experiment_id: Its name.
            trial_id: The id of its first trial.
            root_env_config: Path of the root environment's configuration; git is asked where it comes from.
            description: For people to read.
            tunables: What is tuned.
            opt_targets: The objectives, and which way is better.
        """
        return TrialStoreExperiment(
            store=self._store,
            tunables=tunables,
            experiment_id=experiment_id,
            trial_id=trial_id,
            root_env_config=root_env_config,
            description=description,
            opt_targets=opt_targets,
        )
