"""The page of the guide runs as it stands, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "guide" / "optuna.md"


def test_the_page_runs_and_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "guide"}
    printed, said = "", 0
    for language, body in re.findall(r"```(python|text)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        if language == "text":
            assert printed == body
            said += 1
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(body, str(PAGE), "exec"), names)
        printed = out.getvalue()
    assert said == 4
