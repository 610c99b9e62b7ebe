"""A large artifact: stored and read back, beside fsspec's plain copy of the same file on the same disk."""

from __future__ import annotations

from benchmarks.bench import Bench, run_fresh
from benchmarks.figure import Figure, Target

__all__ = ["artifact"]

_SCRIPT = """
import json, os, sys, time
from pathlib import Path
import fsspec
import trialstore as ts

folder, mebibytes, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
source, copy, out = folder / "source", folder / "copy", folder / "out"
folder.mkdir(parents=True)
piece = os.urandom(1 << 20)
with open(source, "wb") as file:
    for number in range(mebibytes):
        file.write(number.to_bytes(8, "big") + piece[8:])
    os.fsync(file.fileno())
plain = fsspec.filesystem("file")

def flushed(path):
    for place in (path, path.parent):
        fd = os.open(place, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

def resident():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

def timed(step):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = resident(), time.perf_counter()
    step()
    return time.perf_counter() - started, peak() - before

answers = {"machine": [], "process": [], "read": []}
for durability in ("machine", "process"):
    with ts.open(folder / durability, durability=durability) as store:
        experiment = store.create_experiment("large")
        for turn in range(rounds + 1):
            trial = experiment.register_trial({"x": turn}, reserve=True)
            trial.store({"small.bin": b"1"})
            peer_s, _ = timed(lambda: plain.put_file(str(source), str(copy)))
            if durability == "machine":
                more_s, _ = timed(lambda: flushed(copy))
                peer_s += more_s
            os.unlink(copy)
            ours_s, memory = timed(lambda: trial.store({"large.bin": source}))
            path = folder / durability / trial.artifacts()["large.bin"].path
            if turn:  # the first round warms up
                answers[durability].append((ours_s, peer_s, memory))
            peer_s, _ = timed(lambda: plain.get_file(str(path), str(copy)))
            os.unlink(copy)
            ours_s, memory = timed(lambda: trial.retrieve_file("large.bin", out))
            assert out.stat().st_size == mebibytes << 20
            if turn:
                answers["read"].append((ours_s, peer_s, memory))
            out.unlink()
            path.unlink()  # so that the next round has no equal bytes to find
print(json.dumps(answers))
"""


def artifact(bench: Bench) -> list[Figure]:
    """Speed and memory of storing a file and of reading it back, whole and checked by its SHA-256."""
    mebibytes = bench.sizes.artifact_mib
    answers = run_fresh(_SCRIPT, bench.place("artifact"), mebibytes, bench.sizes.rounds)
    name = f"an artifact of {mebibytes} MiB"
    enough = Target("ratio", "at least", 0.8)
    figures = []
    for key, what, peer, target in (
        ("machine", "stored, durable", "fsspec put_file and two fsyncs", enough),
        ("process", "stored, not flushed", "fsspec put_file", None),
        ("read", "read into a file, checked", "fsspec get_file, unchecked", enough),
    ):
        ours, theirs, memory = zip(*answers[key], strict=True)
        speeds = tuple(mebibytes / seconds for seconds in ours), tuple(mebibytes / seconds for seconds in theirs)
        figures.append(Figure(f"{name}, {what}", "MiB/s", *speeds, peer, target))
        bounded = Target("ours", "at most", 64.0)
        # Not less than one byte, for a round that took no memory at all.
        used = tuple(max(size, 1) / (1 << 20) for size in memory)
        figures.append(Figure(f"{name}, {what}: memory", "MiB", used, (), "", bounded))
    return figures
