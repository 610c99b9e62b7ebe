"""The public API in any order of calls, on a folder, in memory and on S3; see `tests.stateful.machine`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.machine import StoreMachine
from tests.support.servers import Servers
from trialstore.model.identity import new_ulid
from trialstore.testing import Place


def run(new_place: Any, examples: int, steps: int, *, chance: bool = False) -> None:
    """Run so many programs; with `chance` other ones each time."""
    machine = type("StoreMachine", (StoreMachine,), {"new_place": staticmethod(new_place)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=not chance,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink) if not chance else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_on_a_folder(tmp_path: Path) -> None:
    run(lambda: Place(tmp_path / new_ulid()), examples=10, steps=30)


def test_in_memory() -> None:
    run(lambda: Place(f"memory://stateful/{new_ulid()}"), examples=30, steps=30)


def test_on_s3(servers: Servers) -> None:
    bucket = servers.bucket("moto")
    run(lambda: Place(*bucket.place()), examples=3, steps=20)
