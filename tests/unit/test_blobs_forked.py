"""A forked child takes nothing from its parent that the parent still uses."""

from __future__ import annotations

import gc
import multiprocessing
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.elsewhere import in_a_fork, in_a_fresh_interpreter
from trialstore.blobs.remote import RemoteBlobs

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork"
)


def _use_and_drop(blobs: RemoteBlobs, clients_of_parent: list[weakref.ref[Any]]) -> None:
    assert blobs.read("parent") == b"1"
    assert blobs.filesystem is not None
    gc.collect()  # whatever the child does not keep is finalized now
    clients = [client() for client in clients_of_parent]
    assert None not in clients
    assert blobs._connection._filesystem() not in clients


def _fork_thrice(url: str, options: dict[str, Any]) -> list[bool]:
    """Whether the parent's client still works after each child that used and dropped its own."""
    blobs = RemoteBlobs(url, options)
    clients = [weakref.ref(blobs._connection._filesystem()), weakref.ref(blobs.filesystem)]
    created = []
    with ThreadPoolExecutor(1) as pool:
        for number in range(3):
            blobs.write("parent", b"1")
            in_a_fork(lambda: _use_and_drop(blobs, clients))
            created.append(pool.submit(blobs.create, f"after {number}", b"1").result(timeout=30))
    return created


def test_the_parent_goes_on_when_a_child_drops_its_client(bucket_url: tuple[str, dict[str, Any]]) -> None:
    assert in_a_fresh_interpreter(_fork_thrice, *bucket_url) == [True] * 3
