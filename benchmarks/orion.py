"""A trial's life in Oríon, on a store and on its own PickledDB, and with 1,000 and 100,000 trials there.

python -m benchmarks.orion [--quick]     in an environment with ``trialstore[orion]``
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

__all__ = ["main"]

_numbers = count()


def life(storage: Any, experiment: Any) -> None:
    """Register, reserve, push and complete one trial; a store forces it to the disk at its end, PickledDB never."""
    from orion.core.worker.trial import Trial

    storage.register_trial(_trial(experiment, Trial))
    trial = storage.reserve_trial(experiment)
    trial.results = [Trial.Result(name="loss", type="objective", value=1.5)]
    trial.end_time = datetime.datetime.utcnow()
    storage.push_trial_results(trial)
    storage.set_trial_status(trial, "completed")


def _trial(experiment: Any, kind: Any) -> Any:
    number = next(_numbers)
    params = [{"name": "x", "type": "real", "value": number / 2}, {"name": "n", "type": "integer", "value": number}]
    return kind(experiment=experiment._id, params=params, submit_time=datetime.datetime.utcnow())


def _opened(config: dict[str, Any]) -> tuple[Any, Any]:
    from orion.storage.base import setup_storage

    storage = setup_storage(config)
    document: dict[str, Any] = {"name": "tune", "version": 1}
    storage.create_experiment(document)
    return storage, SimpleNamespace(_id=document["_id"], id=document["_id"])


def _fill(storage: Any, experiment: Any, trials: int) -> None:
    """Finished trials, as many at once as go into a commit or a file."""
    from orion.core.worker.trial import Trial

    documents = []
    for _ in range(trials):
        trial = _trial(experiment, Trial)
        trial.status = "completed"
        documents.append(trial.to_dict())
    for start in range(0, trials, 1000):
        storage._db.write("trials", documents[start : start + 1000])


def _seconds(storage: Any, experiment: Any, lives: int) -> float:
    started = time.perf_counter()
    for _ in range(lives):
        life(storage, experiment)
    return (time.perf_counter() - started) / lives


def beside_pickled(folder: Path, trials: int, rounds: int, lives: int) -> list[float]:
    """How many times as quick as PickledDB, in rounds of both in turn, with so many trials there."""
    ours = _opened({"type": "trialstore", "url": str(folder / "ours")})
    peer = _opened({"type": "legacy", "database": {"type": "pickleddb", "host": str(folder / "peer.pkl")}})
    for storage, experiment in (ours, peer):
        _fill(storage, experiment, trials)
        life(storage, experiment)
    return [_seconds(*peer, 2) / _seconds(*ours, lives) for _ in range(rounds)]


def growth(folder: Path, few: int, many: int, rounds: int, lives: int) -> list[float]:
    """How many times as long one life takes with many trials there as with few, in rounds of both in turn."""
    sides = []
    for name, trials in (("few", few), ("many", many)):
        storage, experiment = _opened({"type": "trialstore", "url": str(folder / name)})
        _fill(storage, experiment, trials)
        storage.store.experiment("tune").flush()
        life(storage, experiment)
        sides.append((storage, experiment))
    return [_seconds(*sides[1], lives) / _seconds(*sides[0], lives) for _ in range(rounds)]


def _range(values: list[float]) -> str:
    return f"({min(values):.2f} to {max(values):.2f})"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return 1 when a target is missed (never with `--quick`)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orion", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    chosen = parser.parse_args(arguments)
    rounds, lives, trials, few, many = (1, 2, 20, 10, 100) if chosen.quick else (7, 50, 500, 1_000, 100_000)
    folder = Path(tempfile.mkdtemp(prefix="benchmarks-"))
    try:
        ratios = beside_pickled(folder, trials, rounds, lives)
        grown = growth(folder, few, many, rounds, lives)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    quick, slow = median(ratios), median(grown)
    print(f"a life, times as quick as PickledDB at {trials} trials: {quick:.1f} {_range(ratios)}, at least 15")
    print(f"a life at {many} trials, times as long as at {few}: {slow:.2f} {_range(grown)}, at most 1.5")
    return 0 if chosen.quick or (quick >= 15 and slow <= 1.5) else 1


if __name__ == "__main__":
    sys.exit(main())
