"""What a run has to work with: a folder on the disk that is measured, how large things are, and fresh processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

__all__ = ["FULL", "QUICK", "Bench", "Sizes", "run_fresh"]

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        rounds: Rounds of ours and peer in turn.
        starts: Fresh processes of each side where starting is measured.
        turns: Rounds of ours and peer in turn where both stay open.
        cycles: Trials of such a round.
        bulk: Trials registered in one call.
        crowd_turns: Turns of eight processes together and one alone.
        crowd: Trials of such a turn.
        points: Telemetry points handed in as Arrow columns.
        tuples: Telemetry points handed in as tuples.
        history: Finished trials of the large experiment.
        workers: Workers on a simulated bucket.
        worker_cycles: Trials of each of them.
        reports: Reports of which a frame is made.
        peer_reports: The same for a peer that takes long for each.
        blocks: Blocks that are measured in a round.
        artifact_mib: Mebibytes of a large artifact.
        optuna_turns: Rounds of ours and of another storage of Optuna in turn.
        optuna_trials: Finished trials of a study that is read.
        optuna_bytes_trials: Trials of a study whose size on disk is measured.
    """

    rounds: int
    starts: int
    turns: int
    cycles: int
    bulk: int
    crowd_turns: int
    crowd: int
    points: int
    tuples: int
    history: int
    workers: int
    worker_cycles: int
    reports: int
    peer_reports: int
    blocks: int
    artifact_mib: int
    optuna_turns: int
    optuna_trials: int
    optuna_bytes_trials: int


FULL = Sizes(
    rounds=5,
    starts=15,
    turns=42,
    cycles=100,
    bulk=10_000,
    crowd_turns=15,
    crowd=160,
    points=4_000_000,
    tuples=400_000,
    history=1_000_000,
    workers=64,
    worker_cycles=20,
    reports=20_000,
    peer_reports=400,
    blocks=2_000,
    artifact_mib=1024,
    optuna_turns=10,
    optuna_trials=100_000,
    optuna_bytes_trials=5_000,
)
QUICK = Sizes(
    rounds=1,
    starts=1,
    turns=2,
    cycles=10,
    bulk=100,
    crowd_turns=2,
    crowd=16,
    points=20_000,
    tuples=2_000,
    history=2_000,
    workers=4,
    worker_cycles=2,
    reports=50,
    peer_reports=5,
    blocks=20,
    artifact_mib=24,
    optuna_turns=1,
    optuna_trials=200,
    optuna_bytes_trials=20,
)


class Bench:
    """One run.

    Args:
        folder: Everything is written below it.
        sizes: How much is measured.
    """

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.folder = folder
        self.sizes = sizes
        self._own = folder / f"run-{os.getpid()}"
        self._numbers = count()

    def place(self, name: str) -> Path:
        """A path of this run that nothing has used; it is removed by `clean`."""
        self._own.mkdir(parents=True, exist_ok=True)
        return self._own / f"{next(self._numbers)}-{name}"

    def clean(self) -> None:
        """Remove all that `place` named; the large experiment stays."""
        shutil.rmtree(self._own, ignore_errors=True)


def run_fresh(script: str, *arguments: object) -> dict[str, Any]:
    """Run a script in a new interpreter and return the JSON object that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
