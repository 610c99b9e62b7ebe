"""A forked child takes nothing from its parent that the parent still uses."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.elsewhere import in_a_fork, in_a_fresh_interpreter
from trialstore.blobs.guard import FolderGuards
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


def _fork_beside_busy_guards(folder: str) -> list[str]:
    """The lock files that the children of forks found open, while threads of their parent took locks and left them."""
    guards = FolderGuards(folder)
    stop = threading.Event()

    def take_and_leave(name: str) -> None:
        while not stop.is_set():
            with guards.hold(name, 0.0):
                pass

    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(3) as pool:
        for name in ("a", "b", "a"):
            pool.submit(take_and_leave, name)
        try:
            return [path for _ in range(100) for path in in_a_fork(lambda: _open_below(folder))]
        finally:
            stop.set()


def _open_below(folder: str) -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [path for path in found if path.startswith(folder)]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="this system does not say what is open")
def test_a_child_keeps_no_lock_of_its_parent_whenever_the_fork_happens(tmp_path: Path) -> None:
    assert in_a_fresh_interpreter(_fork_beside_busy_guards, str(tmp_path.resolve())) == []
