"""`trialstore run`, as a user's shell runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import trialstore as ts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work.py").write_text(
        "def square(x):\n    return x**2\n\ndef fails(trial):\n    raise ValueError('no')\n"
    )
    with ts.open(tmp_path / "results") as store:
        store.create_experiment("tune", metrics=[ts.Metric("loss")], space={"x": ts.Real(1, 2)})
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from trialstore.cli import main; main()", "run", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_trials_are_evaluated_with_a_function_of_this_folder(folder: Path) -> None:
    done = run(folder, "work:square", "results", "tune", "-n", "3", "-w", "2", "--takes", "keywords", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert "3 trials evaluated: 3 succeeded\nbest so far: trial " in done.stdout
    assert done.stderr == "", "no bar where there is no terminal"
    again = run(folder, "work:fails", "results", "tune", "-n", "1", "--retries", "1", "-w", "1", "--json")
    assert json.loads(again.stdout)["trials"] == {"3": "CRASHED", "4": "CRASHED"}
    assert json.loads(again.stdout)["retried"] == {"3": 4}
    with ts.open(folder / "results", mode="r") as store:
        assert [trial.status.name for trial in store["tune"].trials()] == ["SUCCEEDED"] * 3 + ["CRASHED"] * 2


def test_what_cannot_run_is_told(folder: Path) -> None:
    for function, said in (("work:none", "has no attribute 'none'"), ("absent:f", "No module named 'absent'")):
        done = run(folder, function, "results", "tune")
        assert done.returncode == 1
        assert "function cannot be found" in done.stderr
        assert said in done.stderr
    assert run(folder, "work:square", "nowhere", "tune").returncode == 1
    assert run(folder, "work:square", "results", "tune", "--time-limit", "soon").returncode == 2
    assert (
        "a trial in this thread has no time limit"
        in run(folder, "work:square", "results", "tune", "-w", "0", "--time-limit", "1s").stderr
    )
    with ts.open(folder / "results", mode="r") as store:
        assert len(store["tune"]) == 0
