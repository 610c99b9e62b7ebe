"""What worker processes of the runner's tests evaluate."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import trialstore as ts
from trialstore.runner.stopping import stoppable


def square(x: float) -> float:
    return x**2


def metrics_of(params: Mapping[str, Any]) -> dict[str, float]:
    return {"loss": params["x"] + 0.5}


def process(trial: ts.Trial) -> float:
    return float(os.getpid())


def ends_itself(trial: ts.Trial) -> None:
    trial.report(step=0, seen=True)
    trial.prune(loss=7.0)


def gives_back(trial: ts.Trial) -> None:
    trial.suspend("not now")


def returns(trial: ts.Trial) -> Any:
    """What the parameter names."""
    return {"nothing": None, "text": "x", "unknown": {"los": 1}, "none": {}, "nan": float("nan")}[trial.params["x"]]


def raises(trial: ts.Trial) -> float:
    trial.report(step=0, before=1.5)
    raise ValueError(f"x is {trial.params['x']}")


def raises_at_first(trial: ts.Trial) -> float:
    if trial.parent is None:
        raise ValueError("at first")
    return 1.0


def dies(trial: ts.Trial) -> float:
    """Its process is killed in the middle, for odd parameters."""
    if trial.params["x"] % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(trial.params["x"])


def hangs(trial: ts.Trial) -> float:
    """Says where it runs, and never ends by itself."""
    note(trial)
    while True:
        time.sleep(60)


def hangs_for_good(trial: ts.Trial) -> float:
    """Swallows whatever is raised in it."""
    note(trial)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


def waits(trial: ts.Trial) -> float:
    """Until a file is there."""
    note(trial)
    while not os.path.exists(trial.params["until"]):
        time.sleep(0.005)
    return float(os.getpid())


def note(trial: ts.Trial) -> None:
    """Leave a file with this process's number where the parameters say."""
    trial.report(step=0, begun=True)
    path = Path(trial.params["note"])
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)


def add(a: int, b: int = 0) -> int:
    return a + b


def where() -> int:
    return os.getpid()


def fail() -> None:
    raise ValueError("no")


def unsendable() -> Any:
    return threading.Lock()


def unsendable_error() -> None:
    error = ValueError("no")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def exit_with(code: int) -> None:
    os._exit(code)


def sleep(note: str) -> None:
    _stop(lambda: _sleep(note))


def stubborn(note: str) -> None:
    def swallow() -> None:
        while True:
            try:
                _sleep(note)
            except BaseException:
                pass

    _stop(swallow)


def _sleep(note: str) -> None:
    Path(note).write_text(str(os.getpid()))
    while True:
        time.sleep(60)


def _stop(function: Callable[[], None]) -> None:
    _, stopped = stoppable(function)
    if stopped is not None:
        raise stopped
