"""The README's program runs as it stands, and its raw query gives the trial that the program found best."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

import trialstore as ts

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def block(language: str) -> str:
    """All blocks of a language, as one text."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL))


def test_the_program_and_the_raw_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block("python"), "README.md", "exec"), {})
    with ts.open("results") as store:
        store.compact()
        best = store.experiment("tune-redis").best()
    assert best is not None
    ((trial, params, latency_ms),) = duckdb.sql(block("sql")).fetchall()
    assert (trial, params, latency_ms) == (best.number, dict(best.params), best.metrics["latency_ms"])
