"""The page of the guide on databases runs as it stands, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from tests.integrations.mlos_bench.written import fill, own_storage

PAGE = Path(__file__).resolve().parents[3] / "docs" / "guide" / "mlos_databases.md"


@pytest.mark.usefixtures("repository")
def test_the_page_runs_and_prints_what_it_says() -> None:
    fill(own_storage("sqlite:///mlos_bench.sqlite"))
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
    assert said == 3
