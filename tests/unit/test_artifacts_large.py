"""Files that are stored and read back by the operating system's own copy: whole, checked, and in bounded memory."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from trialstore.artifacts import kernel, store, transfer
from trialstore.model.errors import DamagedError, StorageFullError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="calls of Linux")

SIZE = (9 << 20) + 12345
"""More than one piece, and no round number."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(1 << 16) * (SIZE >> 16) + os.urandom(SIZE % (1 << 16)))
    assert path.stat().st_size == SIZE
    return path


@pytest.fixture
def trial(tmp_path: Path) -> ts.Trial:
    experiment = ts.open(tmp_path / "store", durability="process").create_experiment("large")
    return experiment.register_trial({"x": 1}, reserve=True)


def blob_of(trial: ts.Trial, tmp_path: Path) -> Path:
    return tmp_path / "store" / trial.artifacts()["large.bin"].path


def refuse_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it noticed when bytes pass through this process."""

    def refuse(*_: object) -> Any:
        raise AssertionError("read in Python")

    monkeypatch.setattr(transfer.HashingReader, "read", refuse)
    monkeypatch.setattr(store, "chunks", refuse)


def keeps_attributes(folder: Path) -> bool:
    probe = folder / "probe"
    probe.write_bytes(b"")
    try:
        os.setxattr(probe, "user.trialstore.probe", b"1")
    except OSError:
        return False
    return True


def test_a_file_passes_by_this_process_both_ways(
    trial: ts.Trial, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not keeps_attributes(tmp_path):
        pytest.skip("this file system keeps no attributes")
    refuse_python(monkeypatch)
    trial.store({"large.bin": source})
    found = trial.artifacts()["large.bin"]
    assert (found.size_bytes, found.sha256) == (SIZE, hashlib.sha256(source.read_bytes()).hexdigest())
    assert blob_of(trial, tmp_path).read_bytes() == source.read_bytes()
    trial.retrieve_file("large.bin", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


def test_an_open_file_is_stored_from_where_it_stands_to_its_end(trial: ts.Trial, source: Path) -> None:
    with open(source, "rb") as file:
        file.read(1001)
        trial.store({"large.bin": file})
        assert file.read() == b""
    assert trial.retrieve("large.bin") == source.read_bytes()[1001:]


@pytest.mark.parametrize("size", [0, 1, 8 << 20])
def test_any_size(trial: ts.Trial, tmp_path: Path, size: int) -> None:
    (tmp_path / "source").write_bytes(os.urandom(size))
    trial.store({"large.bin": tmp_path / "source"})
    trial.retrieve_file("large.bin", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "source").read_bytes()


@pytest.mark.parametrize("where", [0, SIZE // 2, SIZE - 1])
def test_a_flipped_bit_is_found(trial: ts.Trial, source: Path, tmp_path: Path, where: int) -> None:
    trial.store({"large.bin": source})
    with open(blob_of(trial, tmp_path), "r+b") as file:
        file.seek(where)
        byte = file.read(1)[0]
        file.seek(where)
        file.write(bytes([byte ^ 4]))
    with pytest.raises(DamagedError, match="does not hold what was stored"):
        trial.retrieve_file("large.bin", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("attribute", ["absent", "of other bytes"])
def test_without_its_attribute_a_blob_is_checked_by_its_name(
    trial: ts.Trial, source: Path, tmp_path: Path, attribute: str
) -> None:
    if not keeps_attributes(tmp_path):
        pytest.skip("this file system keeps no attributes")
    trial.store({"large.bin": source})
    if attribute == "absent":
        os.removexattr(blob_of(trial, tmp_path), "user.trialstore.xxh3")
    else:
        os.setxattr(blob_of(trial, tmp_path), "user.trialstore.xxh3", b"0" * 16)
    trial.retrieve_file("large.bin", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


def test_where_the_system_does_not_copy_it_is_done_by_hand(
    trial: ts.Trial, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "not on this file system")

    monkeypatch.setattr(os, "sendfile", refuse)
    trial.store({"large.bin": source})
    trial.retrieve_file("large.bin", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


def test_a_full_disk_in_the_middle_leaves_nothing(
    trial: ts.Trial, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sendfile = os.sendfile

    def fill(target: int, fd: int, offset: int, count: int) -> int:
        if offset:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return sendfile(target, fd, offset, count)

    trial.store({"large.bin": source})
    monkeypatch.setattr(os, "sendfile", fill)
    with pytest.raises(StorageFullError):
        trial.retrieve_file("large.bin", tmp_path / "out")
    (tmp_path / "other").write_bytes(source.read_bytes()[::-1])
    with pytest.raises(StorageFullError):
        trial.store({"other.bin": tmp_path / "other"})
    assert "other.bin" not in trial.artifacts()
    assert not (tmp_path / "out").exists()


def test_a_hash_that_fails_is_told(source: Path) -> None:
    with open(source, "rb") as file:
        alongside = kernel.Alongside(file.fileno(), hashlib.sha256())
        alongside.reach(SIZE + 1)
        with pytest.raises(OSError, match="became shorter"):
            alongside.finish()
