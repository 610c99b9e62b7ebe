"""What every backend must do when blobs are read, listed and addressed."""

from __future__ import annotations

import io
import os
import pickle
from datetime import UTC, datetime, timedelta

import pytest

from trialstore.blobs.protocol import Blobs
from trialstore.model.errors import BlobNotFoundError, UsageError
from trialstore.testing.blob_base import MEBIBYTE, OnBlobs

__all__ = ["Addressing", "Listing", "Reading"]

BAD_KEYS = ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/..", ".a", "a/.b", ".", "a\0b", "a" * 1025, "\ud800"]


class Reading(OnBlobs):
    """What is read is what was written last."""

    @pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
    def test_reads_back_what_was_written(self, blobs: Blobs, size: int) -> None:
        """Each way to read gives the bytes that were written, of any size."""
        data = os.urandom(size)
        blobs.write("x/y", data)
        assert blobs.read("x/y") == data
        with blobs.open("x/y") as file:
            assert file.read() == data
        assert blobs.read_many(["x/y"]) == [data]

    def test_ranges(self, blobs: Blobs) -> None:
        """A range is cut at the end of the blob; one that is none is refused."""
        blobs.write("digits", b"0123456789")
        assert blobs.read("digits", 3, 5) == b"34"
        assert blobs.read("digits", 3) == b"3456789"
        assert blobs.read("digits", None, 4) == b"0123"
        assert blobs.read("digits", 0, 0) == b""
        assert blobs.read("digits", 4, 4) == b""
        assert blobs.read("digits", 8, 100) == b"89"
        assert blobs.read("digits", 10, 20) == b""
        assert blobs.read("digits", 50) == b""
        for start, end in [(-1, None), (None, -1), (5, 4)]:
            with pytest.raises(UsageError):
                blobs.read("digits", start, end)

    def test_what_is_missing(self, blobs: Blobs) -> None:
        """A key without a blob is not found, also where it is a folder or below a blob."""
        blobs.write("there/x", b"1")
        for key in ["missing", "there", "there/x/y", "there/y", "not/there"]:
            with pytest.raises(BlobNotFoundError) as caught:
                blobs.read(key)
            assert caught.value.facts["key"] == key
            with pytest.raises(BlobNotFoundError):
                blobs.read(key, 1, 2)
            with pytest.raises(BlobNotFoundError):
                blobs.read(key, 0, 0)
            with pytest.raises(BlobNotFoundError):
                blobs.open(key)
            assert blobs.info(key) is None
        assert blobs.read_many(["missing", "there/x", "there"]) == [None, b"1", None]
        assert blobs.read_many([]) == []

    def test_many_at_once_in_order(self, blobs: Blobs) -> None:
        """Many blobs come in the order they were asked for, None for those that are missing."""
        keys = [f"many/{number:03}" for number in range(40)]
        for key in keys[::2]:
            blobs.write(key, key.encode())
        assert blobs.read_many(keys) == [key.encode() if n % 2 == 0 else None for n, key in enumerate(keys)]

    def test_an_open_blob_seeks(self, blobs: Blobs) -> None:
        """An open blob can be read from anywhere."""
        data = os.urandom(3 * MEBIBYTE)
        blobs.write("big", data)
        with blobs.open("big") as file:
            assert file.seekable()
            assert file.seek(-10, io.SEEK_END) == len(data) - 10
            assert file.read() == data[-10:]
            file.seek(MEBIBYTE - 5)
            assert file.read(10) == data[MEBIBYTE - 5 : MEBIBYTE + 5]
            assert file.tell() == MEBIBYTE + 5

    def test_nothing_is_answered_from_a_cache(self, blobs: Blobs) -> None:
        """What another instance wrote or deleted is seen by the next call."""
        other = pickle.loads(pickle.dumps(blobs))
        assert blobs.info("k") is None
        assert blobs.read_many(["k"]) == [None]
        assert list(blobs.list("")) == []
        other.write("k", b"1")
        assert blobs.info("k") is not None
        assert blobs.read("k") == b"1"
        assert [info.key for info in blobs.list("")] == ["k"]
        other.write("k", b"22")
        assert (blobs.read("k"), blobs.info("k").size_bytes) == (b"22", 2)  # type: ignore[union-attr]
        other.delete(["k"])
        assert (blobs.info("k"), list(blobs.list(""))) == (None, [])


class Listing(OnBlobs):
    """Listings and times."""

    def test_lists_by_key(self, blobs: Blobs) -> None:
        """A listing has all blobs of a folder, at any depth, in the order of their keys."""
        keys = ["a", "a.b/x", "a-b", "b/c/d/e", "b/c0", "b/c/a", "b.c", "B", "ü/é=1/x~%20y", "日本/語"]
        for key in keys:
            blobs.write(key, b"1" * len(key))
        listed = list(blobs.list(""))
        assert [info.key for info in listed] == sorted(keys)
        assert [info.size_bytes for info in listed] == [len(key) for key in sorted(keys)]
        assert [info.key for info in blobs.list("b/")] == ["b/c/a", "b/c/d/e", "b/c0"]
        assert [info.key for info in blobs.list("b/c/")] == ["b/c/a", "b/c/d/e"]
        assert list(blobs.list("nothing/here/")) == []
        assert list(blobs.list("a/")) == []

    def test_times_are_the_backends_own(self, blobs: Blobs) -> None:
        """A blob says when it was written, in UTC; a listing says the same."""
        before = datetime.now(UTC) - timedelta(seconds=5)
        blobs.write("a/b", b"1")
        info = blobs.info("a/b")
        assert info is not None
        assert before <= info.modified_at <= datetime.now(UTC) + timedelta(seconds=5)
        assert info.modified_at.utcoffset() == timedelta(0)
        (listed,) = blobs.list("")
        assert (listed.key, listed.size_bytes) == (info.key, info.size_bytes)
        assert abs(listed.modified_at - info.modified_at) < timedelta(seconds=1)


class Addressing(OnBlobs):
    """Keys, pickles, guards and engines."""

    @pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
    def test_refuses_what_is_no_key(self, blobs: Blobs, key: str) -> None:
        """A key that is none is refused by every method, and nothing is written."""
        for call in (
            lambda: blobs.read(key),
            lambda: blobs.read_many([key]),
            lambda: blobs.create(key, b""),
            lambda: blobs.write(key, b""),
            lambda: blobs.write_stream(key, io.BytesIO()),
            lambda: blobs.open(key),
            lambda: blobs.info(key),
            lambda: blobs.delete([key]),
            lambda: blobs.engine_path(key),
        ):
            with pytest.raises(UsageError):
                call()
        if key:
            with pytest.raises(UsageError):
                list(blobs.list(key + "/"))
        with pytest.raises(UsageError):
            list(blobs.list("not-a-folder"))
        assert list(blobs.list("")) == []

    def test_a_pickle_is_the_same_place(self, blobs: Blobs) -> None:
        """A pickle opens the same blobs."""
        blobs.write("a", b"1")
        other = pickle.loads(pickle.dumps(blobs))
        assert (type(other), other.url, other.read("a")) == (type(blobs), blobs.url, b"1")

    def test_guard_lets_go(self, blobs: Blobs) -> None:
        """A guard ends with its block, however it ends, and leaves no blob."""
        for _ in range(2):
            with blobs.guard("journal/experiment=x/..") as may_go_ahead:
                assert may_go_ahead is True
        with pytest.raises(ZeroDivisionError), blobs.guard("a"):
            raise ZeroDivisionError
        with blobs.guard("a", patience_s=0) as may_go_ahead:
            assert may_go_ahead is True
        assert list(blobs.list("")) == []

    def test_engines_reach_the_blob(self, blobs: Blobs) -> None:
        """Engines read the blob at `engine_path`, and several at once."""
        blobs.write("part/experiment=x%20y/1.bin", b"0123456789")
        path = blobs.engine_path("part/experiment=x%20y/1.bin")
        if blobs.filesystem is None:
            with open(path, "rb") as file:
                assert file.read() == b"0123456789"
        else:
            with blobs.filesystem.open(path, "rb") as first, blobs.filesystem.open(path, "rb") as second:
                assert (first.read(3), second.read(2), first.read()) == (b"012", b"01", b"3456789")
