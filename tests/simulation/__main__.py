"""``python -m tests.simulation --seeds 10000``: many histories; ``--seed N``: one of them again."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="play this one again, and print what happened")
    parser.add_argument("--break", dest="broken", help="with this guarantee broken on purpose; 'list' names them")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--traceback", action="store_true", help="where a failing seed was found out")
    chosen = parser.parse_args()

    from tests.simulation.breaks import BREAKS, FOUND_BY

    if chosen.broken == "list":
        print("\n".join(BREAKS))
        return 0
    if chosen.seed is not None:
        ending = play(chosen.broken, chosen.seed, chosen.traceback)
        print(*ending.trace, sep="\n")
        print(f"seed {ending.seed} digest {ending.digest}: {ending.problem or 'everything holds'}")
        return 0 if ending.problem is None else 1
    began = time.perf_counter()
    counts: Counter[str] = Counter()
    failed = 0
    seeds = range(chosen.start, chosen.start + chosen.seeds)
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for ending in pool.map(partial(play, chosen.broken), seeds, chunksize=8):
            counts += ending.counts
            if chosen.broken and ending.check not in FOUND_BY[chosen.broken]:
                continue
            if ending.problem is not None:
                failed += 1
                again = f"python -m tests.simulation --seed {ending.seed}"
                again += f" --break {chosen.broken}" if chosen.broken else ""
                found = f"{ending.check}: " if ending.check else ""
                print(f"seed {ending.seed} failed: {found}{ending.problem[:1500]}\n  replay: {again}", flush=True)
                if chosen.broken:
                    pool.shutdown(cancel_futures=True)
                    break
    if not chosen.broken:
        for name, count in sorted(counts.items()):
            print(f"{count:9d} {name}")
    print(f"{counts['seeds']} seeds, {failed} failed, {time.perf_counter() - began:.1f} s")
    return 1 if failed else 0


def play(broken: str | None, seed: int, show_traceback: bool = False):  # type: ignore[no-untyped-def]
    import logging

    from tests.simulation.breaks import broken_on_purpose
    from tests.simulation.run import run_seed

    logging.disable(logging.WARNING)
    with broken_on_purpose(broken):
        return run_seed(seed, show_traceback)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of a set of names is part of the history
        root = str(Path(__file__).parents[2])
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    sys.exit(main())
