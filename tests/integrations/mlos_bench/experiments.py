"""Experiments of mlos_bench to test with: what is tuned, and a run that any storage records."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytz
from mlos_bench.environments.status import Status
from mlos_bench.optimizers.mock_optimizer import MockOptimizer
from mlos_bench.storage.base_storage import Storage
from mlos_bench.storage.sql.storage import SqlStorage
from mlos_bench.tunables.tunable_groups import TunableGroups

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=pytz.UTC)


def tunable_groups() -> TunableGroups:
    """Three groups: text, an integer, an integer with a special value, a float."""
    groups = TunableGroups(
        {
            "provision": {
                "cost": 1000,
                "params": {
                    "vmSize": {"type": "categorical", "default": "B4ms", "values": ["B2s", "B2ms", "B4ms"]},
                },
            },
            "boot": {
                "cost": 300,
                "params": {"idle": {"type": "categorical", "default": "halt", "values": ["halt", "mwait", "noidle"]}},
            },
            "kernel": {
                "cost": 1,
                "params": {
                    "migration_cost_ns": {"type": "int", "default": -1, "range": [0, 500000], "special": [-1, 0]},
                    "latency_ns": {"type": "int", "default": 2000000, "range": [0, 1000000000]},
                    "share": {"type": "float", "default": 0.1, "range": [0, 1]},
                },
            },
        }
    )
    groups.reset()
    return groups


def opened(storage: Storage, tunables: TunableGroups, name: str = "Test-001", **more: Any) -> Storage.Experiment:
    """An experiment whose context was not entered yet."""
    return storage.experiment(
        **{
            "experiment_id": name,
            "trial_id": 1,
            "root_env_config": "environment.jsonc",
            "description": "an experiment",
            "tunables": tunables,
            "opt_targets": {"score": "min"},
            **more,
        }
    )


def sql_storage(database: str = ":memory:") -> SqlStorage:
    """The storage that mlos_bench brings."""
    return SqlStorage({"drivername": "sqlite", "database": database})


def suggestions(tunables: TunableGroups, count: int) -> list[TunableGroups]:
    """What the mock optimizer suggests, the defaults first."""
    optimizer = MockOptimizer(tunables=tunables, config={"seed": 42})
    return [optimizer.suggest().copy() for _ in range(count)]


def run(
    experiment: Storage.Experiment, configs: Sequence[TunableGroups], repeats: int = 3, start: datetime = START
) -> list[Storage.Trial]:
    """Trials of each configuration, each with telemetry and results; those of a configuration come together."""
    noise = random.Random(7)
    made = []
    for number, config in enumerate(configs):
        for repeat in range(repeats):
            at = start + timedelta(minutes=number * repeats + repeat)
            metadata = {"optimizer": "mock", "repeat_i": repeat + 1, "is_defaults": config.is_defaults()}
            trial = experiment.new_trial(config.copy(), at, metadata)
            later = at + timedelta(seconds=30, microseconds=123456)
            trial.update_telemetry(Status.RUNNING, at, [(at, "cpu", noise.random()), (later, "phase", "warm")])
            if (number, repeat) == (1, 1):
                trial.update(Status.FAILED, later)
            else:
                trial.update(Status.SUCCEEDED, later, {"score": noise.random(), "p99": number + repeat, "unit": "ms"})
            made.append(trial)
    return made
