from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from trialstore.blobs.local import LocalBlobs
from trialstore.blobs.memory import MemoryBlobs
from trialstore.blobs.remote import RemoteBlobs
from trialstore.blobs.resolve import BlobsSpec, open_blobs
from trialstore.model.errors import UnsafeBackendError, UnsupportedError, UsageError


def test_paths_of_one_folder_have_one_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to("results")
    spellings = ["results", "./x/../results/", Path("results"), tmp_path / "results", f"file://{tmp_path}/results/"]
    blobs = [open_blobs(url) for url in [*spellings, "~/results", "link"]]
    assert {b.url for b in blobs} == {f"file://{tmp_path}/results"}
    assert all(isinstance(b, LocalBlobs) for b in blobs)
    assert open_blobs(blobs[0].url).url == blobs[0].url
    assert os.listdir(tmp_path) == ["link"]


def test_durability_reaches_the_folder(tmp_path: Path) -> None:
    assert repr(open_blobs(tmp_path, durability="process")) == f"LocalBlobs({str(tmp_path)!r}, durability='process')"
    with pytest.raises(UsageError):
        open_blobs(tmp_path, durability="eternal")  # type: ignore[arg-type]


def test_memory_of_one_name_is_one_place() -> None:
    first, second = open_blobs("memory://resolve/a"), open_blobs("memory://resolve/a/")
    assert isinstance(first, MemoryBlobs)
    assert first.url == second.url == "memory://resolve/a"
    first.write("k", b"1")
    assert second.read("k") == b"1"
    assert open_blobs("memory://resolve").read("a/k") == b"1"


@pytest.mark.parametrize("url", ["s3://bucket/x", "s3a://bucket/x", "S3://bucket/x/"])
def test_names_of_one_scheme_have_one_url(url: str) -> None:
    blobs = open_blobs(url, storage_options={"key": "k"})
    assert isinstance(blobs, RemoteBlobs)
    assert blobs.url == "s3://bucket/x"


@pytest.mark.parametrize("url", ["", "  ", "a\0b", b"bytes", "file://", "s3://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError):
        open_blobs(url)


@pytest.mark.parametrize(("url", "near"), [("s4://x", "s3"), ("memry://x", "memory"), ("flie://x", "file")])
def test_a_misspelt_scheme(url: str, near: str) -> None:
    with pytest.raises(UsageError, match="unknown scheme") as caught:
        open_blobs(url)
    assert near in str(caught.value.hint)


@pytest.mark.parametrize("scheme", ["sftp", "ftp", "hdfs", "http", "github", "zip", "webdav"])
def test_storage_that_does_not_exclude(scheme: str) -> None:
    with pytest.raises(UnsafeBackendError, match="race") as caught:
        open_blobs(f"{scheme}://host/x")
    assert isinstance(caught.value, UnsupportedError)
    assert "s3://" in str(caught.value.hint)


def test_options_for_a_path_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes no storage options"):
        open_blobs(tmp_path, storage_options={"key": "k"})


def test_a_spec_travels_and_opens() -> None:
    spec = BlobsSpec("memory://resolve/spec", storage_options={"secret": "hush"})
    assert "hush" not in repr(spec)
    copy = pickle.loads(pickle.dumps(spec))
    assert (copy, hash(copy)) == (spec, hash(spec))
    assert copy.open().url == "memory://resolve/spec"


def test_looking_up_an_address_loads_no_clients() -> None:
    code = (
        "import sys; from trialstore.blobs.resolve import open_blobs; open_blobs('.'); open_blobs('memory://x');"
        "print([m for m in ('s3fs', 'gcsfs', 'adlfs', 'aiohttp', 'pyarrow', 'boto3', 'requests') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"


def test_blobs_of_ones_own_are_taken_as_they_are() -> None:
    blobs = MemoryBlobs("own")
    assert open_blobs(blobs) is blobs
    with pytest.raises(UsageError, match="take no storage options"):
        open_blobs(blobs, storage_options={"key": "k"})
    for other in (3, b"results", None, object()):
        with pytest.raises(UsageError, match="not an address"):
            open_blobs(other)  # type: ignore[arg-type]


def test_a_spec_of_ones_own_blobs_opens_them_anywhere() -> None:
    spec = pickle.loads(pickle.dumps(BlobsSpec(MemoryBlobs("own"))))
    assert (type(spec.open()), spec.open().url) == (MemoryBlobs, "memory://own")
