"""What a subclass says of the place under test, and what all tests of a store share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from trialstore.experiment import Experiment
from trialstore.model.metric import Metric
from trialstore.query.frames import FRAMES
from trialstore.query.snapshot import Snapshot
from trialstore.store import Store
from trialstore.testing.place import Place
from trialstore.trial import Trial

__all__ = ["NOON", "OnStore", "claim", "new_experiment", "rows_by_frames", "rows_by_sql", "run_trial"]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Rows = dict[str, list[str]]


class OnStore:
    """The fixtures and the figures that all tests of a store share.

    Attributes:
        workers: How many threads, or processes, work at once.
        trials: How many trials they share.
        shared_by_processes: Whether another process that opens the place sees the same store.
    """

    workers: ClassVar[int] = 4
    trials: ClassVar[int] = 24
    shared_by_processes: ClassVar[bool] = True

    @pytest.fixture
    def place(self) -> Place:
        """An empty place; the subclass gives it."""
        raise NotImplementedError("give a fixture `place` that returns an empty trialstore.testing.Place")

    @pytest.fixture
    def store(self, place: Place) -> Iterator[Store]:
        """A new store in it, without maintenance of its own, closed at the end."""
        with place.open(maintenance=False) as store:
            yield store


def new_experiment(store: Store, name: str = "tune", **more: Any) -> Experiment:
    """An experiment with one metric, `loss`."""
    return store.create_experiment(name, metrics=[Metric("loss")], **more)


def claim(experiment: Experiment) -> Trial:
    """The next pending trial, which there is."""
    trial = experiment.reserve_trial()
    assert trial is not None
    return trial


def run_trial(experiment: Experiment, params: dict[str, Any], loss: float, samples: int = 2) -> Trial:
    """A trial with reports, telemetry and an artifact, from its registration to its success."""
    experiment.register_trial(params)
    trial = claim(experiment)
    for step in range(samples):
        trial.report(step=step, at=NOON, loss=loss + step)
    times = [NOON + timedelta(seconds=second) for second in range(samples)]
    trial.update_telemetry(trial.status, NOON, [(at, "cpu", second / 2) for second, at in enumerate(times)])
    trial.store({"config.json": params})
    trial.success(loss=loss)
    return trial


def rows_by_sql(snapshot: Snapshot) -> Rows:
    """The rows of every table as DuckDB reads them, spelled exactly and in no order."""
    return {table: _spelled(snapshot.sql(f"SELECT * FROM {table}").pl().rows()) for table in FRAMES}


def rows_by_frames(snapshot: Snapshot) -> Rows:
    """The rows of every table as Polars reads them, spelled exactly and in no order."""
    return {table: _spelled(snapshot.frame(table).collect().rows()) for table in FRAMES}


def _spelled(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(map(repr, rows))
