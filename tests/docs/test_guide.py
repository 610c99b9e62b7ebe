"""Each page of the guide runs as it stands, from top to bottom, and prints what it says."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"
ELSEWHERE = {
    "ax",
    "mlos_bench",
    "mlos_databases",
    "optuna",
    "orion",
}  # tests/integrations run them, where the tools are
PAGES = [page for page in sorted(GUIDE.glob("*.md")) if page.stem not in ELSEWHERE]
_BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\w+)\.py\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of text after a block of Python is what that prints; one that begins with a file's name is that file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    text = page.read_text("utf-8")
    names: dict[str, object] = {"__name__": "guide"}
    printed = ""
    blocks = list(_BLOCK.finditer(text))
    assert blocks, "a page without a program"
    for block in blocks:
        language, body = block.groups()
        line = text.count("\n", 0, block.start()) + 1  # so that an error names the line of the page
        if language == "python" and (file := _FILE.match(body)):
            Path(f"{file[1]}.py").write_text(body, "utf-8")
            monkeypatch.delitem(sys.modules, file[1], raising=False)
        elif language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile("\n" * line + body, str(page), "exec"), names)
            printed = out.getvalue()
        else:
            same = doctest.OutputChecker().check_output(body, printed, doctest.ELLIPSIS)
            assert same, f"{page.name}, line {line}:\n{printed}"


def test_there_are_pages() -> None:
    assert PAGES
