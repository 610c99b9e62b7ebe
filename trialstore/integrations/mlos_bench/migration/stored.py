"""A store as mlos_bench would have it in a database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from trialstore.experiment import Experiment
from trialstore.integrations.mlos_bench.life import start_of
from trialstore.integrations.mlos_bench.migration.rows import (
    SAMPLES_AT_ONCE,
    ExperimentRow,
    Objective,
    Sample,
    TrialRow,
)
from trialstore.integrations.mlos_bench.results import configuration_ids
from trialstore.integrations.mlos_bench.statuses import MLOS_NAMES
from trialstore.integrations.mlos_bench.values import results_of, text, texts
from trialstore.model.codec import encode
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status
from trialstore.model.times import parse_time
from trialstore.query.collect import collected
from trialstore.store import Store
from trialstore.tables.values import value_of

__all__ = ["COLUMNS", "CONFIG_HASH", "IMPORTED", "ORIGIN", "WEIGHTS", "Stored"]

CONFIG_HASH = "tunable_config_hash"
"""The extra of a trial that holds mlos_bench's hash of its configuration."""

ORIGIN = ("description", "root_env_config", "git_repo", "git_commit")
"""Columns of an experiment's row that are members of its metadata."""

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
        whole_seconds: Times are cut to seconds, and of samples and steps that then have one time the first counts.
    """

    def __init__(self, store: Store, *, whole_seconds: bool = False) -> None:
        self._store = store
        self._whole_seconds = whole_seconds
        self._configurations = _numbered(store)

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
        columns = {name: str(metadata.get(name) or "") for name in ORIGIN} | dict(metadata.get(COLUMNS) or {})
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
        steps = self._steps(exp_id)
        batch: list[TrialRow] = []
        for record in self._records(exp_id):
            if record.number + 1 > after:
                batch.append(self._trial_row(record, steps.get(record.number, [])))
                if len(batch) == _AT_ONCE:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def rows(self, exp_id: str, records: Sequence[TrialRecord]) -> dict[int, TrialRow]:
        """The rows of some trials, by id."""
        steps = self._steps(exp_id, [record.number for record in records])
        return {record.number + 1: self._trial_row(record, steps.get(record.number, [])) for record in records}

    def hashes(self, exp_id: str) -> dict[int, str]:
        """mlos_bench's hash of each trial's configuration; where it gave none, a hash of the values."""
        found = {}
        for record in self._records(exp_id):
            values = encode(dict(sorted(record.params.items())))
            found[record.number + 1] = str((record.extras or {}).get(CONFIG_HASH) or hashlib.sha256(values).hexdigest())
        return found

    def sample_counts(self, exp_id: str) -> list[tuple[int, int]]:
        """See `Side`."""
        at = pl.col("at").dt.truncate("1s") if self._whole_seconds else pl.col("at")
        rows = self.experiment(exp_id).telemetry().select("trial", at, "name").unique()
        return [
            (number + 1, count) for number, count in collected(rows.group_by("trial").len().sort("trial")).iter_rows()
        ]

    def joined_samples(self, exp_id: str) -> int:
        """How many samples do not count, since another one has their second."""
        everything = int(collected(self.experiment(exp_id).telemetry().select(pl.len())).item())
        return everything - sum(count for _, count in self.sample_counts(exp_id))

    def samples(self, exp_id: str, first: int, last: int) -> Iterator[list[Sample]]:
        """See `Side`."""
        at = """date_trunc('second', "at")""" if self._whole_seconds else '"at"'
        query = (
            f"SELECT trial, epoch_us({at}) AS at_us, name, type, value, text FROM telemetry WHERE trial BETWEEN ? AND ?"
        )
        if self._whole_seconds:
            query += ' QUALIFY row_number() OVER (PARTITION BY trial, at_us, name ORDER BY telemetry."at") = 1'
        result = self.experiment(exp_id).sql(f"{query} ORDER BY trial, at_us, name", [first - 1, last - 1])
        for batch in result.batches():
            for start in range(0, batch.num_rows, SAMPLES_AT_ONCE):
                lists = [column.to_pylist() for column in batch.slice(start, SAMPLES_AT_ONCE).columns]
                yield [
                    (number + 1, _EPOCH + timedelta(microseconds=at_us), name, text(value_of(*value)))
                    for number, at_us, name, *value in zip(*lists, strict=True)
                ]

    def _records(self, exp_id: str) -> Iterator[TrialRecord]:
        return (trial._held.record for trial in self.experiment(exp_id).trials())

    def _steps(self, exp_id: str, numbers: Sequence[int] | None = None) -> dict[int, list[tuple[datetime, str]]]:
        history = self.experiment(exp_id).status_history().select("trial", "attempt", "at", "status", "reason")
        if numbers is not None:
            history = history.filter(pl.col("trial").is_in(numbers))
        found: dict[int, dict[datetime, str]] = {}
        for number, attempt, at, status, reason in collected(history).iter_rows():
            if reason == IMPORTED or (attempt == 0 and reason is None and status == Status.PENDING):
                continue
            found.setdefault(number, {}).setdefault(self._cut(at.astimezone(UTC)), MLOS_NAMES[Status(status)])
        return {number: sorted(steps.items()) for number, steps in found.items()}

    def _trial_row(self, record: TrialRecord, steps: list[tuple[datetime, str]]) -> TrialRow:
        ended_at = record.ended_at if record.status.is_final else None
        return TrialRow(
            id=record.number + 1,
            config=self._configurations.get(record.id, 0),
            status=MLOS_NAMES[record.status],
            runner=record.runner,
            starts_at=self._cut(parse_time(start_of(record))),
            ended_at=None if ended_at is None else self._cut(parse_time(ended_at)),
            tunables=texts(record.params),
            params=texts(record.attributes or {}),
            results=texts(results_of(record)),
            steps=steps,
        )

    def _cut(self, at: datetime) -> datetime:
        return at.replace(microsecond=0) if self._whole_seconds else at


def _numbered(store: Store) -> dict[str, int]:
    """The ids of all configurations that have one, by hash."""
    return {digest: number for number, digest in enumerate(configuration_ids(store._session), 1)}
