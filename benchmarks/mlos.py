"""mlos_bench on a store beside mlos_bench on SQLite, its own storage, through the same interface.

Runs where mlos_bench is installed, which is an environment of its own.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from benchmarks.bench import Bench
from benchmarks.figure import Figure, Target, interleave

__all__ = ["mlos"]

_PEER = "mlos_bench, SqlStorage on SQLite"
_START = datetime(2026, 1, 1, tzinfo=UTC)
_REPEATS = 3
_RUNNERS = 16
_PARAMS = 10


def mlos(bench: Bench) -> list[Figure]:
    """Trials recorded, by one scheduler, in its loop, and by many runners; telemetry; and the frame of results.

    A trial is durable on both sides when it has ended; on its own storage every call is. One after the other on a disk.
    """
    logging.disable(logging.WARNING)  # its own storage warns of what is recorded twice
    try:
        with _repository(bench):
            return _figures(bench)
    finally:
        logging.disable(logging.NOTSET)


def _figures(bench: Bench) -> list[Figure]:
    sizes = bench.sizes
    samples = sizes.tuples // 8
    figures = []
    for name, unit, ours, peer, limit in (
        (
            "mlos_bench: trials scheduled and ended, one after the other",
            "trials/s",
            partial(_scheduled, _ours, bench, sizes.cycles),
            partial(_scheduled, _theirs, bench, sizes.cycles // 2),
            8.0,
        ),
        (
            f"mlos_bench: trials started and ended by {_RUNNERS} runners",
            "trials/s",
            partial(_run, _ours, bench, 4 * sizes.cycles),
            partial(_run, _theirs, bench, sizes.cycles // 2),
            8.0,
        ),
        (
            "mlos_bench: telemetry, a thousand samples a call",
            "samples/s",
            partial(_sampled, _ours, bench, samples),
            partial(_sampled, _theirs, bench, max(10, samples // 100)),
            100.0,
        ),
    ):
        figures.append(
            Figure(name, unit, *interleave(sizes.rounds, ours, peer), _PEER, Target("ratio", "at least", limit))
        )
    ours_s, theirs_s = (partial(_looped, make, bench, sizes.cycles // 2) for make in (_ours, _theirs))
    title = "mlos_bench: trials run by its synchronous scheduler in its mock environment"
    figures.insert(1, Figure(title, "trials/s", *interleave(sizes.rounds, ours_s, theirs_s), _PEER))
    ours, theirs = _filled(bench, sizes.bulk)
    assert _same(ours.results_df, theirs.results_df)
    ours_s, theirs_s = interleave(sizes.rounds, partial(_frame_s, ours), partial(_frame_s, theirs))
    title = f"mlos_bench: results_df of {sizes.bulk:,} trials"
    return [*figures, Figure(title, "s", ours_s, theirs_s, _PEER, Target("ratio", "at most", 1 / 20))]


@contextmanager
def _repository(bench: Bench) -> Any:
    """This process in a git repository with a remote, which its own storage asks for."""
    folder, before = bench.place("repository"), os.getcwd()
    folder.mkdir()
    who = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    for command in (
        ("init", "--quiet"),
        (*who, "commit", "--quiet", "--allow-empty", "--message", "first"),
        ("remote", "add", "origin", "https://example.com/bench.git"),
    ):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _ours(bench: Bench) -> Any:
    from trialstore.integrations.mlos_bench import TrialStoreStorage

    return TrialStoreStorage({"url": str(bench.place("mlos-store"))})


def _theirs(bench: Bench) -> Any:
    from mlos_bench.storage.sql.storage import SqlStorage

    return SqlStorage({"drivername": "sqlite", "database": str(bench.place("mlos.sqlite"))})


def _tunables() -> Any:
    from mlos_bench.tunables.tunable_groups import TunableGroups

    params = {f"p{n}": {"type": "int", "default": 0, "range": [0, 10**9]} for n in range(_PARAMS)}
    return TunableGroups({"group": {"cost": 1, "params": params}})


def _opened(storage: Any, tunables: Any) -> Any:
    return storage.experiment(
        experiment_id="bench",
        trial_id=1,
        root_env_config="environment.jsonc",
        description="a benchmark",
        tunables=tunables,
        opt_targets={"score": "min"},
    )


def _suggested(count: int) -> list[Any]:
    """What an optimizer would suggest, each configuration some times."""
    tunables, suggested = _tunables(), []
    for number in range(count):
        tunables["p0"] = number // _REPEATS
        suggested.append(tunables.copy())
    return suggested


def _new(experiment: Any, tunables: Any, number: int) -> Any:
    return experiment.new_trial(tunables, None, {"repeat_i": number % _REPEATS, "optimizer": "mock"})


def _scheduled(make: Callable[[Bench], Any], bench: Bench, count: int) -> float:
    """What the synchronous scheduler records of each trial; three repeats of each configuration."""
    from mlos_bench.environments.status import Status

    suggested = _suggested(count)
    with _opened(make(bench), _tunables()) as experiment:
        _new(experiment, _tunables(), 0)
        began = time.perf_counter()
        for number, tunables in enumerate(suggested):
            trial, now = _new(experiment, tunables, number), datetime.now(UTC)
            trial.update_telemetry(Status.SUCCEEDED, now, [])
            trial.update(Status.SUCCEEDED, now, {"score": number / 7, "p99": number})
        return count / (time.perf_counter() - began)


def _looped(make: Callable[[Bench], Any], bench: Bench, count: int) -> float:
    """Its own scheduler, optimizer and environment, which take their time on both sides, with all that they read."""
    from mlos_bench.environments.mock_env import MockEnv
    from mlos_bench.optimizers.mock_optimizer import MockOptimizer
    from mlos_bench.schedulers.sync_scheduler import SyncScheduler

    tunables = _tunables()
    config = {"experiment_id": "bench", "trial_id": 1, "max_trials": count, "trial_config_repeat_count": _REPEATS}
    scheduler = SyncScheduler(
        config=config,
        global_config={},
        environment=MockEnv(name="mock", config={"tunable_params": ["group"], "mock_env_seed": 1}, tunables=tunables),
        optimizer=MockOptimizer(tunables=tunables, config={"seed": 1, "max_suggestions": count}),
        storage=make(bench),
        root_env_config="environment.jsonc",
    )
    with scheduler:
        began = time.perf_counter()
        scheduler.start()
        return scheduler.trial_count / (time.perf_counter() - began)


def _run(make: Callable[[Bench], Any], bench: Bench, count: int) -> float:
    """What runners record of trials that were scheduled before: the start, and the end with the results."""
    from mlos_bench.environments.status import Status

    tunables = _tunables()
    with _opened(make(bench), tunables) as experiment:
        trials = [_new(experiment, each, number) for number, each in enumerate(_suggested(count))]

        def run(trial: Any) -> None:
            trial.update(Status.RUNNING, datetime.now(UTC))
            trial.update(Status.SUCCEEDED, datetime.now(UTC), {"score": trial.trial_id / 7, "p99": trial.trial_id})

        with ThreadPoolExecutor(_RUNNERS) as runners:
            began = time.perf_counter()
            list(runners.map(run, trials))
            return count / (time.perf_counter() - began)


def _sampled(make: Callable[[Bench], Any], bench: Bench, count: int) -> float:
    """Samples of one trial until they are durable."""
    from mlos_bench.environments.status import Status

    tunables = _tunables()
    samples = [(_START + timedelta(milliseconds=n), f"load{n % 4}", n / 7) for n in range(count)]
    with _opened(make(bench), tunables) as experiment:
        trial = _new(experiment, tunables, 0)
        began = time.perf_counter()
        for first in range(0, count, 1000):
            at = _START + timedelta(seconds=first)
            trial.update_telemetry(Status.RUNNING, at, samples[first : first + 1000])
        trial.update(Status.SUCCEEDED, _START + timedelta(days=1), {"score": 1.0})
        return count / (time.perf_counter() - began)


def _filled(bench: Bench, count: int) -> tuple[Any, Any]:
    """The same finished trials in both, put there in bulk."""
    tunables, ours, theirs = _tunables(), _ours(bench), _theirs(bench)
    for storage in (ours, theirs):
        with _opened(storage, tunables):
            pass
    configs = [{f"p{n}": number * (n + 1) for n in range(_PARAMS)} for number in range(-(-count // _REPEATS))]
    ids = ours.store.intern_many(configs)
    results = [{"score": number / 7, "p99": number, "errors": number % 3} for number in range(count)]
    ends = [_START + timedelta(minutes=number) for number in range(count)]
    _import(ours, configs, results, ends)
    schema, engine = theirs._schema, theirs._engine
    with engine.begin() as connection:
        connection.execute(schema.config.insert(), [{"config_id": i, "config_hash": f"{i:064}"} for i in ids])
        rows = [
            {"config_id": i, "param_id": name, "param_value": str(value)}
            for i, config in zip(ids, configs, strict=True)
            for name, value in config.items()
        ]
        connection.execute(schema.config_param.insert(), rows)
        trials = [
            {"exp_id": "bench", "trial_id": n + 1, "config_id": ids[n // _REPEATS], "status": "SUCCEEDED"}
            | {"ts_start": ends[n].replace(tzinfo=None), "ts_end": ends[n].replace(tzinfo=None)}
            for n in range(count)
        ]
        connection.execute(schema.trial.insert(), trials)
        values = [
            {"exp_id": "bench", "trial_id": n + 1, "metric_id": name, "metric_value": str(value)}
            for n in range(count)
            for name, value in results[n].items()
        ]
        connection.execute(schema.trial_result.insert(), values)
    return ours.experiments["bench"], theirs.experiments["bench"]


def _import(storage: Any, configs: Any, results: Any, ends: Any) -> None:
    rows = [
        {
            "params": configs[n // _REPEATS],
            "metrics": {"score": values["score"]},
            "summary": {name: value for name, value in values.items() if name != "score"},
            "submitted_at": ends[n],
            "started_at": ends[n],
            "ended_at": ends[n],
        }
        for n, values in enumerate(results)
    ]
    storage.store["bench"].import_trials(rows)


def _frame_s(data: Any) -> float:
    began = time.perf_counter()
    assert len(data.results_df)
    return time.perf_counter() - began


def _same(ours: Any, theirs: Any) -> bool:
    return bool(ours.drop(columns="trial_runner_id").equals(theirs))
