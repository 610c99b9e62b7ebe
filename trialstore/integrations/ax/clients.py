"""Ax's clients and orchestrator, saving each change in a store as they do in SQL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from logging import INFO
from typing import Any, Self

from ax.api.client import Client
from ax.core.analysis_card import AnalysisCardBase
from ax.core.base_trial import BaseTrial
from ax.core.experiment import Experiment as AxExperiment
from ax.core.generator_run import GeneratorRun
from ax.core.runner import Runner
from ax.exceptions.core import ObjectNotFoundError
from ax.exceptions.core import UnsupportedError as AxUnsupportedError
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.orchestration.orchestrator import Orchestrator, OrchestratorOptions
from ax.service.ax_client import AxClient
from ax.storage.sqa_store.with_db_settings_base import WithDBSettingsBase
from ax.storage.sqa_store.with_db_settings_base import logger as base_logger

from trialstore.integrations.ax.cards import save_card
from trialstore.integrations.ax.coder import Coder, coder_of
from trialstore.integrations.ax.loading import load_whole
from trialstore.integrations.ax.saving import found, save_head, save_some, save_whole
from trialstore.integrations.ax.strategy import STRATEGY, load_strategy, save_strategy, strategy_id
from trialstore.model.errors import TrialStoreError, UsageError
from trialstore.store import Store

__all__ = ["SavesInStore", "TrialStoreAxClient", "TrialStoreClient", "TrialStoreOrchestrator"]

_log = logging.getLogger(__name__)


class SavesInStore(WithDBSettingsBase):
    """Ax's way to storage, ending in a store. It stands between a class of Ax and `WithDBSettingsBase`.

    Attributes:
        store: Where everything is saved.
    """

    store: Store
    _coder: Coder

    def _keep(self, store: Store, registry_bundle: Any) -> None:
        if not isinstance(store, Store):
            raise UsageError("not a store", hint='store=trialstore.open("results")', store=store)
        self.store = store
        self._registry_bundle = registry_bundle
        self._coder = coder_of(registry_bundle)

    def __init__(self, db_settings: Any = None, logging_level: int = INFO, suppress_all_errors: bool = False) -> None:
        if db_settings is not None:
            raise UsageError("a store takes the place of db_settings", hint="leave db_settings out")
        # The class above would ask the settings of a database, once it is told that there is a place to save in.
        self._db_settings = None
        self._suppress_all_errors = suppress_all_errors
        base_logger.setLevel(logging_level)

    @property
    def db_settings_set(self) -> bool:
        """Always true: there is a place to save in."""
        return True

    def _saved(self, save: Callable[[], object]) -> bool:
        try:
            save()
        except TrialStoreError as error:
            if not self._suppress_all_errors:
                raise
            _log.warning("not saved: %s", error)
            return False
        return True

    def _get_experiment_and_generation_strategy_db_id(self, experiment_name: str) -> tuple[int | None, int | None]:
        if experiment_name not in self.store:
            return None, None
        kept = self.store.experiment(experiment_name)
        return kept.id, strategy_id(kept)

    def _load_experiment_and_generation_strategy(
        self,
        experiment_name: str,
        reduced_state: bool = False,
        skip_runners_and_metrics: bool = False,
        load_auxiliary_experiments: bool = True,
    ) -> tuple[AxExperiment | None, GenerationStrategy | None]:
        return load_both(
            self.store,
            experiment_name,
            self._coder,
            reduced_state=reduced_state,
            skip_runners_and_metrics=skip_runners_and_metrics,
            load_auxiliary_experiments=load_auxiliary_experiments,
        )

    def _save_experiment_to_db_if_possible(self, experiment: AxExperiment) -> bool:
        return self._saved(lambda: save_whole(self.store, experiment, self._coder))

    def _save_or_update_trials_in_db_if_possible(
        self, experiment: AxExperiment, trials: Sequence[BaseTrial], reduce_state_generator_runs: bool = False
    ) -> bool:
        def save() -> None:
            kept = found(self.store, experiment)
            save_some(kept, experiment, list(trials), self._coder, store=self.store, reduce=reduce_state_generator_runs)

        return self._saved(save)

    def _save_or_update_trials_and_generation_strategy_if_possible(
        self,
        experiment: AxExperiment,
        trials: list[BaseTrial],
        generation_strategy: GenerationStrategy,
        new_generator_runs: list[GeneratorRun],
        reduce_state_generator_runs: bool = False,
    ) -> None:
        self._save_or_update_trials_in_db_if_possible(experiment, trials, reduce_state_generator_runs)
        self._update_generation_strategy_in_db_if_possible(
            generation_strategy, new_generator_runs, reduce_state_generator_runs
        )
        if experiment.status is not None:
            self._saved(lambda: save_head(self.store, experiment, self._coder, only=("status",)))

    def _save_generation_strategy_to_db_if_possible(self, generation_strategy: GenerationStrategy | None) -> bool:
        if generation_strategy is None:
            return False
        return self._saved(lambda: save_strategy(self.store, generation_strategy, self._coder))

    def _update_generation_strategy_in_db_if_possible(
        self,
        generation_strategy: GenerationStrategy,
        new_generator_runs: list[GeneratorRun],
        reduce_state_generator_runs: bool = False,
    ) -> bool:
        return self._saved(
            lambda: save_strategy(
                self.store,
                generation_strategy,
                self._coder,
                new_runs=new_generator_runs,
                reduce=reduce_state_generator_runs,
            )
        )

    def _update_runner_on_experiment_in_db_if_possible(self, experiment: AxExperiment, runner: Runner) -> bool:
        members = ("runner", "_trial_type_to_runner")
        return self._saved(lambda: save_head(self.store, experiment, self._coder, only=members))

    def _update_experiment_properties_in_db(self, experiment_with_updated_properties: AxExperiment) -> bool:
        experiment = experiment_with_updated_properties
        return self._saved(lambda: save_head(self.store, experiment, self._coder, only=("properties",)))

    def _save_analysis_card_to_db_if_possible(self, experiment: AxExperiment, analysis_card: AnalysisCardBase) -> bool:
        return self._saved(lambda: save_card(self.store, experiment, analysis_card, self._coder))


def load_both(
    store: Store, name: str, coder: Coder, *, reduced_state: bool = False, **how: bool
) -> tuple[AxExperiment, GenerationStrategy | None]:
    """An experiment, and its generation strategy if it has one."""
    experiment = load_whole(store, name, coder, reduced_state=reduced_state, **how)
    if store.experiment(name).document(STRATEGY)[1] is None:
        return experiment, None
    return experiment, load_strategy(store, name, coder, experiment=experiment, reduced_state=reduced_state)


class TrialStoreClient(Client, SavesInStore):
    """Ax's `Client`, which saves each change in a store.

    Args:
        store: Where to.
        random_seed: For Ax.
        registry_bundle: An Ax `RegistryBundle` that knows metrics and runners of your own.
    """

    def __init__(self, store: Store, *, random_seed: int | None = None, registry_bundle: Any = None) -> None:
        self._keep(store, registry_bundle)
        Client.__init__(self, random_seed=random_seed)

    @classmethod
    def load(cls, store: Store, experiment_name: str, *, registry_bundle: Any = None, **options: Any) -> Self:
        """A client that goes on where the experiment of a name stands in a store.

        Args:
            store: Where from.
            experiment_name: Of the experiment.
            registry_bundle: As for the client.
            options: For the client.

        Raises:
            ObjectNotFoundError: Ax's, when there is no such experiment.
        """
        client = cls(store, registry_bundle=registry_bundle, **options)
        if experiment_name not in store:
            raise ObjectNotFoundError(f"Experiment {experiment_name} not found in {store.url}.")
        experiment, strategy = load_both(store, experiment_name, client._coder)
        client._maybe_experiment = experiment
        client._maybe_generation_strategy = strategy
        return client

    @classmethod
    def load_from_database(cls, experiment_name: str, storage_config: Any = None) -> Self:
        """Not for a store, which `load` takes."""
        raise UsageError("a store takes the place of a database", hint="TrialStoreClient.load(store, experiment_name)")

    def run_trials(
        self,
        max_trials: int,
        parallelism: int = 1,
        tolerated_trial_failure_rate: float = 0.5,
        initial_seconds_between_polls: int = 1,
    ) -> None:
        """Run trials with the experiment's runner, saving each as it goes; see Ax's `Client.run_trials`."""
        orchestrator = TrialStoreOrchestrator(
            experiment=self._experiment,
            generation_strategy=self._generation_strategy_or_choose(),
            options=OrchestratorOptions(
                max_pending_trials=parallelism,
                tolerated_trial_failure_rate=tolerated_trial_failure_rate,
                init_seconds_between_polls=initial_seconds_between_polls,
            ),
            store=self.store,
            registry_bundle=self._registry_bundle,
        )
        orchestrator.run_n_trials(max_trials=max_trials)


class TrialStoreAxClient(AxClient, SavesInStore):
    """Ax's `AxClient`, which saves each change in a store. `load_experiment_from_database` loads from it.

    Args:
        store: Where to.
        registry_bundle: An Ax `RegistryBundle` that knows metrics and runners of your own.
        options: For `AxClient`, without ``db_settings``.
    """

    def __init__(self, *, store: Store, registry_bundle: Any = None, **options: Any) -> None:
        self._keep(store, registry_bundle)
        super().__init__(**options)


class TrialStoreOrchestrator(Orchestrator, SavesInStore):
    """Ax's `Orchestrator`, which saves each change in a store.

    Args:
        experiment: It is saved when this is made.
        generation_strategy: It is, too.
        options: For Ax.
        store: Where to.
        registry_bundle: An Ax `RegistryBundle` that knows metrics and runners of your own.
        others: For `Orchestrator`, without ``db_settings``.
    """

    def __init__(
        self,
        experiment: AxExperiment,
        generation_strategy: GenerationStrategy,
        options: OrchestratorOptions,
        *,
        store: Store,
        registry_bundle: Any = None,
        **others: Any,
    ) -> None:
        self._keep(store, registry_bundle)
        super().__init__(experiment, generation_strategy, options, **others)

    @classmethod
    def from_stored_experiment(  # type: ignore[override]
        cls,
        experiment_name: str,
        options: OrchestratorOptions,
        *,
        store: Store,
        generation_strategy: GenerationStrategy | None = None,
        reduced_state: bool = True,
        registry_bundle: Any = None,
        **others: Any,
    ) -> Self:
        """An orchestrator that goes on where the experiment of a name stands in a store.

        Args:
            experiment_name: Of the experiment.
            options: For Ax.
            store: Where from.
            generation_strategy: Only for an experiment that has none in the store.
            reduced_state: Load generator runs without the state of their generators, but for the last.
            registry_bundle: As for the orchestrator.
            others: For the orchestrator.

        Raises:
            ExperimentNotFoundError: there is none of the name.
            UsageError: it has no generation strategy, and none is given.
            UnsupportedError: Ax's, when it has one, and another is given.
        """
        coder = coder_of(registry_bundle)
        experiment, strategy = load_both(store, experiment_name, coder, reduced_state=reduced_state)
        if strategy is None and generation_strategy is None:
            raise UsageError(
                "experiment has no generation strategy", hint="pass generation_strategy=", experiment=experiment_name
            )
        if strategy is not None and generation_strategy is not None and strategy != generation_strategy:
            raise AxUnsupportedError(
                f"Experiment {experiment_name} has generation strategy {strategy.name} in the store; "
                "leave generation_strategy out to use it."
            )
        return cls(
            experiment,
            generation_strategy or strategy,
            options,
            store=store,
            registry_bundle=registry_bundle,
            _skip_experiment_save=True,
            **others,
        )
