"""What is left for others to delete: whole when it is seen, without a new file each time, gone when the process is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.spare import SpareFiles, _inotify

LONG_S = 60.0

watched = pytest.mark.skipif(_inotify() is None, reason="this system cannot watch a file")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_file_that_was_taken_is_used_again(folder: str, tmp_path: Path) -> None:
    spares = SpareFiles()
    seen = set()
    for number, data in enumerate([b"long content", b"", b"short", b"x" * 100_000]):
        assert spares.leave(folder, f"{number}", data)
        assert (tmp_path / f"{number}").read_bytes() == data
        seen.add((tmp_path / f"{number}").stat().st_ino)
        os.unlink(tmp_path / f"{number}")
    assert len(seen) == 1


def test_what_nobody_took_is_never_overwritten(folder: str, tmp_path: Path) -> None:
    spares = SpareFiles()
    left = [name for name in map(str, range(10)) if spares.leave(folder, name, name.encode())]
    assert 1 < len(left) < 10, "some files are kept, and not one for each"
    assert [(tmp_path / name).read_bytes() for name in left] == [name.encode() for name in left]


def test_a_name_that_is_taken_is_refused(folder: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"old")
    assert not SpareFiles().leave(folder, "there", b"new")
    assert (tmp_path / "there").read_bytes() == b"old"


def test_it_goes_on_when_its_hidden_file_was_deleted(folder: str, tmp_path: Path) -> None:
    spares = SpareFiles()
    assert spares.leave(folder, "a", b"a")
    os.unlink(tmp_path / "a")
    for name in hidden(tmp_path):
        os.unlink(tmp_path / name)
    assert not spares.leave(folder, "b", b"b")
    assert spares.leave(folder, "b", b"b")
    assert (tmp_path / "b").read_bytes() == b"b"


@watched
def test_who_waits_wakes_when_it_is_taken(folder: str, tmp_path: Path) -> None:
    spares = SpareFiles()
    for number in range(3):
        assert spares.leave(folder, f"{number}", b"1")
        taker = threading.Thread(target=os.unlink, args=(tmp_path / f"{number}",))
        started = time.monotonic()
        taker.start()
        spares.wait(folder, f"{number}", LONG_S)
        assert time.monotonic() - started < LONG_S / 2
        assert not (tmp_path / f"{number}").exists()
        taker.join()


@watched
def test_who_comes_after_it_was_taken_does_not_wait(folder: str, tmp_path: Path) -> None:
    spares = SpareFiles()
    assert spares.leave(folder, "a", b"1")
    os.unlink(tmp_path / "a")
    started = time.monotonic()
    spares.wait(folder, "a", LONG_S)
    assert time.monotonic() - started < LONG_S / 2


def test_who_waits_for_what_nobody_takes_gives_up(folder: str) -> None:
    spares = SpareFiles()
    assert spares.leave(folder, "a", b"1")
    spares.wait(folder, "a", 0.001)
    spares.wait(folder, "unknown", 0.001)


@watched
def test_many_threads_share_the_files(folder: str, tmp_path: Path) -> None:
    """Each thread's files are taken by another one, while a file that was taken may be left again by any."""
    spares = SpareFiles()
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def leave_and_take(number: int) -> int:
        left = 0
        for step in range(200):
            name = f"{number}-{step}"
            if spares.leave(folder, name, name.encode() * 10):
                assert (tmp_path / name).read_bytes() == name.encode() * 10
                taker = pool.submit(os.unlink, tmp_path / name)
                spares.wait(folder, name, LONG_S)
                taker.result()
                left += 1
        return left

    try:
        with ThreadPoolExecutor(4) as pool, ThreadPoolExecutor(3) as leavers:
            assert sum(leavers.map(leave_and_take, range(3))) > 200
    finally:
        sys.setswitchinterval(usual)


def test_nothing_stays_when_they_are_given_up(folder: str, tmp_path: Path) -> None:
    spares = SpareFiles()
    assert spares.leave(folder, "a", b"1")
    assert len(hidden(tmp_path)) == 1
    del spares
    assert hidden(tmp_path) == []
    assert (tmp_path / "a").read_bytes() == b"1", "what was left is for others to delete"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_writes_into_files_of_its_own(folder: str, tmp_path: Path) -> None:
    """In an interpreter of its own, where no other thread runs at the fork."""
    script = (
        "import os, sys\n"
        "from trialstore.blobs.spare import SpareFiles\n"
        "spares = SpareFiles()\n"
        "assert spares.leave(sys.argv[1], 'parent', b'parent')\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os.unlink(sys.argv[1] + '/parent')\n"
        "    assert spares.leave(sys.argv[1], 'child', b'child')\n"
        "    os._exit(0)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "assert spares.leave(sys.argv[1], 'again', b'again')\n"
    )
    subprocess.run([sys.executable, "-c", script, folder], check=True, timeout=LONG_S)
    assert (tmp_path / "child").read_bytes() == b"child"
    assert (tmp_path / "again").read_bytes() == b"again"
    assert (tmp_path / "child").stat().st_ino != (tmp_path / "again").stat().st_ino


def test_blobs_that_need_not_last_use_them(tmp_path: Path) -> None:
    blobs = LocalBlobs(str(tmp_path / "store"))
    inodes = set()
    for number in range(3):
        blobs.write(f"in/{number}", b"%d" % number, durable=False)
        inodes.add((tmp_path / "store" / "in" / f"{number}").stat().st_ino)
        assert [info.key for info in blobs.list("in/")] == [f"in/{number}"]
        blobs.delete([f"in/{number}"], durable=False)
    assert len(inodes) == 1
    blobs.write("in/same", b"1", durable=False)
    blobs.write("in/same", b"2", durable=False)
    assert blobs.read("in/same") == b"2"
