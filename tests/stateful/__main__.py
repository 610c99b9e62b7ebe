"""The stateful test for longer: `python -m tests.stateful --examples 2000`, on a folder and in memory."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.stateful.test_store_machine import run
from trialstore.model.identity import new_ulid
from trialstore.testing import Place


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stateful", description=__doc__)
    parser.add_argument("--examples", type=int, default=500, help="programs on each place")
    parser.add_argument("--steps", type=int, default=50, help="calls in a program, at most")
    parser.add_argument("--place", choices=["folder", "memory"], action="append")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = {
            "folder": lambda: Place(Path(folder) / new_ulid()),
            "memory": lambda: Place(f"memory://stateful/{new_ulid()}"),
        }
        for name in chosen.place or places:
            started = time.monotonic()
            run(places[name], chosen.examples, chosen.steps, chance=True)
            print(f"{name}: {chosen.examples} programs in {time.monotonic() - started:.0f} s, all as expected")


if __name__ == "__main__":
    main()
