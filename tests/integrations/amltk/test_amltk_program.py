"""A program of AMLTK's with worker processes: what they store and report is all there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import trialstore as ts
from trialstore.integrations.amltk import load_history

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "amltk_program.py"


def test_a_program_with_two_workers(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), "results", "random", "2"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]  # no folder of AMLTK's beside it
    with ts.open(tmp_path / "results", mode="r") as store:
        experiment = store.experiment("program")
        history = load_history(experiment)
        assert len(history) == 12
        assert {report.status.value for report in history} == {"success", "fail"}
        for report in history:
            x = report.config["point:x"]
            assert report.summary == {"squared": x**2}
            assert report.retrieve("config.json") == report.config
            np.testing.assert_array_equal(report.retrieve("curve.npy", check=np.ndarray), np.linspace(0.0, x, 5))
            assert report.profiles["evaluate"].time.duration > 0
            assert report.trial.seed is not None
            if report.status.value == "fail":
                assert report.exception is not None
                assert report.exception.args == ("x is too large", x)
                assert report.values == {"loss": 1_000.0}
            else:
                assert report.values == {"loss": x**2, "size": len(report.config["point:kind"])}
        kept = store.sql("SELECT count(*), count(DISTINCT trial), min(trial) FROM artifacts").fetchall()
        assert kept == [(36, 12, 0)]
        workers = store.sql("SELECT count(DISTINCT worker), count(started_at) FROM trials").fetchall()
        assert workers == [(1, 12)]  # the scheduler's process holds them
