"""What every backend must do when blobs are created, written and deleted."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable

import pytest

from trialstore.blobs.protocol import Blobs
from trialstore.model.errors import UsageError
from trialstore.testing.blob_base import MEBIBYTE, OnBlobs
from trialstore.testing.races import eager_switches, race_of_processes, race_of_threads

__all__ = ["Creating", "Writing"]


class Creating(OnBlobs):
    """One writer wins, and a blob is whole or not there."""

    def test_create_keeps_what_is_there(self, blobs: Blobs) -> None:
        """A second create of a key is refused and changes nothing."""
        assert blobs.create("a/b", b"first") is True
        assert blobs.create("a/b", b"second") is False
        assert blobs.read("a/b") == b"first"

    def test_create_of_nothing_excludes_too(self, blobs: Blobs) -> None:
        """An empty blob is a blob: its key is taken."""
        assert blobs.create("a", b"") is True
        assert blobs.create("a", b"") is False
        assert blobs.read("a") == b""

    def test_create_after_delete(self, blobs: Blobs) -> None:
        """A deleted key can be created again."""
        blobs.create("a/b", b"first")
        blobs.delete(["a/b"])
        assert blobs.create("a/b", b"second") is True
        assert blobs.read("a/b") == b"second"

    def test_one_thread_wins(self, blobs: Blobs) -> None:
        """Of all threads that create a key one is told that it did, and the blob holds what it wrote."""
        winners = race_of_threads(blobs, "race", self.rounds)
        assert [len(names) for names in winners] == [1] * self.rounds
        assert blobs.read_many([f"race/{n}" for n in range(self.rounds)]) == [names[0] for names in winners]

    def test_one_process_wins(self, blobs: Blobs) -> None:
        """The same between processes that open the backend from its pickle."""
        if not self.shared_by_processes:
            pytest.skip("this backend is not shared between processes")
        winners = race_of_processes(blobs, "race", self.rounds)
        assert [len(names) for names in winners] == [1] * self.rounds
        assert blobs.read_many([f"race/{n}" for n in range(self.rounds)]) == [names[0] for names in winners]

    def test_a_reader_never_sees_a_part_of_a_created_blob(self, blobs: Blobs) -> None:
        """A blob that is being created is not there, or whole."""
        keys = [f"whole/{number}" for number in range(max(4, self.rounds // 4))]
        seen = self._read_while(blobs, keys, lambda key: blobs.create(key, key[-1:].encode() * MEBIBYTE))
        assert {data for data in seen if data is not None} <= {key[-1:].encode() * MEBIBYTE for key in keys}

    def test_a_reader_never_sees_a_mix_of_two_writes(self, blobs: Blobs) -> None:
        """A blob that is being replaced is the old one, or the new one."""
        blobs.write("mix", b"0" * MEBIBYTE)
        contents = {b"%d" % (number % 10) * (MEBIBYTE - number) for number in range(max(4, self.rounds // 4))}
        todo = list(contents)
        seen = self._read_while(blobs, ["mix"] * len(todo), lambda key: blobs.write(key, todo.pop()))
        assert set(seen) <= contents | {b"0" * MEBIBYTE}

    @staticmethod
    def _read_while(blobs: Blobs, keys: list[str], write: Callable[[str], object]) -> list[bytes | None]:
        current = keys[0]
        done = threading.Event()
        seen: list[bytes | None] = []

        def watch() -> None:
            while not done.is_set():
                seen.extend(blobs.read_many([current]))
                del seen[:-500]

        with eager_switches():
            reader = threading.Thread(target=watch)
            reader.start()
            try:
                for key in keys:
                    current = key
                    write(key)
            finally:
                done.set()
                reader.join()
        return seen


class Writing(OnBlobs):
    """Writing, streaming and deleting."""

    def test_write_replaces(self, blobs: Blobs) -> None:
        """A write replaces the blob, also by a shorter one."""
        for data in (b"a long content", b"short", b""):
            blobs.write("a/b", data)
            assert blobs.read("a/b") == data
        blobs.write("a/b", b"not durable", durable=False)
        assert blobs.read("a/b") == b"not durable"

    def test_what_need_not_last_is_written_waited_for_and_deleted(self, blobs: Blobs) -> None:
        """A blob that is left for others is whole, and waiting for its end is neither an error nor endless."""
        for number in range(3):
            blobs.write(f"in/{number}", b"%d" % number, durable=False)
            assert blobs.read(f"in/{number}") == b"%d" % number
            blobs.wait(f"in/{number}", 0.001)
            blobs.delete([f"in/{number}"], durable=False)
            blobs.wait(f"in/{number}", 0.001)
        blobs.wait("in/never", 0.0)
        assert list(blobs.list("")) == []

    @pytest.mark.parametrize("size", [0, 10, 17 * MEBIBYTE])
    def test_streams(self, blobs: Blobs, size: int) -> None:
        """A stream becomes one blob, and its size is returned."""
        data = os.urandom(1024) * (size // 1024) + b"x" * (size % 1024)
        assert blobs.write_stream("a/stream", io.BytesIO(data)) == size
        assert blobs.read("a/stream") == data

    def test_a_stream_starts_where_the_file_stands_and_may_read_short(self, blobs: Blobs) -> None:
        """A stream is read from where it stands, to its end."""
        source = _Dribble(b"skipped" + b"0123456789" * 1000)
        source.read(7)
        assert blobs.write_stream("a/stream", source) == 10_000
        assert blobs.read("a/stream") == b"0123456789" * 1000

    @pytest.mark.parametrize("size", [0, 10, 17 * MEBIBYTE])
    def test_a_stream_may_get_its_name_from_what_was_read(self, blobs: Blobs, size: int) -> None:
        """The name is asked for when the source was read to its end; a second stream of that name is no error."""
        data = b"x" * size
        for _ in range(2):
            source = _Dribble(data) if size < MEBIBYTE else io.BytesIO(data)
            assert blobs.write_stream("a/b/", source, name=lambda source=source: f"read-{source.tell()}") == size  # type: ignore[misc]
            assert [info.key for info in blobs.list("")] == [f"a/b/read-{size}"]
            assert blobs.read(f"a/b/read-{size}") == data
        for folder in ("a", "../", "/a/"):
            with pytest.raises(UsageError):
                blobs.write_stream(folder, io.BytesIO(), name=lambda: "x")
        with pytest.raises(UsageError):
            blobs.write_stream("a/", io.BytesIO(), name=lambda: "../x")

    def test_a_stream_that_breaks_off_leaves_nothing(self, blobs: Blobs) -> None:
        """A stream that fails leaves no new blob and does not change an old one."""
        blobs.write("old", b"old")
        for key in ("new", "old"):
            with pytest.raises(ZeroDivisionError):
                blobs.write_stream(key, _Breaking())
        assert [info.key for info in blobs.list("")] == ["old"]
        assert blobs.read("old") == b"old"

    def test_deletes(self, blobs: Blobs) -> None:
        """Blobs are deleted, keys that do not exist are no error, and folders are not touched."""
        for key in ("a/b", "a/c", "d"):
            blobs.write(key, b"1")
        blobs.delete(["a/b", "missing", "a", "d/x", "d"])
        assert [info.key for info in blobs.list("")] == ["a/c"]
        blobs.delete([])
        blobs.delete(iter(["a/c"]))
        assert list(blobs.list("")) == []


class _Dribble(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size, 999) if size is not None and size >= 0 else 999)


class _Breaking(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 20 * MEBIBYTE:
            raise ZeroDivisionError
        self.seek(MEBIBYTE, io.SEEK_CUR)
        return b"x" * MEBIBYTE
