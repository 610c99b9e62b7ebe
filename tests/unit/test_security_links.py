"""A store from a stranger may have links in it: nothing outside is read, written or deleted through them."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support.small import files, grow_old, small_store
from trialstore.blobs.local import LocalBlobs
from trialstore.model.errors import BlobNotFoundError, DamagedError

NO_GRACE = timedelta(0)
FILES = [
    "trialstore.json",
    "journal/catalog/*.jsonl",
    "journal/experiment=tune/*.jsonl",
    "checkpoints/experiment=tune/*.gz",
    "trials/experiment=tune/*.parquet",
    "metrics/experiment=tune/*.parquet",
    "telemetry/experiment=tune/*.parquet",
    "status/experiment=tune/*.parquet",
    "artifacts/experiment=tune/*.parquet",
    "artifacts/experiment=tune/sha256/*",
    "leases/experiment=tune/*.json",
]
FOLDERS = [
    "journal",
    "journal/catalog",
    "journal/experiment=tune",
    "checkpoints/experiment=tune",
    "trials",
    "trials/experiment=tune",
    "telemetry/experiment=tune",
    "artifacts/experiment=tune",
    "leases",
    "leases/experiment=tune",
    ".locks",
    ".ahead",
    ".ahead/*",
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original") / "store"
    with small_store(root) as store:
        store.experiment("tune").flush()
        trial = store.experiment("tune").reserve_trial()
        assert trial is not None
        trial.store({"kept.bin": b"x"})
    grow_old(root, timedelta(days=30))
    return root


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def link_out(root: Path, outside: Path, path: Path) -> None:
    """What a stranger's store had there is outside of it, and a link is in its place."""
    target = outside / path.relative_to(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, target)
    path.symlink_to(target)


def use(root: Path) -> list[str]:
    """All that one may do with a store; the errors."""
    errors: list[str] = []

    def attempt(act: Callable[[], Any]) -> None:
        try:
            act()
        except ts.TrialStoreError as error:
            errors.append(str(error))

    def read(store: ts.Store) -> None:
        for table in ("trials", "params", "metrics", "telemetry", "status", "artifacts", "experiments"):
            attempt(lambda table=table: store.sql(f"SELECT * FROM {table}").fetchall())  # type: ignore[misc]
            attempt(lambda table=table: store.frame(table).collect())  # type: ignore[misc]
        for experiment in store:
            for trial in experiment.trials():
                for name in trial.artifacts():
                    attempt(lambda trial=trial, name=name: trial.retrieve(name))  # type: ignore[misc]

    def write(store: ts.Store) -> None:
        experiment = store.experiment("tune")
        attempt(lambda: experiment.register_trial({"lr": 0.5}))
        attempt(lambda: experiment.fix_lost_trials())
        attempt(lambda: _finish(experiment.reserve_trial()))
        attempt(lambda: experiment.trial(0).delete_from_storage(["notes.txt"]))
        attempt(lambda: experiment.trial(1).annotate(seen=True))
        attempt(lambda: experiment.compact(grace=NO_GRACE))
        attempt(lambda: store.checkpoint())
        attempt(lambda: store.repair(grace=NO_GRACE))
        attempt(lambda: store.vacuum(grace=NO_GRACE))
        attempt(lambda: store.drop_experiment("tune"))
        attempt(lambda: store.vacuum(grace=NO_GRACE))

    for mode, work in (("r", read), ("rw", write)):
        attempt(lambda mode=mode, work=work: _with(root, mode, work))  # type: ignore[misc]
    return errors


def _with(root: Path, mode: str, work: Callable[[ts.Store], None]) -> None:
    with ts.open(root, mode=mode, lease_s=1) as store:
        work(store)
        for problem in store.verify().problems:
            assert problem.what


def _finish(trial: ts.Trial | None) -> None:
    assert trial is not None
    trial.report(loss=1.0)
    trial.store({"new.txt": "new"})
    trial.success(loss=0.5)


def test_without_links_all_of_it_works(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "store")
    assert use(tmp_path / "store") == []


@pytest.mark.parametrize("pattern", [*FILES, *FOLDERS])
def test_nothing_outside_is_reached_through_a_link(original: Path, tmp_path: Path, pattern: str) -> None:
    root, outside = tmp_path / "store", tmp_path / "outside"
    shutil.copytree(original, root)
    (root / ".locks").mkdir(exist_ok=True)
    found = sorted(root.glob(pattern))
    assert found
    for path in found:
        link_out(root, outside, path)
    (outside / ".locks").mkdir(exist_ok=True)
    before, names = state(outside), sorted(outside.rglob("*"))
    errors = use(root)
    assert state(outside) == before
    assert sorted(outside.rglob("*")) == names
    if pattern not in (".locks", ".ahead", "checkpoints/experiment=tune/*.gz", "leases/experiment=tune/*.json"):
        assert any("symbolic link" in error or "ends too early" in error for error in errors), errors


def test_a_link_that_leads_nowhere_creates_nothing(tmp_path: Path) -> None:
    root, outside = tmp_path / "store", tmp_path / "outside"
    ts.open(root).close()
    outside.mkdir()
    (root / "journal").symlink_to(outside / "new")
    for name in ("x", "y"):
        (root / ".locks" / name).parent.mkdir(exist_ok=True)
        (root / ".locks" / name).symlink_to(outside / name)
    blobs = LocalBlobs(str(root))
    with blobs.guard("x"):
        pass
    with pytest.raises(DamagedError), ts.open(root) as store:
        store.create_experiment("tune")
    assert list(outside.iterdir()) == []


def test_a_link_is_a_blob_that_can_be_listed_and_deleted_alone(tmp_path: Path) -> None:
    blobs = LocalBlobs(str(tmp_path / "store"))
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").write_bytes(b"outside")
    blobs.write("a/blob", b"1")
    (tmp_path / "store/a/folder").symlink_to(tmp_path / "target")
    (tmp_path / "store/a/link").symlink_to(tmp_path / "target/file")
    assert [info.key for info in blobs.list("")] == ["a/blob", "a/folder", "a/link"]
    for key in ("a/folder/file", "a/link"):
        for read in (blobs.read, blobs.open, blobs.engine_path, lambda key: blobs.read(key, 0, 1)):
            with pytest.raises(DamagedError, match="symbolic link"):
                read(key)
    for change in (lambda: blobs.write("a/folder/new", b""), lambda: blobs.create("a/folder/new", b"")):
        with pytest.raises(DamagedError, match="symbolic link"):
            change()
    with pytest.raises(DamagedError, match="symbolic link"):
        blobs.delete(["a/folder/file"])
    blobs.write("a/link", b"2")
    assert blobs.read("a/link") == b"2"
    blobs.delete(["a/folder"])
    assert [info.key for info in blobs.list("")] == ["a/blob", "a/link"]
    assert (tmp_path / "target/file").read_bytes() == b"outside"


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    small_store(tmp_path / "store").close()
    (tmp_path / "link").symlink_to(tmp_path / "store")
    with ts.open(tmp_path / "link") as store:
        assert store.sql("SELECT count(*) FROM trials").fetchone() == (6,)
        assert store.url == f"file://{(tmp_path / 'store').resolve()}"


def test_pipes_and_sockets_are_no_blobs_and_nobody_waits_for_them(tmp_path: Path, monkeypatch: Any) -> None:
    blobs = LocalBlobs(str(tmp_path))
    blobs.write("a/blob", b"1")
    os.mkfifo(tmp_path / "a/pipe")
    monkeypatch.chdir(tmp_path / "a")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("socket")
    assert blobs.read_many(["a/blob", "a/pipe"]) == [b"1", None]
    assert [info.key for info in blobs.list("")] == ["a/blob"]
    assert blobs.info("a/pipe") is None
    for read in (blobs.read, blobs.open, lambda key: blobs.read(key, 0, 1)):
        with pytest.raises(BlobNotFoundError):
            read("a/pipe")
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b/trialstore.json")
    with pytest.raises(ts.TrialStoreError):
        ts.open(tmp_path / "b", mode="r")
    assert files(tmp_path) == [tmp_path / "a/blob"]
