from __future__ import annotations

import errno
import fcntl
import io
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.named_files import NamedFileBlobs
from trialstore.blobs import barrier, local, nameless, staging
from trialstore.blobs.barrier import Flushing
from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.nameless import nameless_files_work
from trialstore.blobs.spread import spread
from trialstore.model.errors import (
    AccessDeniedError,
    OutcomeUnknownError,
    StorageFullError,
    StoreUnavailableError,
    UnsafeBackendError,
    UsageError,
)

Make = Callable[[str], LocalBlobs]


@pytest.fixture(params=[LocalBlobs, NamedFileBlobs], ids=["nameless", "named"])
def make(request: pytest.FixtureRequest) -> Make:
    kind: Make = request.param
    return kind


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def failing(code: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


class TestRoot:
    def test_looking_makes_nothing(self, tmp_path: Path) -> None:
        blobs = LocalBlobs(str(tmp_path / "deep" / "store"))
        assert (blobs.info("a"), blobs.read_many(["a"]), list(blobs.list(""))) == (None, [None], [])
        blobs.delete(["a"])
        assert list(tmp_path.iterdir()) == []

    def test_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        for path in ("file", "file/below"):
            with pytest.raises(UsageError, match="is a file"):
                LocalBlobs(str(tmp_path / path))

    def test_a_link_is_the_folder_it_names(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "real")
        linked, real = LocalBlobs(str(tmp_path / "link")), LocalBlobs(str(tmp_path / "real"))
        assert linked.create("a/b", b"1")
        assert (linked.url, real.read("a/b")) == (real.url, b"1")
        assert real.url == f"file://{tmp_path}/real"

    def test_durability_is_one_of_two(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="unknown durability"):
            LocalBlobs(str(tmp_path), durability="none")  # type: ignore[arg-type]

    def test_a_folder_that_is_removed_is_made_again(self, tmp_path: Path, make: Make) -> None:
        blobs = make(str(tmp_path / "store"))
        for _ in range(3):
            assert blobs.create("a/b/c", b"1")
            subprocess.run(["rm", "-r", str(tmp_path / "store")], check=True)
            blobs.write("a/b/c", b"2")
            assert blobs.read("a/b/c") == b"2"
            subprocess.run(["rm", "-r", str(tmp_path / "store" / "a")], check=True)

    def test_a_folder_removed_between_staging_and_naming_is_made_again(
        self, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blobs = make(str(tmp_path / "store"))
        blobs.write("a/first", b"")
        removed: list[int] = []

        def remove_once(fd: int) -> None:
            if not removed:
                removed.append(fd)
                subprocess.run(["rm", "-r", str(tmp_path / "store" / "a")], check=True)

        monkeypatch.setattr(staging, "_sync", remove_once)
        monkeypatch.setattr(staging, "push", remove_once)
        assert blobs.create("a/b", b"1")
        assert removed
        assert files_of(tmp_path / "store") == ["a/b"]

    def test_another_folder_of_the_same_name_is_written_to(self, tmp_path: Path, make: Make) -> None:
        blobs = make(str(tmp_path / "store"))
        blobs.create("a/b", b"1")
        (tmp_path / "store").rename(tmp_path / "old")
        blobs.create("a/c", b"2")
        assert (files_of(tmp_path / "old"), files_of(tmp_path / "store")) == (["a/b"], ["a/c"])


class TestDurability:
    @pytest.fixture
    def steps(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        steps: list[str] = []
        link, replace = os.link, os.replace

        def sync(fd: int) -> None:
            path = os.readlink(f"/proc/self/fd/{fd}")
            steps.append(f"sync {os.path.basename(path)}" if os.path.isdir(path) else "sync content")

        def name(step: str, act: Callable[..., None]) -> Callable[..., None]:
            def do(*args: Any, **kwargs: Any) -> None:
                act(*args, **kwargs)
                if not os.path.basename(args[1]).startswith("."):  # what nobody sees does not count
                    steps.append(step)

            return do

        monkeypatch.setattr(staging, "_sync", sync)
        monkeypatch.setattr(staging, "push", sync)
        monkeypatch.setattr(os, "link", name("link", link))
        monkeypatch.setattr(os, "replace", name("replace", replace))
        return steps

    def test_content_is_on_disk_before_its_name_and_the_name_before_the_return(
        self, tmp_path: Path, make: Make, steps: list[str]
    ) -> None:
        blobs = make(str(tmp_path / "store"))
        blobs.write("a/first", b"")
        steps.clear()
        blobs.create("a/b", b"1")
        assert steps == ["sync content", "link", "sync a"]
        steps.clear()
        blobs.write("a/b", b"2")
        assert steps == ["sync content", "replace", "sync a"]
        steps.clear()
        blobs.write_stream("a/b", io.BytesIO(b"3"))
        assert steps == ["sync content", "replace", "sync a"]
        steps.clear()
        blobs.delete(["a/b"])
        assert steps == ["sync a"]

    def test_names_of_new_folders_are_on_disk_too(self, tmp_path: Path, make: Make, steps: list[str]) -> None:
        blobs = make(str(tmp_path / "store"))
        blobs.create("a/b/c", b"1")
        first = steps[: steps.index("sync content")]
        synced = [step for step in first if step.startswith("sync")]
        assert synced[:3] == ["sync a", "sync store", f"sync {tmp_path.name}"]
        steps.clear()
        blobs.create("a/d/e", b"1")
        assert steps == ["sync a", "sync content", "link", "sync d"]

    def test_of_the_process_forces_nothing(self, tmp_path: Path, steps: list[str]) -> None:
        blobs = LocalBlobs(str(tmp_path / "store"), durability="process")
        blobs.create("a/b", b"1")
        blobs.write("a/b", b"2")
        blobs.delete(["a/b"])
        assert [step for step in steps if step.startswith("sync")] == []

    def test_a_write_may_do_without(self, tmp_path: Path, make: Make, steps: list[str]) -> None:
        blobs = make(str(tmp_path / "store"))
        blobs.write("a/b", b"1")
        steps.clear()
        blobs.write("a/b", b"2", durable=False)
        assert [step for step in steps if step.startswith("sync")] == []


class TestFlushes:
    """Of a new file: both in general, one where the file system is known to need no more."""

    @pytest.fixture
    def steps(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What is flushed from now on, and how many names a file has at that time."""
        steps: list[str] = []

        def flush(fd: int) -> None:
            status = os.fstat(fd)
            steps.append("folder" if stat.S_ISDIR(status.st_mode) else f"file of {status.st_nlink}")

        monkeypatch.setattr(staging, "push", lambda fd: steps.append("push"))
        monkeypatch.setattr(staging, "_sync", flush)
        return steps

    @staticmethod
    def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: Flushing) -> LocalBlobs:
        monkeypatch.setattr(local, "flushing", lambda folder: known)
        blobs = LocalBlobs(str(tmp_path / "store"))
        blobs.write("a/first", b"")
        return blobs

    @pytest.mark.parametrize("known", [Flushing.BOTH, Flushing.FOLDER])
    def test_content_is_flushed_itself_unless_the_folders_flush_is_enough(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str], known: Flushing
    ) -> None:
        blobs = self.opened(tmp_path, monkeypatch, known)
        names = 0 if nameless_files_work(str(tmp_path)) else 1
        steps.clear()
        blobs.create("a/b", b"1")
        blobs.create("a/c", b"1")
        assert steps == ([f"file of {names}", "folder"] if known is Flushing.BOTH else ["push", "folder"]) * 2

    def test_without_a_journal_a_file_has_a_name_when_it_is_flushed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str]
    ) -> None:
        blobs = self.opened(tmp_path, monkeypatch, Flushing.FILE)
        steps.clear()
        blobs.create("a/b", b"1")
        blobs.write("a/b", b"2")
        blobs.write_stream("a/c", io.BytesIO(b"3"))
        assert steps == ["file of 1", "folder"] * 3
        assert files_of(tmp_path / "store") == ["a/b", "a/c", "a/first"]

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a file system of Linux")
    @pytest.mark.parametrize(
        ("task", "known"),
        [("417\n", Flushing.FOLDER), ("<none>\n", Flushing.FILE), ("", Flushing.BOTH), (None, Flushing.BOTH)],
    )
    def test_what_is_known_of_a_disk(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: str | None, known: Flushing
    ) -> None:
        disk = tmp_path / "ext4" / "disk"
        disk.mkdir(parents=True)
        if task is not None:
            (disk / "journal_task").write_text(task)
        monkeypatch.setattr(barrier, "_EXT4", str(tmp_path / "ext4"))
        monkeypatch.setattr(os.path, "realpath", lambda path: "/sys/devices/disk")
        assert barrier.flushing(str(tmp_path)) is known
        assert barrier.flushing(str(tmp_path / "nowhere")) is Flushing.BOTH

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a call of Linux")
    def test_the_call_itself(self, tmp_path: Path) -> None:
        with open(tmp_path / "file", "wb", buffering=0) as file:
            file.write(b"content")
            barrier.push(file.fileno())
            closed = file.fileno()
        with pytest.raises(OSError, match="Bad file descriptor"):
            barrier.push(closed)


class TestFailures:
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    @pytest.mark.parametrize("call", ["write", "fsync"])
    def test_a_full_disk_leaves_nothing(
        self, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, code: int, call: str
    ) -> None:
        blobs = make(str(tmp_path))
        blobs.write("old", b"old")
        with monkeypatch.context() as patch:
            for place, name in ((os, "write"),) if call == "write" else ((staging, "_sync"), (staging, "push")):
                patch.setattr(place, name, failing(code))
            for act in (
                lambda: blobs.create("new", b"1"),
                lambda: blobs.write("old", b"1"),
                lambda: blobs.write_stream("old", io.BytesIO(b"1")),
            ):
                with pytest.raises(StorageFullError, match="no space left"):
                    act()
        assert files_of(tmp_path) == ["old"]
        assert blobs.read("old") == b"old"
        assert blobs.create("new", b"1")

    def test_the_kernels_own_limit(self, tmp_path: Path, make: Make) -> None:
        blobs = make(str(tmp_path))
        blobs.write("old", b"old")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(StorageFullError):
                blobs.create("new", b"x" * 200_000)
            with pytest.raises(StorageFullError):
                blobs.write_stream("old", io.BytesIO(b"x" * 200_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert files_of(tmp_path) == ["old"]

    @pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
    def test_no_permission(self, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        blobs = make(str(tmp_path))
        blobs.write("old", b"old")
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", failing(code))
            for act in (lambda: blobs.create("new", b"1"), lambda: blobs.write("old", b"1"), lambda: blobs.read("old")):
                with pytest.raises(AccessDeniedError, match="not allowed"):
                    act()
            patch.setattr(os, "unlink", failing(code))
            with pytest.raises(AccessDeniedError):
                blobs.delete(["old"])
            with blobs.guard("a") as may_go_ahead:  # there are no locks, so nobody holds one
                assert may_go_ahead
        assert files_of(tmp_path) == ["old"]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_of_others(self, tmp_path: Path, make: Make) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(AccessDeniedError):
            make(str(tmp_path)).create("a", b"1")

    def test_a_name_that_the_disk_did_not_confirm(
        self, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blobs = make(str(tmp_path))
        blobs.write("old", b"old")

        def fail_for_folders(fd: int) -> None:
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(staging, "_sync", fail_for_folders)
        with pytest.raises(OutcomeUnknownError, match="did not confirm"):
            blobs.create("new", b"1")
        with pytest.raises(OutcomeUnknownError, match="did not confirm"):
            blobs.write("old", b"1")

    def test_a_bad_disk(self, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        blobs = make(str(tmp_path))
        monkeypatch.setattr(os, "write", failing(errno.EIO))
        with pytest.raises(StoreUnavailableError) as caught:
            blobs.create("new", b"1")
        assert type(caught.value) is StoreUnavailableError
        assert caught.value.facts["key"] == "new"
        assert files_of(tmp_path) == []

    def test_a_key_below_a_blob(self, tmp_path: Path, make: Make) -> None:
        blobs = make(str(tmp_path))
        blobs.write("a", b"1")
        with pytest.raises(UsageError, match="cannot be used"):
            blobs.create("a/b", b"1")
        blobs.write("c/d", b"1")
        with pytest.raises(UsageError):
            blobs.write("c", b"1")
        with pytest.raises(UsageError):
            blobs.write("x" * 300, b"1")
        assert files_of(tmp_path) == ["a", "c/d"]

    def test_no_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
        blobs = LocalBlobs(str(tmp_path))
        with pytest.raises(UnsafeBackendError, match="no hard links"):
            blobs.create("a", b"1")
        assert files_of(tmp_path) == []

    def test_without_nameless_files_there_is_another_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nameless, "_TMPFILE", None)
        blobs = LocalBlobs(str(tmp_path))
        assert blobs.create("a", b"1")
        assert not blobs.create("a", b"2")
        blobs.write("b", b"1")
        assert files_of(tmp_path) == ["a", "b"]

    def test_a_short_write_goes_on(self, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:7])))
        blobs = make(str(tmp_path))
        blobs.create("a", b"0123456789" * 10)
        assert blobs.read("a") == b"0123456789" * 10

    def test_a_short_read_goes_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        blobs = LocalBlobs(str(tmp_path))
        blobs.write("a", b"0123456789" * 10)
        read = os.read
        monkeypatch.setattr(os, "read", lambda fd, size: read(fd, min(size, 7)))
        assert blobs.read("a") == b"0123456789" * 10


KILLED = """
import io, sys, time
sys.path.insert(0, {tests!r})
from tests.support.named_files import NamedFileBlobs
from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.spread import spread

class Endless(io.BytesIO):
    def read(self, size=-1):
        if self.tell():
            print("half way", flush=True)
            time.sleep(600)
        self.seek(1)
        return b"x" * 100_000

{kind}({root!r}).write_stream("a/b", Endless())
"""


@pytest.mark.parametrize("kind", ["LocalBlobs", "NamedFileBlobs"])
def test_a_killed_writer_is_not_seen(tmp_path: Path, kind: str) -> None:
    if kind == "LocalBlobs" and not nameless_files_work(str(tmp_path)):
        pytest.skip("this file system has no nameless files")
    tests = str(Path(__file__).parents[2])
    script = KILLED.format(tests=tests, kind=kind, root=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n"
        process.send_signal(signal.SIGKILL)
    blobs = LocalBlobs(str(tmp_path))
    assert list(blobs.list("")) == []
    assert blobs.create("a/b", b"1")
    left = [name for name in files_of(tmp_path) if name != "a/b"]
    assert len(left) == (0 if kind == "LocalBlobs" else 1)
    assert all(os.path.basename(name).startswith(".") for name in left)


class TestGuard:
    def test_excludes_for_as_long_as_the_caller_waits(self, tmp_path: Path) -> None:
        blobs, other = LocalBlobs(str(tmp_path)), LocalBlobs(str(tmp_path))
        with blobs.guard("a/b") as first, other.guard("a/b", patience_s=0) as second, other.guard("c") as third:
            assert (first, second, third) == (True, False, True)
        with other.guard("a/b", patience_s=0) as free:
            assert free

    def test_a_forked_child_does_not_keep_it(self, tmp_path: Path) -> None:
        script = (
            "import os, sys\n"
            "from trialstore.blobs.local import LocalBlobs\n"
            "blobs = LocalBlobs(sys.argv[1])\n"
            "gone, stay = os.pipe()\n"
            "with blobs.guard('a'):\n"
            "    child = os.fork()\n"
            "    if not child:\n"
            "        os.close(stay)\n"
            "        os.read(gone, 1)\n"
            "        os._exit(0)\n"
            "with blobs.guard('a', patience_s=10) as free:\n"
            "    print(free)\n"
            "os.close(stay)\n"
            "os.waitpid(child, 0)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(Path(local.__file__).parents[2])},
        )
        assert done.stdout == "True\n"


class TestSpread:
    """Folders below the top ones are placed for themselves, where the file system takes the hint."""

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this system has no such hint")
    def test_a_top_folder_has_the_hint_and_the_root_and_others_do_not(self, tmp_path: Path) -> None:
        (tmp_path / "probe").mkdir()
        spread(str(tmp_path / "probe"))
        if not _has_hint(tmp_path / "probe"):
            pytest.skip("this file system has no such hint")
        LocalBlobs(str(tmp_path / "store")).create("journal/experiment=a/1", b"1")
        hinted = [path.name for path in (tmp_path / "store").rglob("*") if path.is_dir() and _has_hint(path)]
        assert hinted == ["journal"]

    def test_a_refusal_is_no_error(self, tmp_path: Path) -> None:
        spread(str(tmp_path / "missing"))
        spread("/proc/self")


def _has_hint(folder: Path) -> bool:
    fd = os.open(folder, os.O_RDONLY)
    try:
        return bool(struct.unpack_from("=I", fcntl.ioctl(fd, 0x80086601, bytes(8)))[0] & 0x20000)
    except OSError:
        return False
    finally:
        os.close(fd)
