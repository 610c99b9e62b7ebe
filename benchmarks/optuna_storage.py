"""Optuna's studies in a store, beside Optuna's own storages: optimising, reading many trials, and bytes on disk."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, run_fresh
from benchmarks.figure import Figure, Target, interleave

__all__ = ["optuna_bytes", "optuna_crowd", "optuna_one", "optuna_read"]

_JOURNAL, _SQLITE = "Optuna JournalStorage, file", "Optuna RDBStorage, SQLite"
_PROCESSES = 8
_START_S = 120
_PARAMS = 5
_REPORTS = 10

_gate: Barrier


def _plain(trial: Any) -> float:
    values = [trial.suggest_float(f"x{number}", 0, 1) for number in range(_PARAMS)]
    return float(values[0])


def _reporting(trial: Any) -> float:
    value = _plain(trial)
    for step in range(_REPORTS):
        trial.report(value, step)
    return value


def _storage(kind: str, place: Path) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if kind == "journal":
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(place)))
    if kind == "sqlite":
        return optuna.storages.get_storage(f"sqlite:///{place}")
    from trialstore.integrations.optuna import TrialStoreStorage

    return TrialStoreStorage(place)


def _study(kind: str, place: Path, seed: int = 1) -> Any:
    import optuna

    sampler = optuna.samplers.RandomSampler(seed=seed)
    return optuna.create_study(study_name="lives", storage=_storage(kind, place), sampler=sampler, load_if_exists=True)


def _rate(study: Any, objective: Callable[[Any], float], trials: int) -> float:
    started = time.perf_counter()
    study.optimize(objective, n_trials=trials)
    return trials / (time.perf_counter() - started)


def optuna_one(bench: Bench) -> list[Figure]:
    """`study.optimize` in one process: a free objective, 5 parameters, a random sampler; then with 10 reports."""
    turns, cycles = bench.sizes.optuna_turns, bench.sizes.cycles
    figures = []
    name = "study.optimize, one process"
    for peer, peer_name, objective, trials, least in (
        ("journal", _JOURNAL, _plain, cycles, 1.5),
        ("sqlite", _SQLITE, _plain, max(cycles // 5, 1), 20),
        ("journal", _JOURNAL, _reporting, cycles, 4),
    ):
        ours, other = _study("store", bench.place("store")), _study(peer, bench.place(peer))
        rates = interleave(
            turns,
            lambda ours=ours, objective=objective: _rate(ours, objective, cycles),  # type: ignore[misc]
            lambda other=other, objective=objective, trials=trials: _rate(other, objective, trials),  # type: ignore[misc]
        )
        assert len(ours.trials) == turns * cycles
        ours._storage.close()
        title = f"{name}, {_REPORTS} reports a trial" if objective is _reporting else name
        figures.append(Figure(title, "trials/s", *rates, peer_name, Target("ratio", "at least", least)))
    return figures


def optuna_crowd(bench: Bench) -> list[Figure]:
    """The total rate of eight processes in one study; none of its trials may be lost or doubled."""
    turns, share = bench.sizes.crowd_turns, max(bench.sizes.crowd // _PROCESSES, 1)
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(_PROCESSES, timeout=_START_S)
    places = {kind: bench.place(kind) for kind in ("store", "journal")}
    studies = {kind: _study(kind, place) for kind, place in places.items()}
    with ProcessPoolExecutor(_PROCESSES, context, _enter, (gate,)) as pool:
        tasks = [pool.submit(_work, places, seed, turns, share) for seed in range(_PROCESSES)]
        told = [task.result() for task in tasks]
    rates: dict[str, tuple[float, ...]] = {}
    for kind, study in studies.items():
        numbers = [trial.number for trial in study.trials if trial.state.name == "COMPLETE"]
        assert numbers == list(range(turns * _PROCESSES * share)), f"{kind}: a trial was lost or doubled"
        spans = [[one[kind][turn] for one in told] for turn in range(turns)]
        rates[kind] = tuple(
            _PROCESSES * share / (max(ended for _, ended in span) - min(started for started, _ in span))
            for span in spans
        )
    studies["store"]._storage.close()
    name = "study.optimize, eight processes"
    target = Target("ratio", "at least", 2)
    return [Figure(name, "trials/s", rates["store"], rates["journal"], _JOURNAL, target)]


def _enter(gate: Barrier) -> None:
    global _gate
    _gate = gate


def _work(places: dict[str, Path], seed: int, turns: int, share: int) -> dict[str, list[tuple[float, float]]]:
    studies = {kind: _study(kind, place, seed) for kind, place in places.items()}
    told: dict[str, list[tuple[float, float]]] = {kind: [] for kind in places}
    for _ in range(turns):
        for kind, study in studies.items():
            _gate.wait()
            started = time.monotonic()
            study.optimize(_plain, n_trials=share)
            told[kind].append((started, time.monotonic()))
    _gate.wait()
    studies["store"]._storage.close()
    return told


_FIRST_READ = """
import json, sys, time
import optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
kind, place = sys.argv[1:]
if kind == "store":
    from trialstore.integrations.optuna import TrialStoreStorage
    storage = TrialStoreStorage(place)
else:
    storage = optuna.storages.get_storage(f"sqlite:///{place}")
study = optuna.load_study(study_name="lives", storage=storage)
started = time.perf_counter()
trials = study.trials
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "trials": len(trials), "sum": sum(trial.value for trial in trials)}))
"""


def optuna_read(bench: Bench) -> list[Figure]:
    """`study.trials` of many trials, read for the first time by a fresh process, after `compact`."""
    count = bench.sizes.optuna_trials
    database, store = bench.place("sqlite"), bench.place("store")
    source = random.Random(1)
    values = [[source.random() for _ in range(_PARAMS)] for _ in range(count)]
    _fill_sqlite(database, values)
    _fill_store(store, values)
    _compact(store)

    def seconds(kind: str, place: Path) -> float:
        answer = run_fresh(_FIRST_READ, kind, place)
        assert answer["trials"] == count
        sums.add(answer["sum"])
        return float(answer["seconds"])

    sums: set[float] = set()
    ours, peer = interleave(
        min(bench.sizes.rounds, 2), lambda: seconds("store", store), lambda: seconds("sqlite", database)
    )
    assert len(sums) == 1, "the two disagree on the values"
    return [Figure(f"first study.trials of {count:,}", "s", ours, peer, _SQLITE, Target("ratio", "at most", 0.2))]


def optuna_bytes(bench: Bench) -> list[Figure]:
    """What a trial of `study.optimize` takes on disk: the store's parts after `compact`, and the journal file."""
    count = bench.sizes.optuna_bytes_trials
    journal, store = bench.place("journal"), bench.place("store")
    for kind, place in (("journal", journal), ("store", store)):
        study = _study(kind, place)
        study.optimize(_plain, n_trials=count)
        if kind == "store":
            study._storage.close()
    _compact(store)
    parts = sum(path.stat().st_size for path in store.rglob("*.parquet")) / count
    peer = journal.stat().st_size / count
    name, target = "a trial on disk, after compaction", Target("ratio", "at most", 0.1)
    return [Figure(name, "bytes/trial", (parts,), (peer,), _JOURNAL, target)]


def _compact(place: Path) -> None:
    import trialstore as ts

    with ts.open(place) as store:
        store.experiment("lives").compact(grace=timedelta(0))


_START = datetime(2026, 1, 1)
_FILL_TRIALS = 10_000


def _fill_store(place: Path, values: list[list[float]]) -> None:
    """The same study as `_fill_sqlite` makes, thousands of trials a commit."""
    from optuna.distributions import FloatDistribution
    from optuna.trial import FrozenTrial, TrialState

    study = _study("store", place)
    distributions = {f"x{index}": FloatDistribution(0, 1) for index in range(_PARAMS)}
    for first in range(0, len(values), _FILL_TRIALS):
        trials = [
            FrozenTrial(
                number=number,
                trial_id=number,
                state=TrialState.COMPLETE,
                value=row[0],
                datetime_start=_START + timedelta(milliseconds=number),
                datetime_complete=_START + timedelta(milliseconds=number),
                params=dict(zip(distributions, row, strict=True)),
                distributions=distributions,
                user_attrs={},
                system_attrs={},
                intermediate_values={},
            )
            for number, row in enumerate(values[first : first + _FILL_TRIALS], first)
        ]
        study._storage.create_new_trials(study._study_id, trials)
    study._storage.close()


def _fill_sqlite(place: Path, rows: list[list[float]]) -> None:
    """A study as `study.optimize` leaves it, but written in one go: trial by trial it would take an hour."""
    from optuna.distributions import FloatDistribution, distribution_to_json

    study = _study("sqlite", place)
    study._storage.remove_session()
    study._storage._backend.engine.dispose()
    text = distribution_to_json(FloatDistribution(0, 1))
    times = [str(_START + timedelta(milliseconds=number)) for number in range(len(rows))]
    with sqlite3.connect(place) as database:
        database.executemany(
            "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete)"
            " VALUES (?, ?, ?, 'COMPLETE', ?, ?)",
            ((number + 1, number, study._study_id, at, at) for number, at in enumerate(times)),
        )
        database.executemany(
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
            ((n + 1, f"x{i}", value, text) for n, row in enumerate(rows) for i, value in enumerate(row)),
        )
        database.executemany(
            "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, 0, ?, 'FINITE')",
            ((number + 1, row[0]) for number, row in enumerate(rows)),
        )
    database.close()
