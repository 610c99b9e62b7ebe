"""What a process pool's workers do with trials."""

from __future__ import annotations

import os
from typing import Any

import trialstore as ts


class AwkwardError(Exception):
    """Cannot come out of its pickle: it wants two arguments and is given one."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what} with {code}")


def evaluate(trial: ts.Trial) -> ts.Trial:
    """Run a trial and give it back, not ended."""
    with trial.begin(), trial.profile("fit", summary=True):
        trial.summary["process"] = os.getpid()
        trial.attach_extra("seen", (trial.summary.get("from"), 1))
        trial.report(step=0, loss=0.25)
        trial.store({"a.txt": "from the worker"})
        if trial.params["lr"] == "awkward":
            raise AwkwardError("broke", 7)
        if trial.params["lr"] == "plain":
            raise ValueError("broke")
    return trial


def finish(trial: ts.Trial) -> tuple[ts.Report, int]:
    """Run a trial and end it."""
    evaluate(trial)
    if trial.exception is not None:
        return trial.crashed(), os.getpid()
    return trial.success(loss=1.5, acc=ts.Observation(2.0, 0.5, 3)), os.getpid()


def look(report: ts.Report) -> dict[str, Any]:
    """What a report says in another process."""
    return {**report.to_dict(), "text": report.retrieve("a.txt")}
