"""A store on a disk that lost, altered, mixed or filled something: a clear error or a full recovery, never silence."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import trialstore as ts
from tests.support.elsewhere import in_a_fresh_interpreter
from tests.support.small import files, small_store
from trialstore.model.errors import DamagedError

Damage = Callable[[bytes, random.Random], bytes]
KINDS = [
    "trialstore.json",
    "journal/catalog/*.jsonl",
    "journal/experiment=tune/*.jsonl",
    "checkpoints/experiment=tune/*.jsonl.gz",
    "trials/experiment=tune/*.parquet",
    "metrics/experiment=tune/*.parquet",
    "telemetry/experiment=tune/*.parquet",
    "status/experiment=tune/*.parquet",
    "artifacts/experiment=tune/*.parquet",
    "artifacts/experiment=tune/sha256/*",
]

READING_FAILED = (ts.TrialStoreError, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What says that something cannot be read; a frame is Polars' own, and so are its errors."""


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def flip(data: bytes, chance: random.Random) -> bytes:
    position = chance.randrange(len(data))
    return data[:position] + bytes([data[position] ^ (1 << chance.randrange(8))]) + data[position + 1 :]


def empty(data: bytes, chance: random.Random) -> bytes:
    return b""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original") / "store"
    small_store(root).close()
    return root


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "store")
    return tmp_path / "store"


def facts(root: Path) -> dict[str, Any]:
    """All that a user may read, values in full."""
    store = ts.open(root, mode="r")
    experiment = store.experiment("tune")
    tables = {
        table: sorted(store.frame(table).collect().rows(), key=repr)
        for table in ("trials", "metrics", "telemetry", "status", "artifacts")
    }
    notes = {trial.number: trial.retrieve("notes.txt") for trial in experiment.trials("SUCCEEDED")}
    return {"about": (store.id, store.created_at, experiment.metadata), "tables": tables, "notes": notes}


def problems(root: Path, **options: Any) -> list[Any]:
    try:
        return ts.open(root, mode="r").verify(**options).problems
    except ts.TrialStoreError as error:
        return [error]


@pytest.fixture(scope="module")
def expected(original: Path) -> dict[str, Any]:
    assert problems(original) == []
    assert problems(original, fast=True) == []
    return facts(original)


@pytest.mark.parametrize("damage", [cut, flip, empty])
@pytest.mark.parametrize("kind", KINDS)
def test_every_altered_byte_of_every_kind_of_file_is_found(
    original: Path, tmp_path: Path, kind: str, damage: Damage
) -> None:
    """`verify` names the file, whichever it is and wherever it is damaged."""
    chance = random.Random(f"{kind} {damage.__name__}")
    paths = sorted(original.glob(kind))
    assert paths
    for number in range(4):
        root = tmp_path / str(number)
        shutil.copytree(original, root)
        path = root / chance.choice(paths).relative_to(original)
        data = path.read_bytes()
        altered = damage(data, chance)
        path.write_bytes(altered)
        if _means_the_same(kind, data, altered):
            continue
        found = problems(root)
        assert found, (path, altered)
        assert any(path.name in str(problem) for problem in found), found


def _means_the_same(kind: str, data: bytes, altered: bytes) -> bool:
    """What no checksum covers: the time in gzip's head, and a store's own id and time of creation."""
    if kind.endswith(".gz"):
        try:
            return gzip.decompress(data) == gzip.decompress(altered)
        except (OSError, EOFError, ValueError, zlib.error):
            return False
    if kind == "trialstore.json":
        return altered[:12] == data[:12] and len(altered) == len(data)
    return False


@pytest.mark.parametrize("damage", [cut, flip, empty])
@pytest.mark.parametrize("kind", KINDS)
def test_a_user_gets_an_error_or_the_truth(
    original: Path, tmp_path: Path, expected: dict[str, Any], kind: str, damage: Damage
) -> None:
    """What is read from a damaged store is what was written, or a TrialStoreError says that it cannot be read."""
    chance = random.Random(f"read {kind} {damage.__name__}")
    for number in range(2):
        root = tmp_path / str(number)
        shutil.copytree(original, root)
        path = root / chance.choice(sorted(original.glob(kind))).relative_to(original)
        data = path.read_bytes()
        altered = damage(data, chance)
        path.write_bytes(altered)
        try:
            found = facts(root)
        except READING_FAILED:
            continue
        if kind == "trialstore.json" or found == expected:
            continue
        # Engines read parts themselves, and check only what Parquet lets them; a verification reads every checksum.
        assert kind.endswith(".parquet"), (path, altered)
        assert any(path.name in str(problem) for problem in problems(root, fast=False)), (path, altered)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_file_that_is_gone_is_found(original: Path, tmp_path: Path, expected: dict[str, Any], kind: str) -> None:
    for number, path in enumerate(sorted(original.glob(kind))):
        root = tmp_path / str(number)
        shutil.copytree(original, root)
        gone = root / path.relative_to(original)
        gone.unlink()
        last = kind.startswith("journal/") and path == max(original.glob(kind))
        if last:
            continue  # the newest commit alone cannot be missed: nothing was written after it
        try:
            assert facts(root) == expected
        except READING_FAILED:
            for fast in (True, False):
                assert any(gone.name in str(problem) for problem in problems(root, fast=fast)), (gone, fast)


def test_a_missing_commit_stops_writers_before_they_fork_the_journal(original: Path, tmp_path: Path) -> None:
    commits = sorted(original.glob("journal/experiment=tune/*.jsonl"))
    checkpoint = max(int(path.name[:20]) for path in original.glob("checkpoints/experiment=tune/*"))
    for path in commits[checkpoint + 1 : -1]:
        root = tmp_path / path.name
        shutil.copytree(original, root)
        (root / path.relative_to(original)).unlink()
        with pytest.raises(DamagedError, match="missing"), ts.open(root) as store:
            store.experiment("tune").register_trial({"lr": 0.5})
        assert not (root / path.relative_to(original)).exists()


def test_two_stores_copied_over_each_other(original: Path, tmp_path: Path) -> None:
    """The files of one machine lie over those of another: a mixture is never taken for a store."""
    other = tmp_path / "other"
    small_store(other, finish=6).close()
    for number, (below, above) in enumerate([(original, other), (other, original)]):
        root = tmp_path / f"mixed {number}"
        shutil.copytree(below, root)
        shutil.copytree(above, root, dirs_exist_ok=True)
        if below is original:
            # The longer journal hides the shorter one wholly: it is the other store, and nothing is lost of that.
            assert facts(root) == facts(other)
            assert all("another history" in problem.what for problem in problems(root))  # an old checkpoint
        else:
            assert "continue" in str(problems(root))
            # What a reader needs, the newest checkpoint and the commits after it, is the longer store's.
            assert facts(root)["tables"] == facts(other)["tables"]
    between = tmp_path / "between"
    shutil.copytree(original, between)
    (checkpoint,) = other.glob("checkpoints/experiment=tune/*")
    (mine,) = between.glob("checkpoints/experiment=tune/*")
    mine.unlink()
    shutil.copy(checkpoint, between / "checkpoints/experiment=tune" / mine.name)
    assert facts(between) == facts(original)  # it says of itself which commit it is of, and is passed over
    foreign = tmp_path / "foreign"
    small_store(foreign).close()
    shutil.copy(next(foreign.glob("checkpoints/experiment=tune/*")), mine)
    for path in sorted(between.glob("journal/experiment=tune/*"))[int(mine.name[:20]) + 1 :]:
        path.unlink()
    with pytest.raises(DamagedError, match="names it"), ts.open(between) as store:
        store.experiment("tune").register_trial({"lr": 0.5})
    halves = tmp_path / "halves"
    shutil.copytree(original, halves)
    for path in sorted(other.glob("journal/experiment=tune/*"))[::2]:
        shutil.copy(path, halves / path.relative_to(other))
    assert any("continue" in str(problem) for problem in problems(halves))
    with pytest.raises(DamagedError), ts.open(halves) as store:
        store.experiment("tune").register_trial({"lr": 0.5})


def test_damaged_checkpoints_are_passed_over_and_repaired(copy: Path, expected: dict[str, Any]) -> None:
    checkpoints = sorted(copy.glob("checkpoints/*/*"))
    for path in checkpoints:
        path.write_bytes(b"damage")
    assert facts(copy) == expected
    assert {problem.kind for problem in problems(copy)} == {"damaged"}
    with ts.open(copy) as store:
        repair = store.repair()
    assert {path.name for path in checkpoints} <= {item.blob.rpartition("/")[2] for item in repair.done}
    assert repair.problems == ()
    assert problems(copy) == []
    assert facts(copy) == expected


def test_repair_never_removes_what_is_all_that_is_left(copy: Path) -> None:
    """A damaged checkpoint whose commits are gone is evidence: it stays, and is reported."""
    (path,) = copy.glob("checkpoints/experiment=tune/*")
    path.write_bytes(b"damage")
    (copy / "journal/experiment=tune" / f"{0:020d}.jsonl").unlink()
    before = files(copy)
    with ts.open(copy) as store:
        repair = store.repair()
    assert repair.done == ()
    assert any(path.name in problem.blob for problem in repair.problems)
    assert files(copy) == before


def test_verify_never_stops_at_the_first_problem(copy: Path) -> None:
    damaged = [next(copy.glob(kind)) for kind in KINDS[4:] if kind != "artifacts/experiment=tune/*.parquet"]
    for path in damaged:
        path.write_bytes(b"damage")
    names = {problem.blob.rpartition("/")[2] for problem in problems(copy)}
    assert names == {path.name for path in damaged}


# A full disk, and permission withdrawn

_FILL = """
import resource, signal, sys
import trialstore as ts
from trialstore.model.errors import StorageFullError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = ts.open(sys.argv[1], maintenance=False)
experiment = store.experiment("tune")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    getattr(experiment, sys.argv[3])(*eval(sys.argv[4]))
except StorageFullError as error:
    print("full")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(experiment.register_trials([{"lr": 1.0}] * 3)))
store.close()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no such limit on this system")
@pytest.mark.parametrize(
    ("verb", "arguments"), [("register_trials", '[[{"lr": float(k)} for k in range(200)]]'), ("flush", "[]")]
)
def test_a_disk_that_is_full_leaves_nothing_half_written(copy: Path, verb: str, arguments: str) -> None:
    before = len(ts.open(copy, mode="r").experiment("tune"))
    done = subprocess.run(
        [sys.executable, "-c", _FILL, str(copy), "1500", verb, arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["full", "3"], done.stderr
    assert len(ts.open(copy, mode="r").experiment("tune")) == before + 3
    assert problems(copy) == []


@pytest.fixture
def reachable(copy: Path) -> Iterator[Path]:
    """The store, in folders that everybody may enter, owned by a user without rights."""
    folders = [parent for parent in copy.parents if not parent.stat().st_mode & 0o001]
    modes = [folder.stat().st_mode for folder in folders]
    if os.geteuid() == 0:
        for folder, mode in zip(folders, modes, strict=True):
            os.chmod(folder, mode | 0o011)
        for path in [copy, *copy.rglob("*")]:
            os.chown(path, _NOBODY, _NOBODY)
    yield copy
    for folder, mode in zip(folders, modes, strict=True):
        os.chmod(folder, mode)


_NOBODY = 65534


def _without_rights(folder: Path) -> str:
    """What comes of a registration without the rights of the superuser: the error's type, or nothing."""
    with tempfile.TemporaryDirectory() as elsewhere:  # whatever is imported late is imported while it may be read
        small_store(Path(elsewhere) / "store").close()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    try:
        ts.open(folder).experiment("tune").register_trial({"lr": 0.5})
    except Exception as error:
        return type(error).__name__
    return ""


@pytest.mark.parametrize(
    ("folder", "mode"),
    [("journal/experiment=tune", 0o555), ("journal/experiment=tune", 0o000), ("checkpoints/experiment=tune", 0o000)],
)
def test_permission_withdrawn_is_told_and_given_back_all_is_there(
    reachable: Path, expected: dict[str, Any], folder: str, mode: int
) -> None:
    withdrawn = reachable / folder
    before = withdrawn.stat().st_mode
    os.chmod(withdrawn, mode)
    try:
        assert in_a_fresh_interpreter(_without_rights, reachable) == "AccessDeniedError"
    finally:
        os.chmod(withdrawn, before)
    assert facts(reachable) == expected
    assert problems(reachable) == []
    assert in_a_fresh_interpreter(_without_rights, reachable) == ""
    assert len(ts.open(reachable, mode="r").experiment("tune")) == len(expected["tables"]["trials"]) + 1
