from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from trialstore.blobs.memory import MemoryBlobs
from trialstore.model.identity import new_ulid


class _Meeting(dict[str, Any]):
    """A store in which two threads that look before they write have both looked before either writes."""

    def __init__(self) -> None:
        super().__init__()
        self._both = threading.Barrier(2)

    def _look(self, found: Any) -> Any:
        try:
            self._both.wait(0.5)
        except threading.BrokenBarrierError:
            pass
        return found

    def __contains__(self, key: object) -> bool:
        return bool(self._look(super().__contains__(key)))

    def __getitem__(self, key: str) -> Any:
        return self._look(super().__getitem__(key))

    def get(self, key: str, default: Any = None) -> Any:
        return self._look(super().get(key, default))


def test_create_does_not_look_before_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", _Meeting())
    blobs = MemoryBlobs(new_ulid())
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda data: blobs.create("a", data), [b"1", b"2"])) == [False, True]


def test_other_users_of_fsspec_see_the_files() -> None:
    blobs = MemoryBlobs(f"tests/{new_ulid()}")
    blobs.create("a/b", b"1")
    filesystem = fsspec.filesystem("memory")
    assert filesystem.cat_file(blobs.engine_path("a/b")) == b"1"
    filesystem.pipe_file(blobs.url + "/a/c", b"2")
    assert [(info.key, blobs.read(info.key)) for info in blobs.list("")] == [("a/b", b"1"), ("a/c", b"2")]
    filesystem.rm(blobs.url, recursive=True)
    assert list(blobs.list("")) == []
