"""Kill workers and maintenance of one store at random instants: `python -m tests.faults.kills --kills 1000`.

Each process it starts imports this file, so it imports nothing heavy itself.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path


def main() -> None:
    from tests.faults.killing import kill_and_recover

    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32), help="of the instants")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = kill_and_recover(Path(folder), chosen.kills, chosen.seed)
    print(f"nothing lost in {time.monotonic() - started:.0f} s: {dict(done)}")


if __name__ == "__main__":
    main()
