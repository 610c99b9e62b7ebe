"""Ax's own suites, unchanged, run with a store under Ax's storage seam; and they fail when the store does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SEAM = "ax.storage.sqa_store.tests.test_with_db_settings_base"
CLIENTS = ["ax.service.tests.test_ax_client", "ax.api.tests.test_client"]
PLAIN = "ax.storage.sqa_store.tests.test_skip_runners_and_metrics"
ORCHESTRATOR = "ax.orchestration.tests.test_orchestrator"

UNREGISTERED = (
    "test_early_stopping_not_called_without_new_data or test_poll_trial_status_abandons_trial_on_individual_failure"
    " or test_poll_trial_status_fallback_to_individual_polling"
)
"""They use runners that are in no registry, and fail on SQL for the same reason."""

OWN_LOSS = "test_resave_experiment_with_aux_exp_loses_custom_metrics_and_runner"
"""It demands that saving an experiment damages another one, its auxiliary."""


def run(tmp_path: Path, *arguments: str, **environment: str) -> tuple[dict[str, int], int, str]:
    """How many tests passed, failed and so on; how often the store was called; and all that was printed."""
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-p", "tests.integrations.ax.seam"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(tmp_path), "--pyargs", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    text = done.stdout + done.stderr
    ends = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)\b", text)}
    called = re.search(r"was called (\d+) times", text)
    assert called is not None, text
    return ends, int(called[1]), text


def test_what_ax_tests_of_storage(tmp_path: Path) -> None:
    """The seam's suite, those tests of the clients that use storage, and those of loading without runners."""
    chosen = f"(sqa or storage or database or db) and not {OWN_LOSS}"
    ends, called, text = run(tmp_path, SEAM, PLAIN, *CLIENTS, "-k", chosen)
    assert ends == {"passed": 21, "skipped": 1}, text
    assert called > 80


def test_the_suite_fails_when_the_store_does(tmp_path: Path) -> None:
    ends, _, text = run(tmp_path, SEAM, TRIALSTORE_AX_CONTROL="1")
    assert ends["failed"] == 12, text  # the other one saves nothing


def test_the_orchestrators_own_suite(tmp_path: Path) -> None:
    """Each test of it persists. All of it, when TRIALSTORE_AX_ALL is set: that takes three minutes."""
    whole = "TRIALSTORE_AX_ALL" in os.environ
    tests = f"not ({UNREGISTERED})" if whole else "TestAxOrchestrator and (sqa or storage or run_n_trials or stored)"
    ends, called, text = run(tmp_path, ORCHESTRATOR, "-k", tests, TRIALSTORE_AX_ALWAYS="1")
    assert ends.keys() <= {"passed", "skipped"}, text
    assert ends["passed"] >= (158 if whole else 18), text
    assert called > 100
