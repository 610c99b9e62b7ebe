"""Every page of the guide runs from top to bottom, and prints what it says."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from pathlib import Path

import pytest

GUIDES = sorted((Path(__file__).resolve().parents[2] / "docs" / "guide").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("guide", GUIDES, ids=[guide.stem for guide in GUIDES])
def test_the_page_runs_and_prints_what_it_says(guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    names: dict[str, object] = {"__name__": "guide"}
    printed = ""
    text = guide.read_text("utf-8")
    for block in BLOCK.finditer(text):
        language, code = block.groups()
        line = text[: block.start()].count("\n") + 1
        if language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile("\n" * line + code, str(guide), "exec"), names)
            printed = out.getvalue()
        elif language == "text":
            same = doctest.OutputChecker().check_output(code, printed, doctest.ELLIPSIS)
            assert same, f"{guide.name}, line {line}:\n{printed}"


def test_there_is_a_guide() -> None:
    assert GUIDES
    assert all(BLOCK.search(guide.read_text("utf-8")) for guide in GUIDES)
