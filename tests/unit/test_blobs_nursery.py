"""Where nameless files are made."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from trialstore.blobs import nursery as nursery_module
from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.nameless import NAMELESS
from trialstore.blobs.nursery import LOOKED_AT, OTHERS, Nursery

pytestmark = pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="calls of Linux")


class Clock:
    """One in which opening a file takes as long as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slow_s: dict[str, float] = {}
        self.opened: list[str] = []
        monkeypatch.setattr(nursery_module.time, "perf_counter", lambda: self.now)
        opened = os.open

        def timed(path: str, *rest: int, **more: int) -> int:
            self.now += self.slow_s.get(Path(path).name, 1e-5)
            if rest[0] & NAMELESS == NAMELESS:
                self.opened.append(Path(path).name)
            return opened(path, *rest, **more)

        monkeypatch.setattr(nursery_module.os, "open", timed)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def make(nursery: Nursery, folder: Path, count: int = LOOKED_AT) -> list[str]:
    """Make files for a folder; the names of the folders in which they were made."""
    places = []
    for _ in range(count):
        fd = nursery.open(str(folder))
        places.append(Path(os.readlink(f"/proc/self/fd/{fd}")).parent.name)
        os.close(fd)
    return places


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def test_a_file_is_made_in_its_folder(folder: Path, clock: Clock) -> None:
    assert set(make(Nursery(str(folder.parent)), folder, 3 * LOOKED_AT)) == {"here"}
    assert os.listdir(folder.parent) == ["here"]


def test_or_where_that_is_quicker(folder: Path, clock: Clock) -> None:
    clock.slow_s |= {"here": 1e-3, "0": 1e-3}
    places = make(Nursery(str(folder.parent)), folder, 4 * LOOKED_AT)
    assert places == ["here"] * LOOKED_AT + ["0"] * LOOKED_AT + ["1"] * 2 * LOOKED_AT
    assert sorted(os.listdir(folder.parent / ".nursery")) == ["0", "1"]


@pytest.mark.parametrize(("usual_s", "rare_s"), [(1e-5, 1e-3), (1e-3, 1e-5)])
def test_a_few_that_were_interrupted_or_lucky_decide_nothing(
    folder: Path, clock: Clock, usual_s: float, rare_s: float
) -> None:
    nursery = Nursery(str(folder.parent))
    clock.slow_s["here"] = usual_s
    make(nursery, folder, LOOKED_AT - 3)
    clock.slow_s["here"] = rare_s
    make(nursery, folder, 3)
    assert make(nursery, folder, 1) == ["here" if usual_s < rare_s else "0"]


def test_where_all_are_slow_the_least_slow_is_chosen(folder: Path, clock: Clock) -> None:
    clock.slow_s = {"here": 3e-3} | {str(number): 4e-3 - number * 1e-4 for number in range(OTHERS)}
    nursery = Nursery(str(folder.parent))
    assert make(nursery, folder, (OTHERS + 3) * LOOKED_AT)[::LOOKED_AT] == [
        "here",
        *map(str, range(OTHERS)),
        "here",
        "here",
    ]
    clock.slow_s["here"] = 5e-3
    assert make(nursery, folder, LOOKED_AT + 1)[-1] == str(OTHERS - 1)


@pytest.mark.parametrize("name", [".nursery", ".nursery/0"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_folder_is_left_alone(folder: Path, clock: Clock, name: str, kind: str) -> None:
    (folder.parent / "outside").mkdir()
    path = folder.parent / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(folder.parent / "outside") if kind == "link" else path.write_text("")
    clock.slow_s["here"] = 1e-3
    places = make(Nursery(str(folder.parent)), folder, 2 * LOOKED_AT + 1)
    assert places == ["here"] * 2 * LOOKED_AT + ["here" if name == ".nursery" else "1"]
    assert os.listdir(folder.parent / "outside") == []


def test_nor_one_from_where_no_name_can_be_given(folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def of_one_mount(source: str, name: str, **more: Any) -> None:
        if "/.nursery/" in os.readlink(source):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link(source, name, **more)

    monkeypatch.setattr(os, "link", of_one_mount)
    clock.slow_s["here"] = 1e-3
    assert set(make(Nursery(str(folder.parent)), folder, (OTHERS + 2) * LOOKED_AT)) == {"here"}


def test_what_is_gone_is_left(folder: Path, clock: Clock) -> None:
    clock.slow_s["here"] = 1e-3
    nursery = Nursery(str(folder.parent))
    assert make(nursery, folder, LOOKED_AT + 1)[-1] == "0"
    (folder.parent / ".nursery/0").rmdir()
    assert make(nursery, folder, LOOKED_AT + 1) == ["here"] * (LOOKED_AT - 1) + ["1", "1"]


class BegunAnew(list[float]):
    """What the files of a round took, of which another thread begins the next round as soon as anybody counts them."""

    def __init__(self, nursery: Nursery) -> None:
        super().__init__([1e-3] * LOOKED_AT)
        self.nursery = nursery

    def __len__(self) -> int:
        self.nursery._took_s = []
        return super().__len__()


def test_two_threads_may_end_one_round(folder: Path, clock: Clock) -> None:
    nursery = Nursery(str(folder.parent))
    nursery._took_s = BegunAnew(nursery)
    assert make(nursery, folder, 2) == ["here", "0"]


def test_blobs_are_where_they_belong(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trialstore.blobs.turns.can_write_ahead", lambda folder: True)
    monkeypatch.setattr("trialstore.blobs.turns.BEGIN_AT", 1)
    clock.slow_s["e"] = 1e-3
    blobs = LocalBlobs(str(tmp_path / "store"))
    for number in range(3 * LOOKED_AT):
        with blobs.guard("j/e"):
            assert blobs.create(f"j/e/{number}", b"%d" % number)
    assert "0" in clock.opened
    assert sorted(info.key for info in blobs.list("")) == sorted(f"j/e/{number}" for number in range(3 * LOOKED_AT))
    assert blobs.read(f"j/e/{3 * LOOKED_AT - 1}") == b"%d" % (3 * LOOKED_AT - 1)
