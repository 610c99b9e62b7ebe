"""A few hundred seeds of the simulation, and the proof that it finds what is broken on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.breaks import BREAKS, FIRST_SEED, FOUND_BY

ROOT = Path(__file__).parents[2]
SEEDS = 400


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("start", range(0, SEEDS, SEEDS // 4))
def test_every_history_has_an_explanation(start: int) -> None:
    ran = simulate("--start", str(start), "--seeds", str(SEEDS // 4))
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_on_purpose_is_found(name: str) -> None:
    ran = simulate("--start", str(FIRST_SEED.get(name, 0)), "--seeds", str(SEEDS), "--break", name)
    checks = FOUND_BY[name]
    assert ran.returncode == 1, f"{name} was found in {SEEDS} seeds by none of {checks}"
    assert any(f" failed: {check}: BrokenError" in ran.stdout for check in checks)
    assert "replay: python -m tests.simulation --seed" in ran.stdout


def test_a_seed_is_one_history() -> None:
    first, second = simulate("--seed", "3"), simulate("--seed", "3")
    assert first.returncode == 0, first.stdout[-2000:]
    assert first.stdout == second.stdout
