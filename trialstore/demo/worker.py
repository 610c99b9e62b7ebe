"""One worker of the demo: a process that claims trials from the store and evaluates them."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from functools import partial
from typing import Any

import trialstore as ts
from trialstore.demo.dataset import load_flights
from trialstore.demo.sampler import Sampler
from trialstore.demo.workload import evaluate

__all__ = ["ignore_interrupts", "work"]

PAUSE_S = 0.05
"""How long a worker that finds nothing to do waits before it looks again."""


def work(
    url: str,
    storage_options: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    experiment: tuple[str, int],
    scratch: str,
    stop: Any,
) -> None:
    """Claim and evaluate trials until `stop` is set.

    Args:
        url: The store.
        storage_options: For `trialstore.open`.
        options: For `trialstore.open`.
        experiment: Name and version.
        scratch: Where candidates are written.
        stop: A `multiprocessing` event.
    """
    table = load_flights()
    with ts.open(url, storage_options=storage_options, **options) as store:
        trials = store.experiment(*experiment)
        while not stop.is_set():
            trial = trials.reserve_trial()
            if trial is None:
                stop.wait(PAUSE_S)
                continue
            with trial.begin(), Sampler() as sampler:
                log = partial(_log, trial, sampler)
                cost = evaluate(table, trial.params, trial.fidelity, scratch=scratch, progress=log)
            _log_samples(trial, sampler)
            if trial.exception is not None:
                trial.crashed()
            else:
                trial.success(bytes=cost.bytes, write_seconds=cost.write_seconds, read_seconds=cost.read_seconds)


def _log(trial: ts.Trial, sampler: Sampler, step: int, write_seconds: float, read_seconds: float) -> None:
    trial.report(step=step, write_seconds=write_seconds, read_seconds=read_seconds)
    _log_samples(trial, sampler)


def _log_samples(trial: ts.Trial, sampler: Sampler) -> None:
    points = sampler.take()
    if points:
        trial.update_telemetry(trial.status, points[-1][0], points)


def ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
