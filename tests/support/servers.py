"""Real object-store servers as fixtures: started when first asked for, stopped with the test session.

`bucket_url` runs a test on each of them, under a prefix of its own; `s3_url` on those that speak S3.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.azurite import started_azurite
from tests.support.gcs import started_gcs
from tests.support.s3 import S3Server, started_ceph, started_moto
from trialstore.model.identity import new_ulid

BUCKET = "trialstore-tests"
BUCKET_SERVERS = {"ceph": "s3", "moto": "s3", "azurite": "az", "gcs": "gs"}
"""Each server and the scheme of its buckets."""


@dataclass(frozen=True)
class Bucket:
    """A bucket on a running server, and the storage options to open it with."""

    url: str
    options: dict[str, Any]
    server: Any

    def place(self) -> tuple[str, dict[str, Any]]:
        """An empty place in it."""
        return f"{self.url}/{new_ulid()}", self.options


class Servers:
    def __init__(self, new_folder: Callable[[str], Path]) -> None:
        self._new_folder = new_folder
        self._running = ExitStack()
        self._buckets: dict[str, Bucket] = {}
        self._failed: dict[str, Exception] = {}

    def bucket(self, name: str) -> Bucket:
        """The bucket of this server, started if it does not run. One that did not start is not tried again."""
        if name not in self._buckets and name not in self._failed:
            try:
                self._buckets[name] = self._start(name)
            except Exception as error:
                self._failed[name] = error
        if name in self._failed:
            raise _no_server(f"no {name} to test on: {self._failed[name]}")
        return self._buckets[name]

    def _start(self, name: str) -> Bucket:
        if name == "azurite":
            azurite = self._running.enter_context(started_azurite(self._new_folder))
            azurite.create_container(BUCKET)
            return Bucket(f"az://{BUCKET}", azurite.options, azurite)
        if name == "gcs":
            gcs = self._running.enter_context(started_gcs())
            gcs.create_bucket(BUCKET)
            return Bucket(f"gs://{BUCKET}", gcs.options, gcs)
        s3 = self._running.enter_context(started_ceph(self._new_folder) if name == "ceph" else started_moto())
        s3.create_bucket(BUCKET)
        return Bucket(f"s3://{BUCKET}", s3.options, s3)

    def stop(self) -> None:
        self._running.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    running = Servers(tmp_path_factory.mktemp)
    yield running
    running.stop()


@pytest.fixture(params=BUCKET_SERVERS)
def bucket_url(request: pytest.FixtureRequest, servers: Servers) -> tuple[str, dict[str, Any]]:
    """The address of an empty place on a real server of each kind, and the storage options to open it with."""
    return servers.bucket(request.param).place()


@pytest.fixture(scope="session", params=["ceph", "moto"])
def s3_server(request: pytest.FixtureRequest, servers: Servers) -> S3Server:
    """A running server that speaks S3, with the bucket `BUCKET`."""
    server: S3Server = servers.bucket(request.param).server
    return server


@pytest.fixture
def s3_url(s3_server: S3Server, servers: Servers) -> tuple[str, dict[str, Any]]:
    """The address of an empty place on the server, and the storage options to open it with."""
    return servers.bucket(s3_server.name).place()


def _no_server(reason: str) -> BaseException:
    """Skips the test, except in CI, where a server that does not start is a failure."""
    in_ci = os.environ.get("CI", "").lower() in ("1", "true")
    return (pytest.fail if in_ci else pytest.skip).Exception(reason)
