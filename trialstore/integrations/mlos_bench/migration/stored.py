"""A store as mlos_bench would have it in a database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from trialstore.experiment import Experiment
from trialstore.integrations.mlos_bench.life import CONFIG_ID, start_of
from trialstore.integrations.mlos_bench.migration.rows import (
    SAMPLES_AT_ONCE,
    ExperimentRow,
    Objective,
    Sample,
    TrialRow,
)
from trialstore.integrations.mlos_bench.statuses import MLOS_NAMES
from trialstore.integrations.mlos_bench.values import results_of, text, texts
from trialstore.model.codec import encode
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import parse_time
from trialstore.query.collect import collected
from trialstore.store import Store
from trialstore.tables.values import value_of

__all__ = ["COLUMNS", "CONFIG_HASH", "IMPORTED", "WEIGHTS", "Stored"]

CONFIG_HASH = "tunable_config_hash"
"""The extra of a trial that holds mlos_bench's hash of its configuration."""

COLUMNS, WEIGHTS = "mlos_bench_columns", "objective_weights"
"""Members of an experiment's metadata: what other columns of its row hold, and the weights of its objectives."""

IMPORTED = "imported"
"""Why a trial that had not ended took its status when it was imported; mlos_bench knows nothing of that step."""

_AT_ONCE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Stored:
    """Reads the experiments of a store as rows of mlos_bench's tables.

    What mlos_bench never writes down is left out: that a trial was registered, or imported. Of two steps at one time
    the first counts, since a database holds no two.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def experiment(self, exp_id: str) -> Experiment:
        """The store's experiment."""
        return self._store.experiment(exp_id)

    def experiments(self) -> list[ExperimentRow]:
        """All experiments, by name; of several versions of one the newest."""
        newest = {experiment.name: experiment for experiment in self._store.experiments()}
        return [self.row(newest[name]) for name in sorted(newest)]

    def row(self, experiment: Experiment) -> ExperimentRow:
        """What there is to say of an experiment."""
        metadata = experiment.metadata
        weights = metadata.get(WEIGHTS) or {}
        objectives = [
            Objective(metric.name, "min" if metric.minimize else "max", weights.get(metric.name))
            for metric in experiment.declared_metrics
        ]
        names = ("description", "root_env_config", "git_repo", "git_commit")
        columns = {name: str(metadata.get(name) or "") for name in names} | dict(metadata.get(COLUMNS) or {})
        numbers = experiment.history().select("trial")
        trials = sorted(collected(numbers)["trial"].to_list())
        return ExperimentRow(
            experiment.name,
            columns,
            tuple(sorted(objectives, key=lambda each: (-(each.weight or 0.0), each.metric))),
            len(trials),
            trials[-1] + 1 if trials else 0,
        )

    def trials(self, exp_id: str, after: int = 0) -> Iterator[list[TrialRow]]:
        """See `Side`."""
        experiment = self.experiment(exp_id)
        steps = _steps(experiment)
        batch: list[TrialRow] = []
        for trial in experiment.trials():
            record = trial._held.record
            if record.number + 1 > after:
                batch.append(_trial_row(record, steps.get(record.number, [])))
                if len(batch) == _AT_ONCE:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def hashes(self, exp_id: str) -> dict[int, str]:
        """mlos_bench's hash of each configuration, by number; where it gave none, a hash of the values."""
        found: dict[int, str] = {}
        for trial in self.experiment(exp_id).trials():
            record = trial._held.record
            extras = record.extras or {}
            own = hashlib.sha256(encode(dict(sorted(record.params.items())))).hexdigest()
            found.setdefault(_config(record), str(extras.get(CONFIG_HASH) or own))
        return found

    def sample_counts(self, exp_id: str) -> list[tuple[int, int]]:
        """See `Side`."""
        rows = collected(self.experiment(exp_id).telemetry().group_by("trial").len().sort("trial"))
        return [(number + 1, count) for number, count in rows.iter_rows()]

    def samples(self, exp_id: str, first: int, last: int) -> Iterator[list[Sample]]:
        """See `Side`."""
        query = (
            'SELECT trial, epoch_us("at"), name, type, value, text FROM telemetry WHERE trial BETWEEN ? AND ? '
            'ORDER BY trial, "at", name'
        )
        result = self.experiment(exp_id).sql(query, [first - 1, last - 1])
        for batch in result.batches():
            for start in range(0, batch.num_rows, SAMPLES_AT_ONCE):
                columns = [column.to_pylist() for column in batch.slice(start, SAMPLES_AT_ONCE).columns]
                yield [
                    (number + 1, _EPOCH + timedelta(microseconds=at_us), name, text(value_of(*value)))
                    for number, at_us, name, *value in zip(*columns, strict=True)
                ]


def _steps(experiment: Experiment) -> dict[int, list[tuple[Any, str]]]:
    history = experiment.status_history().select("trial", "attempt", "at", "status", "reason")
    found: dict[int, dict[Any, str]] = {}
    for number, attempt, at, status, reason in collected(history).iter_rows():
        if reason == IMPORTED or (attempt == 0 and reason is None and status == Status.PENDING):
            continue
        found.setdefault(number, {}).setdefault(at.astimezone(UTC), MLOS_NAMES[Status(status)])
    return {number: sorted(steps.items()) for number, steps in found.items()}


def _trial_row(record: TrialRecord, steps: list[tuple[Any, str]]) -> TrialRow:
    return TrialRow(
        id=record.number + 1,
        config=_config(record),
        status=MLOS_NAMES[record.status],
        runner=record.runner,
        starts_at=parse_time(start_of(record)),
        ended_at=parse_time(record.ended_at) if record.ended_at and record.status.is_final else None,
        tunables=texts(record.params),
        params=texts(record.attributes or {}),
        results=texts(results_of(record)),
        steps=steps,
    )


def _config(record: TrialRecord) -> int:
    return int((record.extras or {}).get(CONFIG_ID, 0))
