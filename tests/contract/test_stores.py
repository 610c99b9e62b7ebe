"""The whole store on every kind of place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.memory import MemoryBlobs
from trialstore.blobs.remote import RemoteBlobs
from trialstore.model.identity import new_ulid
from trialstore.testing import Place, StoreContract


class OnBackend(StoreContract):
    """The suite on a backend that is named, so that a guard can see that none goes without."""

    backend: ClassVar[type]

    def test_runs_on_the_backend_it_names(self, place: Place) -> None:
        assert type(place.blobs()) is self.backend


class TestFolder(OnBackend):
    backend = LocalBlobs

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place(tmp_path / "store")


class TestMemory(OnBackend):
    backend = MemoryBlobs
    shared_by_processes = False

    @pytest.fixture
    def place(self) -> Place:
        return Place(f"memory://tests/{new_ulid()}")


class TestBuckets(OnBackend):
    backend = RemoteBlobs
    workers = 3
    trials = 9

    @pytest.fixture
    def place(self, bucket_url: tuple[str, dict[str, Any]]) -> Place:
        return Place(*bucket_url)
