"""A small store that has one of everything, for tests of maintenance and of damage."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trialstore as ts


def small_store(root: Path, *, finish: int = 4) -> ts.Store:
    """Trials in parts and in the state, reports, telemetry, artifacts, a checkpoint, and commits after it."""
    store = ts.open(root, maintenance=False)
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
    experiment.register_trials([{"lr": 0.1 * k} for k in range(finish + 2)])
    for number in range(finish):
        if number == finish - 1:
            experiment.flush()
            experiment.checkpoint()
        trial = experiment.reserve_trial()
        assert trial is not None
        now = datetime.now(UTC)
        trial.report(step=0, loss=1.0)
        trial.update_telemetry(trial.status, now, [(now, "cpu", 0.5)])
        trial.store({"notes.txt": f"run {number}"})
        trial.success(loss=float(number))
    store.flush()
    return store


def files(root: Path, pattern: str = "*") -> list[Path]:
    """The blobs of a store on local disk."""
    return sorted(
        path for path in root.rglob(pattern) if path.is_file() and not any(p.startswith(".") for p in path.parts)
    )


def grow_old(root: Path, age: timedelta, pattern: str = "*") -> None:
    """Have the files be older."""
    for path in files(root, pattern):
        time = path.stat().st_mtime - age.total_seconds()
        os.utime(path, (time, time))
