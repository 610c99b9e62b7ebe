"""docs/RELIABILITY.md names, for each promise of the README, tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "RELIABILITY.md").read_text()
README = (ROOT / "README.md").read_text()


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def promised() -> list[str]:
    return [row[0] for row in rows(README, "What is guaranteed")]


def test_every_promise_has_a_row_and_every_row_a_promise() -> None:
    assert len(promised()) > 10
    assert [row[0] for row in rows(PAGE, "The promises")] == promised()
    assert "docs/RELIABILITY.md" in README


@pytest.mark.parametrize("row", rows(PAGE, "The promises"), ids=lambda row: row[0])
def test_the_tests_that_it_names_are_there(row: list[str]) -> None:
    _, tests, broken = row
    assert broken
    named = re.findall(r"`([^`]+)`", tests)
    assert named
    for test in named:
        path, _, name = test.partition("::")
        assert name, test
        sources = [ROOT / path]
        if path.startswith("tests/contract/"):  # the suites that users have as well
            sources += (ROOT / "trialstore" / "testing").glob("*.py")
        assert any(f"def {name}(" in source.read_text() for source in sources), test


def test_every_figure_has_its_command() -> None:
    for what, figure, command in rows(PAGE, "What was run"):
        assert what
        assert re.search(r"\d", figure), what
        assert command.startswith("`python -m "), what
        module = command.removeprefix("`python -m ").split()[0].strip("`")
        path = ROOT / module.replace(".", "/")
        assert module == "pytest" or (path / "__main__.py").exists() or path.with_suffix(".py").exists(), command
