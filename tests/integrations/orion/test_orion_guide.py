"""The page of the guide runs as it stands, and prints what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.guide import run_page


def test_the_page_runs_and_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_page("orion") == 3
