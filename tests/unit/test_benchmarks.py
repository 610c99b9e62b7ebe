"""The benchmark command runs to its end, measures both sides, and judges by the median; no time is asserted."""

import importlib.util
import json
import operator
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
REACHES = {"at least": operator.ge, "at most": operator.le}


def measure(tmp_path, *names):
    answer = tmp_path / "figures.json"
    chosen = [argument for name in names for argument in ("--only", name)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", answer, "--folder", tmp_path / "disk", *chosen],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(answer.read_text()), done.stdout


def check(figures):
    for figure in figures:
        assert all(value > 0 for value in figure["ours"] + figure["peer"]), figure
        assert figure["ours"], figure
        if figure["peer"]:
            assert figure["ratios"] == [a / b for a, b in zip(figure["ours"], figure["peer"], strict=True)]
        target = figure["target"]
        if target is None:
            assert figure["met"] is None
        else:
            value = median(figure["ours"] if target["of"] == "ours" else figure["ratios"])
            assert figure["met"] is REACHES[target["sense"]](value, target["limit"])


def test_every_figure_without_another_store_as_peer_is_measured(tmp_path):
    figures, shown = measure(
        tmp_path, "crowd", "contention", "telemetry", "history", "five-best", "cold", "memory", "import", "artifact"
    )
    check(figures)
    assert sum(figure["target"] is not None for figure in figures) == 18
    for word in (
        "eight processes",
        "telemetry",
        "history",
        "five best",
        "cold open",
        "memory",
        "an artifact",
        "import trialstore",
        "fsync",
    ):
        assert word in shown


@pytest.mark.skipif(importlib.util.find_spec("amltk") is None, reason="the dependency group bench brings amltk")
def test_figures_beside_amltk_are_measured(tmp_path):
    figures, shown = measure(tmp_path, "reports", "measuring")
    check(figures)
    assert [figure["target"] and figure["target"]["limit"] for figure in figures] == [100, None, 1.0, 1.0, None]
    assert "AMLTK" in shown


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="the dependency group bench brings optuna")
def test_figures_beside_optuna_are_measured(tmp_path):
    figures, shown = measure(tmp_path, "life-cycle", "bulk")
    check(figures)
    assert [figure["target"] and figure["target"]["limit"] for figure in figures] == [1.5, 50, None, None]
    assert "Optuna" in shown


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="the dependency group bench brings optuna")
def test_figures_of_optunas_storages_are_measured(tmp_path):
    figures, shown = measure(tmp_path, "optuna-one", "optuna-crowd", "optuna-read", "optuna-bytes")
    check(figures)
    assert [figure["target"] and figure["target"]["limit"] for figure in figures] == [1.5, 20, 4, 2, 0.2, 0.1, None]
    assert "study.trials" in shown
