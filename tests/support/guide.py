"""A page of the guide whose programs need a tool that is not installed where the other pages are run."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

__all__ = ["run_page"]

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"


def run_page(name: str) -> int:
    """Run a page in the present folder from top to bottom; returns how many blocks of text it printed as it says."""
    page = GUIDE / f"{name}.md"
    names: dict[str, object] = {"__name__": "guide"}
    printed, said = "", 0
    for language, body in re.findall(r"```(python|text)\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        if language == "text":
            assert printed == body, printed
            said += 1
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(body, str(page), "exec"), names)
        printed = out.getvalue()
    return said
