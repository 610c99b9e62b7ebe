"""Killed for real: workers, a flush, a compaction and a vacuum, fifty times; see `tests.faults.kills` for more."""

from __future__ import annotations

from pathlib import Path

from tests.faults.killing import kill_and_recover


def test_nothing_is_lost_when_processes_are_killed_at_random_instants(tmp_path: Path) -> None:
    done = kill_and_recover(tmp_path, kills=50, seed=20261121)
    assert done["kills"] == 50
    assert done["finished"] > 0
    assert done["flushed"] > 0
    assert done["compacted"] > 0
    assert done["vacuumed"] > 0
