"""Where nameless files are made."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from trialstore.blobs import nursery as nursery_module
from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.nursery import LOOKED_AT, Nursery

pytestmark = pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="calls of Linux")

NAMELESS = os.O_RDWR | getattr(os, "O_TMPFILE", 0)


class Clock:
    """One in which opening a file takes as long as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slow: set[str] = set()
        self.opened: list[str] = []
        monkeypatch.setattr(nursery_module.time, "perf_counter", lambda: self.now)
        opened = os.open

        def timed(path: str, *rest: int, **more: int) -> int:
            self.now += 1e-3 if Path(path).name in self.slow else 1e-5
            self.opened.append(Path(path).name)
            return opened(path, *rest, **more)

        monkeypatch.setattr(nursery_module.os, "open", timed)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def make(nursery: Nursery, folder: Path, count: int = LOOKED_AT) -> None:
    for _ in range(count):
        os.close(nursery.open(str(folder), NAMELESS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("here", "one", "two"):
        (tmp_path / name).mkdir()
    return tmp_path / "here"


def test_a_file_is_made_in_its_folder(folder: Path, clock: Clock) -> None:
    make(Nursery(str(folder.parent), ["one", "two"]), folder, 3 * LOOKED_AT)
    assert set(clock.opened) == {"here"}


def test_or_where_that_is_quicker(folder: Path, clock: Clock) -> None:
    clock.slow |= {"here", "one"}
    nursery = Nursery(str(folder.parent), ["absent", "one", "two"])
    make(nursery, folder, 4 * LOOKED_AT)
    assert clock.opened == ["here"] * LOOKED_AT + ["one"] * LOOKED_AT + ["two"] * 2 * LOOKED_AT


def test_one_that_was_quick_shows_that_the_others_were_interrupted(folder: Path, clock: Clock) -> None:
    nursery = Nursery(str(folder.parent), ["one"])
    for _ in range(4):
        clock.slow = {"here"}
        make(nursery, folder, LOOKED_AT - 1)
        clock.slow = set()
        make(nursery, folder, 1)
    assert set(clock.opened) == {"here"}


def test_where_all_are_slow_each_is_tried_in_turn(folder: Path, clock: Clock) -> None:
    clock.slow |= {"here", "one", "two"}
    make(Nursery(str(folder.parent), ["one", "two"]), folder, 4 * LOOKED_AT)
    assert clock.opened[::LOOKED_AT] == ["here", "one", "two", "here"]


def test_a_link_is_not_followed_and_what_is_gone_is_left(folder: Path, clock: Clock) -> None:
    (folder.parent / "link").symlink_to(folder.parent / "two")
    clock.slow |= {"here"}
    nursery = Nursery(str(folder.parent), ["link", "one"])
    make(nursery, folder, LOOKED_AT + 1)
    assert clock.opened[-1] == "one"
    (folder.parent / "one").rmdir()
    make(nursery, folder, 1)
    assert clock.opened[-2:] == ["one", "here"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="calls of Linux")
def test_blobs_are_where_they_belong(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trialstore.blobs.turns.can_write_ahead", lambda folder: True)
    monkeypatch.setattr("trialstore.blobs.turns.BEGIN_AT", 1)
    clock.slow |= {"e"}
    blobs = LocalBlobs(str(tmp_path / "store"))
    for number in range(3 * LOOKED_AT):
        with blobs.guard("j/e"):
            assert blobs.create(f"j/e/{number}", b"%d" % number)
    assert ".locks" in clock.opened
    assert sorted(info.key for info in blobs.list("")) == sorted(f"j/e/{number}" for number in range(3 * LOOKED_AT))
    assert blobs.read(f"j/e/{3 * LOOKED_AT - 1}") == b"%d" % (3 * LOOKED_AT - 1)
