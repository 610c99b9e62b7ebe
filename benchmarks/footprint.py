"""What a worker costs before it does anything: the time to import, and the memory when attached."""

from __future__ import annotations

import shutil
from functools import partial

import trialstore as ts
from benchmarks.bench import Bench, run_fresh
from benchmarks.figure import Figure, Target, interleave
from benchmarks.large import EXPERIMENT, large

__all__ = ["memory", "start"]

_PEER = "import fsspec; from pydantic import BaseModel"

_IMPORT = """
import json, sys, time
started = time.perf_counter()
exec(sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - started}))
"""

_WORKER = f"""
import json, sys
import trialstore as ts
import psutil
def resident():
    return psutil.Process().memory_info().rss
def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
before = resident()
store = ts.open(sys.argv[1])
experiment = store.experiment({EXPERIMENT!r})
trial = experiment.reserve_trial()
trial.success(loss=0.5, accuracy=0.5, seconds=1.0)
after = resident()
print(json.dumps({{"attached": after - before, "peak": peak() - before}}))
"""


def start(bench: Bench) -> list[Figure]:
    """The time of the import statement in fresh processes, and, to inform, of the import and all that `open` needs."""
    figures = []
    targets = {"import trialstore": Target("ratio", "at most", 1.3), "import trialstore; trialstore.open": None}
    for statement, target in targets.items():
        ours, peer = interleave(bench.sizes.starts, partial(_import_s, statement), partial(_import_s, _PEER))
        figures.append(Figure(statement, "s", ours, peer, _PEER, target))
    return figures


def _import_s(statement: str) -> float:
    return float(run_fresh(_IMPORT, statement)["seconds"])


def memory(bench: Bench) -> list[Figure]:
    """Resident memory above `import trialstore` of a worker that claimed and finished a trial of the large one."""
    copy = bench.place("attached")
    shutil.copytree(large(bench).store, copy)
    answers = []
    for _ in range(bench.sizes.rounds):
        with ts.open(copy) as store:
            store.experiment(EXPERIMENT).register_trial({"rate0": 0.5})
        answers.append(run_fresh(_WORKER, copy))
    limit = Target("ours", "at most", 150.0)
    return [
        Figure(f"memory of an attached worker, {what}", "MB", tuple(a[part] / 1e6 for a in answers), (), "", limit)
        for part, what in (("attached", "afterwards"), ("peak", "at its peak"))
    ]
