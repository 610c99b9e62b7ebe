"""``python -m tests.faults.power --rounds 20``: the power goes off under workers, on an ext4 that is mounted for it.

The file system is told to stop as it is (``EXT4_IOC_SHUTDOWN`` without writing its journal), which leaves on its disk
what was forced there and whatever else had arrived. Then it is checked, mounted again, and the store must have all that
was acknowledged. It needs root, a loop device and e2fsprogs.

Source: Linux, ``fs/ext4/ioctl.c``.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_SHUTDOWN = 0x8004587D
_WITHOUT_THE_JOURNAL = 2
_WORK = """
import sys, trialstore as ts
from trialstore.journal.batch import Draft
from trialstore.model.identity import params_hash
store = ts.open(sys.argv[1])
experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")], exist_ok=True)
seen = []
while True:
    seen.append(None)
    params = {"x": f"not forced {sys.argv[2]} {len(seen)}"}
    body = {"id": params_hash(params), "params": params}
    experiment._ledger.execute(Draft("register", {"trials": [body]}), force=False)
    registered = experiment.register_trial({"x": f"{sys.argv[2]} {len(seen)}"}).number
    print("registered", registered, flush=True)
    trial = experiment.reserve_trial()
    if trial is not None:
        number = trial.number
        trial.success(loss=float(number))
        print("succeeded", number, flush=True)
"""
_CHECK = """
import sys, trialstore as ts
from trialstore.blobs import ahead
ahead.boot_id = lambda: sys.argv[2]  # the machine itself goes on
with ts.open(sys.argv[1], maintenance=False) as store:
    experiment = store.experiment("tune")
    known = {trial.number: trial for trial in experiment.trials()}
    for line in sys.stdin:
        what, number = line.split()
        trial = known[int(number)]
        assert what == "registered" or dict(trial.metrics) == {"loss": float(number)}, (line, trial)
    report = store.verify()
    assert report.ok, report
    experiment.register_trial({"x": "afterwards"})
    print(len(known))
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.power", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3.0, help="of the longest round")
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(chosen.rounds):
            options = "^has_journal" if number % 2 else "has_journal"
            acknowledged, there = _round(
                Path(folder), options, chosen.workers, chance.uniform(0.5, chosen.seconds), number
            )
            print(f"round {number} ({options}): {acknowledged} acknowledged, {there} trials there", flush=True)
    print("nothing was lost")
    return 0


def _round(folder: Path, options: str, workers: int, seconds: float, number: int) -> tuple[int, int]:
    image, mount = folder / "image", folder / "mount"
    mount.mkdir(exist_ok=True)
    image.write_bytes(b"")
    os.truncate(image, 256 << 20)
    _run("mkfs.ext4", "-q", "-F", "-O", options, str(image))
    _run("mount", "-o", "loop", str(image), str(mount))
    try:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", _WORK, str(mount / "store"), str(worker)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for worker in range(workers)
        ]
        lines = [process.stdout.readline() for process in processes if process.stdout is not None]
        if b"" in lines:
            raise RuntimeError("a worker ended")
        time.sleep(seconds)  # of real work: what is on the disk is a matter of time
        fd = os.open(mount, os.O_RDONLY)
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("=I", _WITHOUT_THE_JOURNAL))
        os.close(fd)
        for process in processes:
            process.kill()
            lines += process.communicate()[0].splitlines(keepends=True)
    finally:
        _run("umount", str(mount))
    subprocess.run(["e2fsck", "-fy", str(image)], check=False, capture_output=True)
    _run("mount", "-o", "loop", str(image), str(mount))
    try:
        told = b"".join(line for line in lines if line.endswith(b"\n"))
        command = [sys.executable, "-c", _CHECK, str(mount / "store"), f"boot {number}"]
        there = int(subprocess.run(command, input=told, check=True, stdout=subprocess.PIPE).stdout)
    finally:
        _run("umount", str(mount))
    return len(told.splitlines()), there


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
