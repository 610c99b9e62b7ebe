"""Databases as mlos_bench's own storage writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mlos_bench.environments.status import Status
from mlos_bench.storage.base_storage import Storage
from mlos_bench.storage.sql.schema import DbSchema
from mlos_bench.storage.sql.storage import SqlStorage
from mlos_bench.tunables.tunable_groups import TunableGroups
from sqlalchemy import create_engine

BEGAN = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
GROUPS: dict[str, Any] = {
    "boot": {
        "cost": 1,
        "params": {
            "idle": {"type": "categorical", "default": "halt", "values": ["halt", "mwait", "noidle"]},
            "latency_ns": {"type": "int", "default": 2000000, "range": [0, 1000000000], "special": [-1]},
        },
    },
    "kernel": {"cost": 1, "params": {"swappiness": {"type": "float", "default": 0.1, "range": [0, 1]}}},
}


def own_storage(url: str) -> SqlStorage:
    """mlos_bench's storage on a database of any address that SQLAlchemy takes."""
    # Its constructor takes no address with options, such as the folder of a socket.
    storage = SqlStorage.__new__(SqlStorage)
    storage._config, storage._global_config, storage._service = {}, {}, None
    storage._engine = engine = create_engine(url)
    storage._repr = "tests"
    storage._db_schema = DbSchema(engine)
    storage._schema_created = storage._schema_updated = False
    if engine.dialect.name == "duckdb":  # what stamps the schema's version fails on the driver of this dialect
        storage._db_schema.meta.create_all(engine)
        storage._schema_created = True
    return storage


def fill(storage: SqlStorage, *, name: str = "tune redis/ä", trials: int = 12, samples: int = 5) -> None:
    """An experiment with trials of every status, values of every spelling, and telemetry; in a repository."""
    with _experiment(storage, name) as experiment:
        for index in range(trials):
            tunables = experiment.tunables.copy()
            if index % 3:
                # Some configurations are tried again.
                tunables.assign({"swappiness": (index % 7) / 7, "latency_ns": index % 7, "idle": "mwait"})
            began = BEGAN + timedelta(minutes=index)
            given = {"is_defaults": str(index == 0), "repeat_i": 1, "note": None, "start": "007"}
            trial = experiment.new_trial(tunables, ts_start=began, config=given)
            _live(trial, index, began, samples)


def _experiment(storage: Storage, name: str) -> Storage.Experiment:
    return storage.experiment(
        experiment_id=name,
        trial_id=1,
        root_env_config="./environment.jsonc",
        description="a description",
        tunables=TunableGroups(GROUPS),
        opt_targets={"latency": "min", "throughput": "max"},
    )


def go_on(storage: Storage, *, name: str = "tune redis/ä") -> None:
    """What becomes of the trials that `fill` leaves open: the one that runs ends, and the pending one begins."""
    with _experiment(storage, name) as experiment:
        for trial in experiment.pending_trials(BEGAN + timedelta(days=1), running=True):
            at = BEGAN + timedelta(hours=trial.trial_id)
            trial.update_telemetry(Status.RUNNING, at, [(at, "cpu0", 0.25), (at, "phase", "late")])
            if trial.trial_id % 12 == 0:
                trial.update(Status.SUCCEEDED, at, {"latency": "1.50", "throughput": 3, "plan": "c"})
            else:
                trial.update(Status.RUNNING, at)


def _live(trial: Any, index: int, began: datetime, samples: int) -> None:
    if index % 12 == 10:
        return  # it stays pending
    ended = began + timedelta(seconds=30, microseconds=index)
    if index % 12 == 9:
        trial.update(Status.CANCELED, ended)  # before it ran
        return
    trial.update(Status.RUNNING, began)
    points = [
        (began + timedelta(seconds=at, microseconds=at), f"cpu{at % 2}", _VALUES[at % 5]) for at in range(samples)
    ]
    trial.update_telemetry(Status.RUNNING, began + timedelta(seconds=1), points)
    if index % 12 == 11:
        return  # it is still running
    if index % 12 == 7:
        trial.update(Status.FAILED, ended)
    elif index % 12 == 8:
        trial.update(Status.TIMED_OUT, ended)
    else:
        spelled = {0: "99.90", 1: float("nan"), 2: float("inf"), 3: 7}
        latency = spelled.get(index, 0.1 + index / 3)
        trial.update(
            Status.SUCCEEDED, ended, {"latency": latency, "throughput": 10 * index, "plan": "a, b", "size": "1e3"}
        )


_VALUES = (0.1 + 0.2, 5, "text", "007", float("nan"))
