"""The benchmark beside mlos_bench's own storage runs to its end; no time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_figures_beside_its_own_storage_are_measured(tmp_path: Path) -> None:
    answer = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "mlos", "--json", str(answer)]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path / "disk")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(answer.read_text("utf-8"))
    limits = [figure["target"] and figure["target"]["limit"] for figure in figures]
    assert limits == [8.0, None, 8.0, 100.0, 0.05, None]
    assert all(value > 0 for figure in figures for value in figure["ours"] + figure["peer"])
