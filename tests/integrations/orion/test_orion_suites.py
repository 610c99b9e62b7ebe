"""Oríon's own tests of its storage, unchanged, on a store; and they fail when the store does.

They are in Oríon's source alone: `.ci/integrations.sh` unpacks it and names it in ``TRIALSTORE_ORION_SOURCE``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.integrations.orion.suites import run

SOURCE = os.environ.get("TRIALSTORE_ORION_SOURCE")
pytestmark = pytest.mark.skipif(SOURCE is None, reason="TRIALSTORE_ORION_SOURCE does not say where Oríon's source is")


def ends(*arguments: str) -> tuple[dict[str, int], str]:
    assert SOURCE is not None
    done = run(Path(SOURCE), *arguments)
    return {
        word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|errors?)\b", done.stdout)
    }, done.stdout


def test_what_orion_tests_of_storage() -> None:
    found, text = ends("tests/unittests/storage", "tests/unittests/core/worker/test_experiment.py")
    assert found.keys() == {"passed"}, text
    assert found["passed"] >= 39 + 60


def test_the_suite_fails_when_the_store_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIALSTORE_SWAP", "broken")
    found, text = ends("tests/unittests/storage/test_storage.py")
    assert found["failed"] >= 20, text
