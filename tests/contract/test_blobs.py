from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.broken import ForgetfulBlobs
from tests.support.counting import CountingBlobs
from tests.support.named_files import NamedFileBlobs
from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.memory import MemoryBlobs
from trialstore.blobs.probe import probe
from trialstore.blobs.protocol import Blobs
from trialstore.blobs.remote import RemoteBlobs
from trialstore.blobs.resolve import open_blobs
from trialstore.model.errors import UnsafeBackendError
from trialstore.model.identity import new_ulid
from trialstore.testing import BlobsContract
from trialstore.testing.races import race_of_processes, race_of_threads


class OnBackend(BlobsContract):
    """The suite on a backend that is named, so that a guard can see that none goes without."""

    backend: ClassVar[type]

    def test_runs_on_the_backend_it_names(self, blobs: Blobs) -> None:
        assert type(blobs) is self.backend


class TestLocal(OnBackend):
    backend = LocalBlobs

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return LocalBlobs(str(tmp_path / "store"))


class TestLocalForTheProcess(OnBackend):
    backend = LocalBlobs

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return LocalBlobs(str(tmp_path / "store"), durability="process")


class TestLocalWithNamedFiles(OnBackend):
    backend = NamedFileBlobs

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return NamedFileBlobs(str(tmp_path / "store"))


class TestMemory(OnBackend):
    backend = MemoryBlobs
    shared_by_processes = False

    @pytest.fixture
    def blobs(self) -> Blobs:
        return MemoryBlobs(f"tests/{new_ulid()}")


class TestBuckets(OnBackend):
    backend = RemoteBlobs
    rounds = 8

    @pytest.fixture
    def blobs(self, bucket_url: tuple[str, dict[str, Any]]) -> Blobs:
        url, options = bucket_url
        return open_blobs(url, storage_options=options)


class TestCounted(OnBackend):
    backend = CountingBlobs
    shared_by_processes = False

    @pytest.fixture
    def blobs(self) -> Blobs:
        return CountingBlobs(MemoryBlobs(f"tests/{new_ulid()}"))


def test_the_races_see_a_backend_that_does_not_exclude() -> None:
    winners = race_of_threads(ForgetfulBlobs(new_ulid()), "race", rounds=3, writers=4)
    assert [len(names) for names in winners] == [4] * 3
    winners = race_of_processes(MemoryBlobs(new_ulid()), "race", rounds=3, writers=2)
    assert [len(names) for names in winners] == [2] * 3


class TestProbe:
    @pytest.mark.parametrize("kind", ["local", "memory"])
    def test_passes_and_leaves_nothing(self, kind: str, tmp_path: Path) -> None:
        blobs = open_blobs(tmp_path if kind == "local" else f"memory://tests/{new_ulid()}")
        probe(blobs)
        assert list(blobs.list("")) == []

    def test_passes_on_real_servers(self, bucket_url: tuple[str, dict[str, Any]]) -> None:
        blobs = open_blobs(bucket_url[0], storage_options=bucket_url[1])
        probe(blobs)
        assert list(blobs.list("")) == []

    @pytest.mark.parametrize("flaw", ["overwrites", "overwrites and denies it", "checks, then writes"])
    def test_refuses_what_only_pretends(self, flaw: str) -> None:
        blobs = ForgetfulBlobs(f"tests/{new_ulid()}", flaw)
        with pytest.raises(UnsafeBackendError, match="does not honour conditional writes"):
            probe(blobs)
        assert list(blobs.list("")) == []
