"""`python -m benchmarks`: print every figure beside its peer, on one disk, in one run."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks import (
    artifact,
    contention,
    crowd,
    footprint,
    life_cycle,
    mlos,
    optuna_storage,
    reading,
    reports,
    telemetry,
)
from benchmarks.bench import FULL, QUICK, Bench
from benchmarks.disk import disk, flush_ms
from benchmarks.figure import Figure
from benchmarks.report import table

FIGURES: dict[str, Callable[[Bench], list[Figure]]] = {
    "life-cycle": life_cycle.life_cycle,
    "bulk": life_cycle.bulk,
    "crowd": crowd.crowd,
    "contention": contention.contention,
    "telemetry": telemetry.telemetry,
    "history": reading.history,
    "five-best": reading.five_best,
    "cold": reading.cold,
    "memory": footprint.memory,
    "reports": reports.reports,
    "measuring": reports.measuring,
    "artifact": artifact.artifact,
    "import": footprint.start,
    "optuna-one": optuna_storage.optuna_one,
    "optuna-crowd": optuna_storage.optuna_crowd,
    "optuna-read": optuna_storage.optuna_read,
    "optuna-bytes": optuna_storage.optuna_bytes,
    "mlos": mlos.mlos,
}

APART = frozenset({"mlos"})
"""Figures beside a tool that cannot be installed with the others: measured where it is, when they are asked for."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, and return 1 when a target is missed (never with `--quick`)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=FIGURES, help="measure this figure; may be given again")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds of all figures here")
    parser.add_argument("--folder", type=Path, help="where to write: the disk that is measured; a temporary one if not")
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="benchmarks-")) if chosen.folder is None else chosen.folder
    console = Console()
    bench = Bench(folder, QUICK if chosen.quick else FULL)
    figures: list[Figure] = []
    flushes = flush_ms(bench)
    try:
        for name in chosen.only or [name for name in FIGURES if name not in APART]:
            with console.status(f"measuring {name}"):
                figures += FIGURES[name](bench)
                flushes += flush_ms(bench)
    finally:
        bench.clean()
        if chosen.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    figures.append(disk(flushes))
    console.print(table(figures))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([figure.to_json() for figure in figures], indent=2) + "\n")
    return int(not chosen.quick and any(figure.met is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
