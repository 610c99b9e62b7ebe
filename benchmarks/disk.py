"""What the disk itself takes to make bytes durable: without it, no durable rate can be read."""

from __future__ import annotations

import os
import time

from benchmarks.bench import Bench
from benchmarks.figure import Figure

__all__ = ["disk", "flush_ms"]

_LINE = b"x" * 400
_SAMPLES = 30


def flush_ms(bench: Bench) -> list[float]:
    """How many milliseconds each of some appends took, fsync included."""
    taken = []
    with open(bench.place("appended"), "ab", buffering=0) as file:
        for _ in range(_SAMPLES):
            started = time.perf_counter()
            file.write(_LINE)
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - started) * 1e3)
    return taken


def disk(samples: list[float]) -> Figure:
    """The line that says how quick the disk was between the figures, and how steady."""
    return Figure("an append and fsync on this disk", "ms", tuple(samples), (), "")
