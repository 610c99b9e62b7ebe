"""Stores that were made to harm: whatever stands in them, an error of ours or the truth, and nothing outside."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import pickle
import random
import shutil
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import trialstore as ts
from tests.support.small import small_store
from trialstore.algorithms import lock_of
from trialstore.journal import checkpoint
from trialstore.journal.checkpoint import decode_checkpoint, encode_checkpoint
from trialstore.journal.commit import decode_commit, encode_commit
from trialstore.journal.machine import Machine
from trialstore.model.errors import DamagedError
from trialstore.tables.conform import read_checked

POLARS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""A LazyFrame is Polars' own, and so is what it says of a file that it cannot read."""

STRANGE: list[Any] = [
    None,
    True,
    -1,
    2**31 - 1,
    2**53,
    2**63,
    10**400,
    1.5,
    1e308,
    "",
    "../../../../outside",
    "/outside",
    "\x00",
    "\x1b[31m\u202e",
    "2026-02-30T00:00:00.000000Z",
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00.000000Z",
    [],
    [[]],
    [None, None],
    {},
    {"$int": "x"},
    {"$time": 5},
    {"$float": []},
    {"$dict": [[[], 1]]},
    {"$tuple": 3},
    {"$bytes": "é"},
    {"$new": 1},
    [0, 2**53],
    {"x": {"$float": "nan"}},
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original") / "store"
    with small_store(root) as store:
        experiment = store.experiment("tune")
        experiment.set_document("state", {"x": (1, float("inf"))})
        experiment.trial(0).annotate(odd=2**70)
        experiment.compact()
        experiment.import_trials([{"params": {"lr": 0.5}, "metrics": {"loss": 1.0}, "status": "SUCCEEDED"}])
        trial = experiment.register_trial({"lr": 0.5}, reserve=True)
        trial.results = [{"name": "loss", "type": "objective", "value": 0.5}]  # type: ignore[list-item]
        experiment.update_completed_trial(trial)
        for size in (1, 10_000):
            with experiment.acquire_algorithm_lock() as algorithm:
                algorithm.state = b"s" * size
        experiment.delete_trials(experiment.register_trial({"lr": 0.75}))
        store.create_experiment("wide", space={"lr": ts.Real(0, 1)}).register_trial({"lr": 0.5})
        store.build_experiment("wide", space={"lr": ts.Real(0, 1), "n": ts.Integer(1, 9, default=3)})
        store.set_document("x", 1)
        store.intern({"a": 1})
        store.create_experiment("gone")
        store.drop_experiment("gone")
        store.checkpoint()
        trial = experiment.reserve_trial()
        assert trial is not None
        trial.report(step=0, loss=0.5)
        trial.store({"late.txt": "x"})
        trial.interrupt()
        store.flush()
    return root


def use(root: Path, *modes: str) -> None:
    """All that one does with a store; only errors of ours may come out."""
    for mode in modes or ("r", "rw"):
        with contextlib.suppress(ts.TrialStoreError):
            store = ts.open(root, mode=mode)
            _attempt(lambda: store.verify())  # noqa: B023
            _read(store)
            if mode == "rw":
                _write(store)
            store.close()


def _attempt(act: Callable[[], Any]) -> None:
    with contextlib.suppress(ts.TrialStoreError):
        act()


def _read(store: ts.Store) -> None:
    tables = ("trials", "params", "repeats", "metrics", "telemetry", "status", "artifacts", "experiments")
    for table in tables:
        _attempt(lambda: store.sql(f"SELECT * FROM {table}").fetchall())  # noqa: B023
        with contextlib.suppress(ts.TrialStoreError, *POLARS):
            store.frame(table).collect()
    _attempt(lambda: store.document("x"))
    _attempt(lambda: store.configuration(1))
    for experiment in store.experiments():
        _attempt(lambda: (experiment.metadata, experiment.stats, experiment.counts, len(experiment)))  # noqa: B023
        _attempt(lambda: experiment.document("state"))  # noqa: B023
        _attempt(lambda: experiment.best())  # noqa: B023
        _attempt(lambda: (experiment.configuration, experiment.node, experiment.is_done))  # noqa: B023
        _attempt(lambda: experiment.fetch_trials(with_evc_tree=True))  # noqa: B023
        _attempt(lambda: lock_of(experiment._ledger).info())  # noqa: B023
        with contextlib.suppress(ts.TrialStoreError):
            for trial in experiment.trials():
                for name in ("params", "metrics", "attributes", "attempts", "submitted_at", "started_at", "ended_at"):
                    _attempt(lambda: getattr(trial, name))  # noqa: B023
                _attempt(lambda: (trial.results, trial.hash_name, trial.to_dict()))  # noqa: B023
                _attempt(lambda: [trial.retrieve(name) for name in trial.artifacts()])  # noqa: B023


def _write(store: ts.Store) -> None:
    with contextlib.suppress(ts.TrialStoreError):
        for experiment in store.experiments():
            _attempt(lambda: experiment.register_trial({"lr": 0.75}))  # noqa: B023
            _attempt(lambda: experiment.fix_lost_trials())  # noqa: B023
            _attempt(lambda: _finish(experiment.reserve_trial()))  # noqa: B023
            _attempt(lambda: experiment.trial(1).annotate(seen=True))  # noqa: B023
            _attempt(lambda: _suggest(experiment))  # noqa: B023
            _attempt(lambda: experiment.duplicate_pending_trials())  # noqa: B023
            _attempt(lambda: experiment.delete_trials(0))  # noqa: B023
            _attempt(lambda: experiment.compact(grace=timedelta(0)))  # noqa: B023
        _attempt(lambda: store.repair(grace=timedelta(0)))
        _attempt(lambda: store.vacuum(grace=timedelta(0)))


def _suggest(experiment: ts.Experiment) -> None:
    with experiment.acquire_algorithm_lock(timeout=0) as algorithm:
        algorithm.state = b"t" * 10_000


def _finish(trial: ts.Trial | None) -> None:
    if trial is not None:
        trial.success(loss=0.5)


# Journals whose checksums are right


def rewrite(root: Path, journal: str, change: Callable[[list[list[Any]]], None]) -> None:
    """Change the commands of a journal and give every commit the checksum of what it then holds."""
    paths = sorted((root / "journal" / journal).iterdir())
    commits = [[json.loads(line) for line in path.read_bytes().splitlines()[1:]] for path in paths]
    change(commits)
    previous = 0
    for seq, (path, commands) in enumerate(zip(paths, commits, strict=False)):
        lines = b"".join(json.dumps(command).encode() + b"\n" for command in commands)
        data, previous = encode_commit(seq, previous, lines)
        path.write_bytes(data)
    shutil.rmtree(root / "checkpoints", ignore_errors=True)


def rewrite_checkpoint(root: Path, journal: str, change: Callable[[list[Any]], None]) -> None:
    """Change the state in the newest checkpoint and remove the commits that would contradict it."""
    path = max((root / "checkpoints" / journal).iterdir())
    head, *lines = gzip.decompress(path.read_bytes()).splitlines()
    values = [json.loads(line) for line in lines]
    change(values)
    packed = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    header = {**json.loads(head), "lines_crc32": f"{zlib.crc32(packed):08x}"}
    path.write_bytes(gzip.compress(json.dumps(header).encode() + b"\n" + packed))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is a value in a value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    if new is DELETE:
        del value[path[-1]]
    else:
        value[path[-1]] = new


DELETE = object()
ROUNDS_S = 1.0


@pytest.mark.parametrize("kind", ["journal", "checkpoint"])
@pytest.mark.parametrize("journal", ["catalog", "experiment=tune"])
def test_any_value_may_stand_anywhere(original: Path, tmp_path: Path, kind: str, journal: str) -> None:
    """Each round puts something strange in the place of one value, with checksums that are right."""
    chance = random.Random(f"{kind} {journal}")
    until = time.process_time() + ROUNDS_S
    (tmp_path / "outside").mkdir()
    number = 0
    while number < 3 or time.process_time() < until:
        root = tmp_path / "inside" / str(number)
        shutil.copytree(original, root)
        told: list[Any] = []

        def change(values: list[Any], told: list[Any] = told) -> None:
            spots = [path for path in places(values) if len(path) > (1 if kind == "checkpoint" else 2)]
            for _ in range(chance.choice([1, 1, 1, 3])):
                spot, new = chance.choice(spots), chance.choice([*STRANGE, DELETE])
                told.append((spot, new))
                with contextlib.suppress(LookupError, TypeError):
                    put(values, spot, new)

        (rewrite if kind == "journal" else rewrite_checkpoint)(root, journal, change)
        try:
            use(root)
        except Exception as error:
            raise AssertionError(f"{type(error)} {error} after {told}") from error
        assert [path.name for path in tmp_path.iterdir()] in (["inside", "outside"], ["outside", "inside"])
        assert list((tmp_path / "outside").iterdir()) == []
        shutil.rmtree(root)
        number += 1


# Any other bytes

KINDS = [
    "trialstore.json",
    "journal/catalog/*.jsonl",
    "journal/experiment=tune/*.jsonl",
    "checkpoints/*/*.jsonl.gz",
    "trials/experiment=tune/*.parquet",
    "metrics/experiment=tune/*.parquet",
    "telemetry/experiment=tune/*.parquet",
    "status/experiment=tune/*.parquet",
    "artifacts/experiment=tune/*.parquet",
]
_EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=3
)


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(kind=st.sampled_from(KINDS), which=st.integers(0, 100), edits=_EDITS)
@example(kind="trialstore.json", which=0, edits=[(0.0, 400, b"null")])
@example(kind="trialstore.json", which=0, edits=[(0.0, 400, b'{"format":1e400}')])
@example(kind="trialstore.json", which=0, edits=[(0.0, 400, b"[" * 5000)])
def test_any_bytes_are_an_error_of_ours_or_the_truth(
    original: Path, tmp_path: Path, kind: str, which: int, edits: list[tuple[float, int, bytes]]
) -> None:
    root = tmp_path / "inside" / "store"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(original, root)
    paths = sorted(root.glob(kind))
    path = paths[which % len(paths)]
    data = path.read_bytes()
    for share, length, new in edits:
        at = int(share * len(data))
        data = data[:at] + new + data[at + length :]
    path.write_bytes(data)
    use(root, "r")
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert [path.name for path in root.parent.iterdir()] == ["store"]


# Bombs, and other things that are small and mean a lot


def test_a_checkpoint_that_unpacks_without_end_is_passed_over(original: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(original, root)
    wanted = ts.open(original, mode="r").experiment("tune").counts
    for path in (root / "checkpoints").rglob("*.gz"):
        path.write_bytes(BOMB)
    assert len(BOMB) < 1 << 20
    peak = _peak_bytes(lambda: None)
    store = ts.open(root, mode="r")
    used = _peak_bytes(lambda: store.experiment("tune").counts)
    assert store.experiment("tune").counts == wanted
    assert used < peak + (256 << 20)
    assert any("64 times" in problem.what or "cannot be read" in problem.what for problem in store.verify().problems)


def _bomb(size_bytes: int) -> bytes:
    packing = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    return b"".join([*(packing.compress(block) for _ in range(size_bytes >> 20)), packing.flush()])


BOMB = _bomb(400 << 20)


def _peak_bytes(act: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_checkpoint_of_ours_is_always_one_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a state packs better than any reader believes, it is packed less."""
    monkeypatch.setattr(checkpoint, "_SURELY_BYTES", 1000)
    machine = Machine()
    machine.documents = {"x": (1, "a" * 1_000_000)}
    data = encode_checkpoint(machine)
    assert decode_checkpoint(data, Machine(), "x").documents == machine.documents
    assert len(data) > 10_000


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 100_000,
        b'"' + b"a" * 10_000_000,
        b'{"session":"A","counter":1,"counter":2,"at":"x","kind":"claim"}',
        b"\xff\xfe",
        b"null",
        b'{"kind":["claim"]}',
    ],
    ids=["deep list", "deep object", "long number", "long line", "twice", "no text", "null", "no kind"],
)
def test_a_line_that_is_no_command_is_damage(original: Path, tmp_path: Path, line: bytes) -> None:
    root = tmp_path / "store"
    shutil.copytree(original, root)
    path = max((root / "journal/experiment=tune").iterdir())
    old = decode_commit(path.read_bytes(), "x")
    path.write_bytes(encode_commit(old.seq, old.previous, line + b"\n")[0])
    store = ts.open(root, mode="r")
    with pytest.raises(DamagedError) as error:
        _ = store.experiment("tune").counts
    assert path.name in str(error.value)
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    "bad",
    ["../../../outside/x", "/etc/passwd", "a/b"],
)
def test_no_name_in_a_journal_leads_out(original: Path, tmp_path: Path, bad: str) -> None:
    """Ids of parts and sessions, folders of experiments and paths of artifacts."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("outside")
    (outside / "x.parquet").write_text("outside")

    def parts(values: list[Any]) -> None:
        for part in values[0]["manifest"]["parts"]:
            part["id"] = bad

    def artifacts(commits: list[list[Any]]) -> None:
        for command in (command for commit in commits for command in commit):
            if command["kind"] == "rows" and command["table"] == "artifacts":
                for row in command["rows"]:
                    row[3] = bad

    def folders(values: list[Any]) -> None:
        values[-1][3] = bad

    def sessions(commits: list[list[Any]]) -> None:
        for command in (command for commit in commits for command in commit):
            command["session"] = bad

    for number, (how, journal, change) in enumerate(
        [
            (rewrite_checkpoint, "experiment=tune", parts),
            (rewrite, "experiment=tune", artifacts),
            (rewrite_checkpoint, "catalog", folders),
            (rewrite, "experiment=tune", sessions),
        ]
    ):
        root = tmp_path / str(number)
        shutil.copytree(original, root)
        how(root, journal, change)  # type: ignore[arg-type]
        use(root)
        assert {path.name: path.read_text() for path in outside.iterdir()} == {"x": "outside", "x.parquet": "outside"}
        assert not (tmp_path / "a").exists()


def test_an_artifact_that_names_another_blob_is_refused(original: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(original, root)

    def change(commits: list[list[Any]]) -> None:
        for command in (command for commit in commits for command in commit):
            if command["kind"] == "rows" and command["table"] == "artifacts":
                for row in command["rows"]:
                    row[3] = "trialstore.json"

    rewrite(root, "experiment=tune", change)
    trial = ts.open(root).experiment("tune").trial(4)
    for act in (trial.artifacts, lambda: trial.retrieve("late.txt"), lambda: trial.delete_from_storage(["late.txt"])):
        with pytest.raises(DamagedError, match="outside its experiment"):
            act()
    assert (root / "trialstore.json").exists()


def test_names_in_a_checkpoint_do_not_become_sql(original: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(original, root)

    def change(values: list[Any]) -> None:
        values[-1][2] = "1 AS version, (SELECT content FROM read_text('/etc/passwd')) AS x, 1"

    rewrite_checkpoint(root, "catalog", change)
    store = ts.open(root, mode="r")
    found = store.sql("SELECT DISTINCT version FROM trials").fetchall()
    assert found == [(1,)]  # the checkpoint was passed over for the commits


def test_pickles_are_never_loaded_unless_asked(original: Path, tmp_path: Path) -> None:
    """A stranger may say of any artifact that it is a pickle, and write one that does harm."""
    root = tmp_path / "store"
    shutil.copytree(original, root)
    harm = pickle.dumps(_Harm(str(tmp_path / "harm")))
    digest = hashlib.sha256(harm).hexdigest()
    path = f"artifacts/experiment=tune/sha256/{digest}"
    (root / path).write_bytes(harm)
    for loader in (
        "pickle",
        "joblib",
        "npy",
        "json",
        "arrow",
        "parquet",
        "yaml",
        "npz",
        "csv",
        "text",
        "no such",
        None,
    ):

        def change(commits: list[list[Any]], loader: str | None = loader) -> None:
            for command in (command for commit in commits for command in commit):
                if command["kind"] == "rows" and command["table"] == "artifacts":
                    for row in command["rows"]:
                        row[3:6], row[7] = [path, len(harm), digest], loader

        rewrite(root, "experiment=tune", change)
        trial = ts.open(root, mode="r").experiment("tune").trial(4)
        with pytest.raises(ts.TrialStoreError):
            trial.retrieve("late.txt")
        assert trial.retrieve("late.txt", loader="bytes") == harm
    assert not (tmp_path / "harm").exists()
    pickle.loads(harm).close()
    assert (tmp_path / "harm").exists()


class _Harm:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def test_a_part_with_rows_without_end_is_refused_by_its_metadata(original: Path, tmp_path: Path) -> None:
    """A few kilobytes of Parquet can say that they are a billion rows."""
    rows = pl.DataFrame({"trial": pl.repeat(0, 5_000_000, eager=True)}).to_arrow()
    sink = io.BytesIO()
    pq.write_table(rows, sink, row_group_size=5_000_000)
    assert len(sink.getvalue()) < 20_000
    with pytest.raises(ValueError, match="131072 rows"):
        read_checked(sink.getvalue(), "telemetry")


def test_numbers_in_a_journal_cost_no_memory(original: Path, tmp_path: Path) -> None:
    """A trial number is a claim: a journal may set a quadrillion aside, and say that a part holds them all."""
    root = tmp_path / "store"
    shutil.copytree(original, root)

    def change(values: list[Any]) -> None:
        values[0]["next_number"] = 2**53
        for part in values[0]["manifest"]["parts"]:
            part["trials"] = [[0, 2**53]]

    rewrite_checkpoint(root, "experiment=tune", change)
    (root / "journal/experiment=tune" / f"{10**20 - 1}.jsonl").write_bytes(b"")
    started = time.process_time()
    used = _peak_bytes(lambda: use(root))
    assert used < 200 << 20
    assert time.process_time() - started < 20
