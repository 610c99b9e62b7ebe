"""What is written ahead of a blob, so that one flush of a block that is there already makes it durable."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trialstore.blobs import ahead as ahead_module
from trialstore.blobs import staging, turns
from trialstore.blobs.ahead import MAX_BYTES, Ahead
from trialstore.blobs.local import LocalBlobs
from trialstore.model.errors import OutcomeUnknownError, UsageError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="calls of Linux")


@pytest.fixture(autouse=True)
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever disk the tests run on."""
    monkeypatch.setattr(turns, "can_write_ahead", lambda folder: True)
    monkeypatch.setattr(turns, "BEGIN_AT", 3)
    monkeypatch.setattr(ahead_module, "_CAPACITIES", (1 << 16, 1 << 20))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is flushed, and the names that are given."""
    steps: list[str] = []
    link, fdatasync = os.link, os.fdatasync

    def named(source: str, name: str, **rest: object) -> None:
        link(source, name, **rest)  # type: ignore[arg-type]
        if not (given := os.path.basename(name)).startswith("."):
            steps.append(f"link {given}")

    def synced(fd: int) -> None:
        fdatasync(fd)
        steps.append("ahead" if "/.ahead/" in os.readlink(f"/proc/self/fd/{fd}") else "other")

    monkeypatch.setattr(os, "link", named)
    monkeypatch.setattr(os, "fdatasync", synced)
    monkeypatch.setattr(staging, "push", lambda fd: steps.append("flush"))
    monkeypatch.setattr(staging, "_sync", lambda fd: steps.append("flush"))
    monkeypatch.setattr(ahead_module, "force_all", lambda fd: steps.append("flush of all"))
    monkeypatch.setattr(turns, "force_all", lambda fd: steps.append("flush of all"))
    return steps


def create(blobs: LocalBlobs, *names: str, data: bytes = b"data") -> None:
    for name in names:
        with blobs.guard("j/e") as mine:
            assert mine
            assert blobs.create(f"j/e/{name}", data)


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    blobs = LocalBlobs(str(tmp_path / "store"))
    create(blobs, "1", "2", "3")
    return blobs


@pytest.fixture
def file(tmp_path: Path, blobs: LocalBlobs) -> Iterator[Ahead]:
    """The same file as another process sees it."""
    opened = Ahead.open(str(tmp_path / "store" / ".ahead" / "j%2Fe"))
    assert opened is not None
    yield opened
    opened.close()


class TestWhoHasTheTurn:
    def test_one_flush_before_the_name_is_enough(self, blobs: LocalBlobs, steps: list[str]) -> None:
        create(blobs, "4")
        assert steps == ["ahead", "link 4"]

    def test_folders_of_few_blobs_have_no_such_file(self, tmp_path: Path) -> None:
        blobs = LocalBlobs(str(tmp_path / "other"))
        create(blobs, "1", "2")
        assert not (tmp_path / "other" / ".ahead").exists()

    def test_another_process_goes_on_with_it_at_once(self, blobs: LocalBlobs, file: Ahead) -> None:
        create(LocalBlobs(blobs.url.removeprefix("file://")), "4", data=b"theirs")
        create(blobs, "5", data=b"ours")
        assert file.left() == {"3": b"data", "4": b"theirs", "5": b"ours"}

    def test_others_force_their_files(self, blobs: LocalBlobs, steps: list[str], file: Ahead) -> None:
        blobs.create("j/e/4", b"data")
        with blobs.guard("j/other"):
            blobs.create("j/e/5", b"data")
        blobs.write("j/e/4", b"again")
        assert steps.count("flush") >= 3
        assert list(file.left()) == ["3"]

    def test_large_blobs_are_forced_themselves(self, blobs: LocalBlobs, steps: list[str], file: Ahead) -> None:
        create(blobs, "4", data=bytes(MAX_BYTES + 1))
        assert "flush" in steps
        assert list(file.left()) == ["3"]

    def test_a_promise_for_the_process_alone_needs_none(self, tmp_path: Path) -> None:
        blobs = LocalBlobs(str(tmp_path / "other"), durability="process")
        create(blobs, "1", "2", "3", "4")
        assert not (tmp_path / "other" / ".ahead").exists()

    def test_a_link_is_not_followed(self, tmp_path: Path, steps: list[str]) -> None:
        root, outside = tmp_path / "other", tmp_path / "outside"
        outside.mkdir()
        root.mkdir()
        (root / ".ahead").symlink_to(outside)
        create(LocalBlobs(str(root)), "1", "2", "3", "4")
        assert list(outside.iterdir()) == []
        assert "ahead" not in steps


class TestWhatIsLeftToTheNext:
    def later(self, blobs: LocalBlobs, name: str, data: bytes = b"data") -> None:
        with blobs.guard("j/e"):
            assert blobs.create(f"j/e/{name}", data, force=False)

    def test_it_has_its_name_and_is_forced_by_the_next(self, blobs: LocalBlobs, steps: list[str], file: Ahead) -> None:
        self.later(blobs, "4")
        self.later(blobs, "5")
        assert steps == ["link 4", "link 5"]
        create(blobs, "6")
        assert steps == ["link 4", "link 5", "ahead", "link 6"]
        assert list(file.left()) == ["3", "4", "5", "6"]

    def test_or_when_it_is_asked_for(self, blobs: LocalBlobs, steps: list[str]) -> None:
        self.later(blobs, "4")
        LocalBlobs(blobs.url.removeprefix("file://")).force("j/e")
        assert steps == ["link 4", "ahead"]

    def test_who_forces_a_file_of_its_own_forces_it_before(self, blobs: LocalBlobs, steps: list[str]) -> None:
        self.later(blobs, "4")
        blobs.create("j/e/5", b"data")
        assert steps[:2] == ["link 4", "ahead"]
        self.later(blobs, "6")
        steps.clear()
        create(blobs, "7", data=bytes(MAX_BYTES + 1))
        assert steps[0] == "ahead"
        assert "flush" in steps

    @pytest.mark.parametrize("may_read", [True, False])
    def test_who_may_not_write_what_is_another_user_s_forces_it_all_the_same(
        self, blobs: LocalBlobs, steps: list[str], monkeypatch: pytest.MonkeyPatch, may_read: bool
    ) -> None:
        self.later(blobs, "4")
        opened = os.open

        def limited(path: str, flags: int, *rest: int, **more: int) -> int:
            if str(path).endswith("/.ahead/j%2Fe") and (flags & os.O_ACCMODE != os.O_RDONLY or not may_read):
                raise PermissionError(13, "not yours", path)
            return opened(path, flags, *rest, **more)

        monkeypatch.setattr(os, "open", limited)
        steps.clear()
        create(LocalBlobs(blobs.url.removeprefix("file://")), "5", "6")
        assert ("ahead" if may_read else "flush of all") in steps[: steps.index("link 5")]

    def test_the_first_of_all_that_can_be_lost_cannot(
        self, blobs: LocalBlobs, steps: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that what is left after a crash says where the others began."""
        monkeypatch.setattr(ahead_module, "_CAPACITIES", (1 << 16,))
        self.later(blobs, "4", bytes(30_000))
        self.later(blobs, "5", bytes(30_000))
        assert steps == ["link 4", "link 5"]
        self.later(blobs, "6", bytes(30_000))
        assert steps[2:] == ["flush of all", "ahead", "ahead", "link 6"]

    def test_a_promise_for_the_process_alone_needs_nothing(self, tmp_path: Path, steps: list[str]) -> None:
        other = LocalBlobs(str(tmp_path / "other"), durability="process")
        self.later(other, "1")
        other.force("j/e")
        assert steps == ["link 1"]


class TestWhatIsRefused:
    def test_a_name_that_is_taken_leaves_nothing(self, blobs: LocalBlobs, file: Ahead) -> None:
        blobs.create("j/e/4", b"theirs")
        with blobs.guard("j/e"):
            assert not blobs.create("j/e/4", b"ours, and longer than theirs")
        create(blobs, "5")
        assert list(file.left()) == ["3", "5"]

    def test_a_disk_that_does_not_confirm_leaves_no_blob(
        self, blobs: LocalBlobs, file: Ahead, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(fd: int) -> None:
            raise OSError(5, "it is broken")

        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", fail)
            with pytest.raises(OutcomeUnknownError, match="did not confirm"), blobs.guard("j/e"):
                blobs.create("j/e/4", b"lost")
        assert blobs.info("j/e/4") is None
        create(blobs, "4", data=b"found")
        assert file.left()["4"] == b"found"

    def test_where_there_is_no_room_for_it_files_are_forced_themselves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str]
    ) -> None:
        def fail(fd: int, data: bytes, place: int) -> None:
            raise OSError(28, "no space left")

        monkeypatch.setattr(ahead_module, "_write_at", fail)
        create(LocalBlobs(str(tmp_path / "other")), "1", "2", "3", "4")
        assert "ahead" not in steps
        assert steps[-3:-1] == ["flush", "link 4"]


class TestRoom:
    def test_when_it_is_used_up_there_is_more_behind_and_in_the_end_all_is_forced_to_the_disk(
        self, blobs: LocalBlobs, file: Ahead, steps: list[str]
    ) -> None:
        data = bytes(30_000)
        create(blobs, "4", "5", data=data)
        create(blobs, "6", data=data)
        assert steps == ["ahead", "link 4", "ahead", "link 5", "ahead", "ahead", "link 6"]
        assert list(file.left()) == ["3", "4", "5", "6"]
        names = [str(number) for number in range(3, 38)]
        create(blobs, *names[4:], data=data)
        assert "flush of all" not in steps
        assert list(file.left()) == names
        create(blobs, "38", data=data)
        assert steps[-4:] == ["flush of all", "ahead", "ahead", "link 38"]
        assert list(file.left()) == ["38"]

    def test_a_crash_while_it_grows_leaves_what_there_was(self, tmp_path: Path, blobs: LocalBlobs, file: Ahead) -> None:
        create(blobs, "4", "5", data=bytes(30_000))
        assert list(file.left()) == ["3", "4", "5"]
        assert file._grow(1 << 20)
        with open(tmp_path / "store" / ".ahead" / "j%2Fe", "r+b") as raw:
            raw.seek(file._slot * 512 + 20)
            raw.write(b"torn")
        assert list(file.left()) == ["3", "4", "5"]
        create(blobs, "6", data=bytes(30_000))
        assert list(file.left()) == ["3", "4", "5", "6"]

    def test_another_process_finds_the_records_behind(self, blobs: LocalBlobs, file: Ahead) -> None:
        create(blobs, "4", "5", "6", data=bytes(30_000))
        assert list(file.left()) == ["3", "4", "5", "6"]
        create(LocalBlobs(blobs.url.removeprefix("file://")), "7", data=b"theirs")
        create(blobs, "8", data=b"ours")
        assert file.left()["7"] == b"theirs"
        assert list(file.left()) == ["3", "4", "5", "6", "7", "8"]

    def test_where_there_is_no_more_the_same_is_used_again(
        self, blobs: LocalBlobs, file: Ahead, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = ahead_module._write_at

        def limited(fd: int, data: bytes, place: int) -> None:
            if place + len(data) > 4096 + (1 << 16):
                raise OSError(28, "no space left")
            write(fd, data, place)

        monkeypatch.setattr(ahead_module, "_write_at", limited)
        create(blobs, *"456789", data=bytes(30_000))
        assert list(file.left()) == ["8", "9"]
        create(blobs, "a", data=bytes(100_000))
        assert blobs.read("j/e/a") == bytes(100_000)

    def test_a_disk_that_does_not_confirm_keeps_everything(
        self, blobs: LocalBlobs, file: Ahead, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ahead_module, "_CAPACITIES", (1 << 16,))
        create(blobs, "4", "5", data=bytes(30_000))

        def fail(fd: int) -> None:
            raise OSError(5, "it is broken")

        monkeypatch.setattr(ahead_module, "force_all", fail)
        with pytest.raises(OutcomeUnknownError), blobs.guard("j/e"):
            blobs.create("j/e/6", bytes(30_000))
        assert list(file.left()) == ["3", "4", "5"]

    def test_removed_it_is_made_anew(self, tmp_path: Path, blobs: LocalBlobs) -> None:
        path = tmp_path / "store" / ".ahead" / "j%2Fe"
        other = LocalBlobs(str(tmp_path / "store"))
        with other.guard("j/e"):
            other.finish("j/e")
        assert not path.exists()
        create(blobs, "4", "5")
        assert path.exists()
        found = Ahead.open(str(path))
        assert found is not None
        assert list(found.left()) == ["4", "5"]


class TestWhatIsLeft:
    def test_nothing_while_the_machine_runs(self, blobs: LocalBlobs) -> None:
        assert blobs.unfinished("j/e") is None
        assert blobs.unfinished("j/other") is None

    def test_everything_when_it_was_started_anew(self, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
        create(blobs, "4", data=b"4")
        monkeypatch.setattr(ahead_module, "boot_id", lambda: "another")
        assert blobs.unfinished("j/e") == {"3": b"data", "4": b"4"}

    def test_also_for_who_may_not_write(
        self, tmp_path: Path, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened, how = os.open, []

        def noted(path: str, flags: int, *rest: int, **more: int) -> int:
            how.append(flags & os.O_ACCMODE)
            return opened(path, flags, *rest, **more)

        monkeypatch.setattr(ahead_module, "boot_id", lambda: "another")
        monkeypatch.setattr(os, "open", noted)
        assert blobs.unfinished("j/e") == {"3": b"data"}
        assert set(how) == {os.O_RDONLY}

    def test_until_that_is_finished_nobody_writes_ahead(
        self, blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch, steps: list[str]
    ) -> None:
        monkeypatch.setattr(ahead_module, "boot_id", lambda: "another")
        create(blobs, "4")
        assert list(blobs.unfinished("j/e") or {}) == ["3"]
        with blobs.guard("j/e"):
            blobs.finish("j/e")
        assert steps[-1] == "flush of all"
        assert blobs.unfinished("j/e") is None

    def test_the_last_of_a_name_counts(self, blobs: LocalBlobs, file: Ahead) -> None:
        """A writer that was killed between the two steps has left one that nobody ever saw."""
        assert file.append("4", b"never seen") is not None
        create(blobs, "4", data=b"seen")
        assert file.left() == {"3": b"data", "4": b"seen"}

    @pytest.mark.parametrize("at", range(-40, 0, 3))
    def test_a_record_that_is_not_whole_is_the_end(
        self, tmp_path: Path, blobs: LocalBlobs, file: Ahead, at: int
    ) -> None:
        place = file.append("4", b"whole")
        last = file.append("5", b"torn, as a crash in the middle of writing it leaves it")
        assert place is not None
        assert last is not None
        end = last + 14 + 1 + 54
        with open(tmp_path / "store" / ".ahead" / "j%2Fe", "r+b") as raw:
            raw.seek(end + at)
            raw.write(b"\0" * -at)
        assert list(file.left()) == ["3", "4"]

    def test_a_crash_while_it_begins_anew_leaves_what_there_was(
        self, tmp_path: Path, blobs: LocalBlobs, file: Ahead
    ) -> None:
        file.reset()
        assert list(file.left()) == []
        with open(tmp_path / "store" / ".ahead" / "j%2Fe", "r+b") as raw:
            raw.seek(file._slot * 512 + 20)
            raw.write(b"torn")
        assert list(file.left()) == ["3"]

    def test_what_is_no_such_file_is_an_error_or_nothing(self, tmp_path: Path, blobs: LocalBlobs) -> None:
        path = tmp_path / "store" / ".ahead" / "j%2Fe"
        path.write_bytes(b"something else")
        assert blobs.unfinished("j/e") is None
        path.unlink()
        path.mkdir()
        with pytest.raises(UsageError, match="written ahead"):
            blobs.unfinished("j/e")


def test_where_it_is_known_to_be_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_module, "_kind_of_disk", lambda folder: "ext4")
    assert ahead_module.can_write_ahead(str(tmp_path))
    monkeypatch.setattr(ahead_module, "_kind_of_disk", lambda folder: "nfs4")
    assert not ahead_module.can_write_ahead(str(tmp_path))


def test_the_calls_themselves(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    ahead_module.force_all(fd)
    os.close(fd)
    with pytest.raises(OSError, match="descriptor"):
        ahead_module.force_all(-1)
    assert ahead_module.boot_id()
    assert ahead_module._kind_of_disk("/proc") == "proc"
    assert ahead_module._kind_of_disk(str(tmp_path / "nowhere")) == ""
