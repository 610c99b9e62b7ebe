"""mlos_bench's trial, over a trial of the store."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from mlos_bench.environments.status import Status as MlosStatus
from mlos_bench.storage.base_storage import Storage
from mlos_bench.tunables.tunable_groups import TunableGroups

from trialstore.experiment import Experiment
from trialstore.integrations.mlos_bench.interface import accepted
from trialstore.integrations.mlos_bench.life import end, look_again, start
from trialstore.integrations.mlos_bench.statuses import from_mlos, to_mlos
from trialstore.integrations.mlos_bench.values import in_store_zone, storable, storable_dict
from trialstore.interning import interning_of
from trialstore.life import noting, samples
from trialstore.life.held import Held
from trialstore.model.codec import pack_dict
from trialstore.model.errors import TransitionError, TrialStoreError
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import format_time

__all__ = ["TrialStoreTrial"]

_LOG = logging.getLogger(__name__)


class TrialStoreTrial(Storage.Trial):
    """One trial of an experiment. `TrialStoreExperiment` gives one.

    Args:
        experiment: The store's experiment.
        record: The trial as the store has it.
        experiment_id: The experiment's name.
        tunables: With the values of the trial.
        opt_targets: The objectives, and which way is better.
        config: What mlos_bench calls the trial's config: metadata that is not tuned.
    """

    def __init__(
        self,
        *,
        experiment: Experiment,
        record: TrialRecord,
        experiment_id: str,
        tunables: TunableGroups,
        opt_targets: dict[str, Literal["min", "max"]],
        config: dict[str, Any] | None,
    ) -> None:
        super().__init__(
            tunables=tunables,
            experiment_id=experiment_id,
            trial_id=record.number + 1,
            tunable_config_id=0,  # it is asked for when somebody needs it: see the property
            opt_targets=opt_targets,
            config=config,
            **accepted(Storage.Trial.__init__, trial_runner_id=record.runner, status=to_mlos(record.status)),
        )
        self._held = Held(experiment._ledger, experiment.declared_metrics, record)
        self._status = to_mlos(record.status)
        self._trial_runner_id = record.runner
        self._noted: list[Any] = []

    def __repr__(self) -> str:
        try:
            known = str(self.tunable_config_id)
        except TrialStoreError:
            known = "?"
        return f"{self._experiment_id}:{self._trial_id}:{known}"

    @property
    def tunable_config_id(self) -> int:
        """The id of its configuration in the whole store, the same for equal ones. Cost: a commit, where it has none.

        Raises:
            ReadOnlyError: it has none yet, and the store was opened for reading.
        """
        record = self._held.record
        return interning_of(self._held.ledger.session).ids([record.id], [pack_dict(record.params, "params")])[0]

    @property
    def trial_runner_id(self) -> int | None:
        """Who shall run the trial, None for anybody."""
        return self._trial_runner_id

    def set_trial_runner(self, trial_runner_id: int) -> int:
        """Assign the trial to a runner when nobody has it, or, before it begins, from the one that this handle knows.

        Of several processes that assign it at once exactly one wins, and all are told who has it.
        """
        held, known = self._held, self._trial_runner_id
        look_again(held)
        if held.record.runner is None or held.record.status.is_claimable:
            try:
                noting.assign(held, trial_runner_id, known)
            except TransitionError:
                held.refresh()  # it has ended meanwhile, and keeps who ran it
        runner = held.record.runner
        if runner != trial_runner_id:
            _LOG.warning("Trial %s :: is assigned to runner %s, not %s", self, runner, trial_runner_id)
        self._trial_runner_id = runner
        return -1 if runner is None else runner

    def add_new_config_data(self, new_config_data: Mapping[str, Any]) -> None:
        """Add to the trial's metadata, durably.

        Raises:
            ValueError: a name is there already; nothing was added.
        """
        look_again(self._held)
        known = {**self._config, **(self._held.record.attributes or {})}
        twice = sorted(name for name in new_config_data if name in known)
        if twice:
            raise ValueError(f"config data of the trial {self} cannot be overwritten: {', '.join(twice)}")
        self._save_new_config_data(new_config_data)
        self._config.update(new_config_data)

    def _save_new_config_data(self, new_config_data: Mapping[str, Any]) -> None:
        noting.annotate(self._held, storable_dict(new_config_data))

    def update(
        self, status: MlosStatus, timestamp: datetime, metrics: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Say where the trial stands, and its results once it has ended; durable when it returns.

        That a pending trial runs is seen by whoever looks in this process, and goes out with the next commit, at the
        latest after ``linger_s``: nothing depends on its answer, since of several that run one trial one ends it.

        Args:
            status: Where it stands.
            timestamp: When: aware, or naive and local.
            metrics: With a status that ends the trial alone. Numbers become metrics of the store's trial, the rest
                goes into its summary.

        Raises:
            RuntimeError: the trial has ended before, here or in another process; its results stay as they are.
            AssertionError: there are metrics and the trial has not ended, or none and it succeeded.
        """
        at = format_time(in_store_zone(timestamp))
        before = self._status
        metrics = super().update(status, timestamp, metrics)
        if status.is_completed():
            if not self._end(from_mlos(status), at, metrics or {}):
                self._status = to_mlos(self._held.record.status)
                _LOG.warning("Trial %s :: update failed: %s", self, status)
                raise RuntimeError(f"Failed to update the status of the trial {self} to {status}: it has ended.")
            return metrics
        if metrics is not None:
            self._status = before
            raise AssertionError(f"Unexpected metrics for status: {status}")
        if not start(self._held, from_mlos(status), at):
            self._status = to_mlos(self._held.record.status)
            _LOG.warning("Trial %s :: cannot be updated to: %s", self, status)
        return metrics

    def _end(self, status: Status, at: str, results: Mapping[str, Any]) -> bool:
        """End the trial; that its telemetry said the same for the same time need not be stored then."""
        log, noted = self._held.ledger, self._noted
        said = bool(noted) and noted[2:4] == [status, at] and log.buffer.take_back("status", noted)
        ended = False
        try:
            ended = end(self._held, status, at, results)
        finally:
            if said and not ended:
                log.log_rows("status", [noted])
        return ended

    def update_telemetry(
        self, status: MlosStatus, timestamp: datetime, metrics: Sequence[tuple[datetime, str, Any]]
    ) -> None:
        """Save samples, and note where the trial stands.

        Of samples of one name and time the first stays. They are written in batches: durable when the trial is
        updated, the experiment's context ends, or some seconds have passed (``linger_s``).
        """
        super().update_telemetry(status, timestamp, list(metrics))
        held = self._held
        ledger, record, now = held.ledger, held.record, in_store_zone(timestamp)
        ledger.require_writable()
        rows = [(in_store_zone(at), name, storable(value)) for at, name, value in metrics]
        if rows:
            samples.update_telemetry(held, record.status, now, rows)
        self._noted = [record.number, record.attempt, from_mlos(status), format_time(now)]
        self._noted += [ledger.session.worker, "telemetry"]
        ledger.log_rows("status", [self._noted])
