from __future__ import annotations

import hashlib
import io
import math
import pickle
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import trialstore as ts
from trialstore.model.errors import (
    ArtifactNotFoundError,
    ConflictError,
    DamagedError,
    DuplicateExperimentError,
    ExperimentNotFoundError,
    LostTrialError,
    ReadOnlyError,
    StaleRevisionError,
    StoreNotFoundError,
    TransitionError,
    UsageError,
)

Opened = Callable[..., ts.Store]
Files = dict[str, bytes]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "results")


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens stores and closes them at the end."""
    stores: list[ts.Store] = []

    def open_one(*arguments: Any, **options: Any) -> ts.Store:
        stores.append(ts.open(*arguments, **options))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opened, folder: str) -> ts.Store:
    return opened(folder)


@pytest.fixture
def experiment(store: ts.Store) -> ts.Experiment:
    return store.create_experiment("tune", metrics=[ts.Metric("loss")])


def files(folder: str) -> Files:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def run(experiment: ts.Experiment, params: dict[str, Any], loss: float) -> ts.Trial:
    experiment.register_trial(params)
    trial = experiment.reserve_trial()
    assert trial is not None
    trial.success(loss=loss)
    return trial


# The program that users are shown


def program(first: ts.Store, other: ts.Store) -> None:
    exp = first.create_experiment(
        "tune-redis",
        metrics=[ts.Metric("latency_ms", minimize=True, bounds=(0, float("inf"))), ts.Metric("ops", minimize=False)],
        space={
            "maxmemory_mb": ts.Integer(64, 4096, log=True),
            "policy": ts.Categorical(["lru", "lfu"]),
            "hz": ts.Real(1, 500),
        },
        max_trials=100,
        max_broken=5,
        metadata={"team": "db"},
    )
    exp.register_trial({"maxmemory_mb": 256, "policy": "lru", "hz": 10.0}, seed=0, fidelity={"seconds": 30})
    exp.register_trials([{"maxmemory_mb": 2**k, "policy": "lfu", "hz": 1.5} for k in range(6, 12)])

    worker = other.experiment("tune-redis")
    trial = worker.reserve_trial()
    assert trial is not None
    assert (trial.number, len(trial.id), trial.status) == (0, 32, ts.Status.RUNNING)
    assert dict(trial.params) == {"maxmemory_mb": 256, "policy": "lru", "hz": 10.0}
    with pytest.raises(TypeError):
        trial.params["hz"] = 2  # type: ignore[index]
    with trial.begin():
        for step in range(10):
            trial.report(step=step, latency_ms=3.0 / (step + 1))
        now = datetime.now(UTC)
        trial.update_telemetry(trial.status, now, [(now, "cpu", 0.5), (now, "phase", "warm-up")])
        trial.store({"config.json": dict(trial.params), "notes.txt": "first run"})
    report = trial.success(latency_ms=0.3, ops=12000.0)
    assert (report.status, report.metrics, report.number) == (
        ts.Status.SUCCEEDED,
        {"latency_ms": 0.3, "ops": 12000.0},
        0,
    )

    stats = exp.stats
    assert (stats.trials_completed, stats.best_trials_id, stats.best_evaluation) == (1, 0, 0.3)
    assert (stats.nb_trials, stats.max_trials, stats.progress) == (7, 100, 0.01)
    assert stats.trial_status_count == {ts.Status.PENDING: 6, ts.Status.SUCCEEDED: 1}
    assert not exp.is_done
    best = exp.best()
    assert best == trial
    assert exp.history().collect().height == 7
    assert exp.metrics().filter(pl.col("step").is_not_null()).collect().height == 10
    assert exp.telemetry(trial=trial).collect().sort("name")["name"].to_list() == ["cpu", "phase"]
    assert trial.retrieve("config.json") == dict(trial.params)
    assert exp.trial(0).retrieve("notes.txt") == "first run"
    found = first.sql(
        "SELECT experiment, trial, params.hz, metrics.latency_ms FROM trials "
        "WHERE status = 'SUCCEEDED' ORDER BY metrics.latency_ms LIMIT 5"
    ).pl()
    assert found.rows() == [("tune-redis", 0, 10.0, 0.3)]


def test_the_program_on_a_folder(opened: Opened, folder: str) -> None:
    program(opened(folder), opened(folder))


def test_the_program_in_memory(opened: Opened, tmp_path: Path) -> None:
    program(opened(f"memory://{tmp_path}"), opened(f"memory://{tmp_path}"))


def test_the_program_on_s3(opened: Opened, s3_url: Any) -> None:
    url, storage_options = s3_url
    program(opened(url, storage_options=storage_options), opened(url, storage_options=storage_options))


# Opening


@pytest.mark.parametrize("spell", [str, Path, lambda folder: f"file://{folder}"])
def test_one_place_is_one_store_however_it_is_spelled(opened: Opened, folder: str, spell: Any) -> None:
    first = opened(folder)
    second = opened(spell(folder))
    assert (first.id, first.url, first.created_at) == (second.id, second.url, second.created_at)
    assert first.url == f"file://{Path(folder).resolve()}"


def test_many_may_create_a_store_at_once(opened: Opened, folder: str) -> None:
    ids: list[str] = []
    start = threading.Barrier(6)

    def create() -> None:
        start.wait()
        store = opened(folder)
        store.create_experiment("e", exist_ok=True)
        ids.append(store.id)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6
    assert len(set(ids)) == 1
    assert len(opened(folder)) == 1


def test_what_a_killed_probe_left_is_no_obstacle(opened: Opened, folder: str) -> None:
    leftover = Path(folder) / "probe" / "01ABC" / "0"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"first")
    assert opened(folder).experiments() == []


def test_options_are_those_that_were_asked_for(opened: Opened, folder: str) -> None:
    store = opened(folder, durability="process", lease_s=12, linger_s=0.5, maintenance=False)
    assert store.options == ts.Options(durability="process", lease_s=12, linger_s=0.5, maintenance=False)


def test_a_closed_store_can_still_be_read(opened: Opened, folder: str) -> None:
    with opened(folder) as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        run(experiment, {"x": 1}, 0.5)
    assert len(experiment) == 1
    assert store["tune"].best() == experiment.trial(0)


# mode="r"


def writes(experiment: ts.Experiment, trial: ts.Trial, store: ts.Store) -> list[Callable[[], Any]]:
    now = datetime.now(UTC)
    return [
        lambda: store.create_experiment("other"),
        lambda: store.create_experiment("tune", exist_ok=True),
        lambda: store.update_experiment("tune", max_trials=3),
        lambda: store.drop_experiment("tune"),
        lambda: store.intern({"new": 1}),
        lambda: store.set_document("d", 1),
        lambda: store.compact(),
        lambda: experiment.register_trial({"x": 1}),
        lambda: experiment.register_trials([{"x": 1}]),
        lambda: experiment.reserve_trial(),
        lambda: experiment.fix_lost_trials(),
        lambda: experiment.set_document("d", 1),
        lambda: experiment.flush(),
        lambda: experiment.compact(),
        lambda: trial.begin().__enter__(),
        lambda: trial.report(loss=1),
        lambda: trial.update_telemetry("PENDING", now, [(now, "cpu", 1)]),
        lambda: trial.update_telemetry("RUNNING", now, []),
        lambda: trial.set_status("RUNNING"),
        lambda: trial.set_status("SUSPENDED"),
        lambda: trial.cancel(),
        lambda: trial.annotate(a=1),
        lambda: trial.store({"a.txt": "x"}),
    ]


def test_a_store_that_is_read_is_never_written(opened: Opened, store: ts.Store, folder: str) -> None:
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
    run(experiment, {"x": 1}, 0.5).annotate(tag=1)
    experiment.flush()
    run(experiment, {"x": 2}, 0.25)
    experiment.register_trial({"x": 3})
    store.intern({"known": 1})
    store.close()
    before = files(folder)

    reader = opened(folder, mode="r")
    there = reader.experiment("tune")
    waiting = there.trial(2)
    for write in writes(there, waiting, reader):
        with pytest.raises(ReadOnlyError, match='open it with mode="rw"'):
            write()
    with pytest.raises(ReadOnlyError):
        there.trial(0).annotate(a=1)
    assert there.history().collect().height == 3
    assert reader.sql("SELECT count(*) FROM trials").fetchall() == [(3,)]
    assert reader.intern({"known": 1}) == 1
    best = there.best()
    assert best is not None
    assert best.number == 1
    assert there.stats.nb_trials == 3
    assert there.snapshot(as_of=0).frame("trials").collect().height == 1
    reader.close()
    assert files(folder) == before


def test_a_store_that_is_read_is_not_created(folder: str) -> None:
    with pytest.raises(StoreNotFoundError, match="there is no store here"):
        ts.open(folder, mode="r")
    assert not Path(folder).exists()


# Experiments


def test_an_experiment_is_what_it_was_created_as(opened: Opened, store: ts.Store, folder: str) -> None:
    created = store.create_experiment(
        "tune/../redis é",
        metrics=[ts.Metric("loss", bounds=(0, math.inf)), ts.Metric("acc", minimize=False)],
        space={"x": ts.Real(0, 1), "mode": ts.Categorical([1, "auto", None, True]), "epochs": ts.Fidelity(1, 9)},
        max_trials=3,
        max_broken=2,
        metadata={"nan": math.nan, "nested": {"t": (1, 2)}},
    )
    found = opened(folder).experiment("tune/../redis é")
    assert found == created
    assert (found.name, found.version, found.max_trials, found.max_broken) == ("tune/../redis é", 1, 3, 2)
    assert found.declared_metrics == created.declared_metrics
    assert repr(found.space) == repr(created.space)
    assert math.isnan(found.metadata["nan"])
    assert found.metadata["nested"] == {"t": (1, 2)}
    assert {Path(name).parts[len(Path(folder).parts)] for name in files(folder)} <= {
        "journal",
        "trialstore.json",
        ".locks",
    }


def test_versions_of_an_experiment(store: ts.Store) -> None:
    first = store.create_experiment("e")
    with pytest.raises(DuplicateExperimentError):
        store.create_experiment("e")
    second = store.create_experiment("e", version=None)
    ninth = store.create_experiment("e", version=9)
    assert [e.version for e in store] == [1, 2, 9]
    assert store["e"] == ninth
    assert store.experiment("e", 1) == first
    assert store.create_experiment("e", version=2, exist_ok=True) == second
    with pytest.raises(ExperimentNotFoundError, match="it has version 1, 2, 9"):
        store.experiment("e", 3)
    first.register_trial({"x": 1})
    assert (len(first), len(second)) == (1, 0)


def test_exist_ok_gives_the_experiment_as_it_is(store: ts.Store) -> None:
    store.create_experiment("e", max_trials=3)
    assert store.create_experiment("e", max_trials=9, exist_ok=True).max_trials == 3


def test_a_dropped_experiment_is_gone_and_a_new_one_of_its_name_is_new(opened: Opened, folder: str) -> None:
    store = opened(folder)
    old = store.create_experiment("e", metrics=[ts.Metric("loss")])
    run(old, {"x": 1}, 0.5)
    store.drop_experiment("e")
    assert "e" not in store
    with pytest.raises(ExperimentNotFoundError):
        store.experiment("e")
    with pytest.raises(ExperimentNotFoundError):
        store.drop_experiment("e")
    new = store.create_experiment("e")
    assert new.id == old.id + 1
    assert len(new) == 0
    assert new.register_trial({"x": 1}).number == 0
    assert len(opened(folder).experiments()) == 1
    assert store.sql("SELECT count(*) FROM trials").fetchall() == [(1,)]


def test_an_update_is_a_compare_and_set(opened: Opened, store: ts.Store, folder: str) -> None:
    store.create_experiment("e", max_trials=3)
    other = opened(folder)
    assert store.update_experiment("e", max_trials=5, metadata={"a": 1}, revision=1).max_trials == 5
    with pytest.raises(StaleRevisionError, match="read it again"):
        other.update_experiment("e", max_trials=7, revision=1)
    assert other.experiment("e").max_trials == 5
    assert other.update_experiment("e", max_broken=1, revision=2).metadata == {"a": 1}
    assert store.update_experiment("e", max_trials=None).max_trials is None
    with pytest.raises(UsageError, match="cannot be changed"):
        store.update_experiment("e", space={})


def test_interned_parameters_have_one_id_in_the_whole_store(opened: Opened, store: ts.Store, folder: str) -> None:
    assert store.intern({"a": 1, "b": 2}) == 1
    other = opened(folder)
    assert other.intern_many([{"c": 1}, {"b": 2, "a": 1}, {"c": 1}, {"a": 1.0, "b": 2}]) == [2, 1, 2, 3]
    assert store.intern({"c": 1}) == 2
    assert store.configuration(2) == {"c": 1}
    assert type(store.configuration(3)["a"]) is float
    with pytest.raises(LookupError):
        store.configuration(4)


@pytest.mark.parametrize("where", ["store", "experiment"])
def test_documents(opened: Opened, store: ts.Store, experiment: ts.Experiment, folder: str, where: str) -> None:
    mine: Any = store if where == "store" else experiment
    theirs: Any = opened(folder) if where == "store" else opened(folder)["tune"]
    assert mine.document("optimizer") == (0, None)
    state = {"rng": (1, 2**70), "best": math.inf, "data": b"\x00"}
    assert mine.set_document("optimizer", state, revision=0) == 1
    assert theirs.document("optimizer") == (1, state)
    with pytest.raises(StaleRevisionError):
        theirs.set_document("optimizer", {}, revision=0)
    assert theirs.set_document("optimizer", 2, revision=1) == 2
    assert mine.set_document("optimizer", None) == 3
    assert theirs.document("optimizer") == (3, None)


# Trials


def test_a_trial_keeps_everything_it_was_registered_with(opened: Opened, store: ts.Store, folder: str) -> None:
    experiment = store.create_experiment("e")
    params = {"i": 1, "f": 1.0, "nan": math.nan, "big": 2**80, "none": None, "b": True, "t": (1, "x"), "$int": "é"}
    trial = experiment.register_trial(
        params, name="first", seed=7, fidelity={"epochs": 3}, parent=0, attributes={"tag": [1]}
    )
    for copy in (opened(folder)["e"].trial(0), opened(folder)["e"].trial(trial.id)):
        assert list(copy.params) == list(params)
        assert [type(value) for value in copy.params.values()] == [type(value) for value in params.values()]
        assert {n: v for n, v in copy.params.items() if n != "nan"} == {n: v for n, v in params.items() if n != "nan"}
        assert (copy.name, copy.seed, copy.fidelity, copy.parent) == ("first", 7, {"epochs": 3}, 0)
        assert copy.attributes == {"tag": [1]}
        assert copy == trial


def test_a_trial_that_is_not_ready_waits(experiment: ts.Experiment) -> None:
    now = datetime.now(UTC)
    experiment.register_trial({"x": 1}, ready_at=now + timedelta(days=1))
    experiment.register_trial({"x": 2}, ready_at=now - timedelta(days=1))
    first = experiment.reserve_trial()
    assert first is not None
    assert first.number == 1
    assert experiment.reserve_trial() is None


def test_an_exception_in_the_block_is_kept_and_success_refused(experiment: ts.Experiment) -> None:
    experiment.register_trial({"x": 1})
    trial = experiment.reserve_trial()
    assert trial is not None
    with trial.begin():
        raise RuntimeError("boom")
    with pytest.raises(TransitionError, match="its block raised"):
        trial.success(loss=1)
    assert trial.status is ts.Status.RUNNING
    report = trial.crashed()
    assert report.exception == "RuntimeError: boom"
    copy = experiment.trial(0)
    assert (copy.status, copy.exception) == (ts.Status.CRASHED, "RuntimeError: boom")
    assert "Traceback" in (copy.traceback or "")


def test_an_interrupt_gives_the_trial_back(experiment: ts.Experiment) -> None:
    experiment.register_trial({"x": 1})
    trial = experiment.reserve_trial()
    assert trial is not None
    with pytest.raises(KeyboardInterrupt), trial.begin():
        raise KeyboardInterrupt
    again = experiment.reserve_trial()
    assert again is not None
    assert (again.number, again.attempt) == (0, 2)
    assert again.attempts[0]["status"] == "INTERRUPTED"


def test_a_late_result_is_refused_and_kept(opened: Opened, store: ts.Store, folder: str) -> None:
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
    experiment.register_trial({"x": 1})
    slow = experiment.reserve_trial()
    assert slow is not None
    other = opened(folder)["tune"]
    other.trial(0).interrupt("taken away")
    winner = other.reserve_trial()
    assert winner is not None
    with pytest.raises(LostTrialError, match="no longer owned") as caught:
        slow.success(loss=0.1)
    assert caught.value.facts["attempt"] == 1
    assert caught.value.facts["current_attempt"] == 2
    winner.success(loss=0.2)
    trial = experiment.trial(0)
    assert trial.metrics == {"loss": 0.2}
    assert trial.attempts[0]["late"]["metrics"] == {"loss": 0.1}


def test_reports_are_in_the_store_when_the_trial_has_ended(opened: Opened, store: ts.Store, folder: str) -> None:
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
    for count in (3, 1000):
        experiment.register_trial({"count": count})
        trial = experiment.reserve_trial()
        assert trial is not None
        for step in range(count):
            trial.report(step=step, loss=1 / (step + 1))
        trial.success(loss=0.5)
        there = opened(folder, mode="r")["tune"].metrics(trial=trial.number).filter(pl.col("step").is_not_null())
        assert there.collect()["step"].to_list() == list(range(count))


def test_one_commit_a_call(store: ts.Store, experiment: ts.Experiment, folder: str) -> None:
    def commits() -> int:
        return len(list(Path(folder, "journal").rglob("*.jsonl")))

    start = commits()
    experiment.register_trials([{"x": x} for x in range(50)])
    assert commits() == start + 1
    trial = experiment.reserve_trial()
    assert trial is not None
    assert commits() == start + 2
    trial.report(step=1, loss=2)
    trial.store({"a.txt": "x"})
    trial.success(loss=1)
    assert commits() == start + 3


# Snapshots


def test_a_snapshot_never_changes(experiment: ts.Experiment) -> None:
    run(experiment, {"x": 1}, 0.5)
    snapshot = experiment.snapshot()
    lazy = experiment.history()
    run(experiment, {"x": 2}, 0.25)
    experiment.flush()
    experiment.compact()
    assert snapshot.frame("trials").collect().height == 1
    assert lazy.collect().height == 1
    assert experiment.history().collect().height == 2


def test_snapshots_of_the_past(store: ts.Store, experiment: ts.Experiment) -> None:
    experiment.register_trial({"x": 1})
    first = experiment.snapshot().experiments[0].seq
    trial = experiment.reserve_trial()
    assert trial is not None
    trial.success(loss=0.5)
    between = datetime.now(UTC)
    experiment.flush()
    run(experiment, {"x": 2}, 0.25)
    assert experiment.history(as_of=first).collect()["status"].to_list() == ["PENDING"]
    assert experiment.history(as_of=-1).collect().height == 0
    assert experiment.history(as_of=between).collect()["status"].to_list() == ["SUCCEEDED"]
    assert store.sql("SELECT count(*) FROM trials", as_of=between).fetchall() == [(1,)]
    assert store.sql("SELECT count(*) FROM trials", as_of=store.created_at).fetchall() == [(0,)]
    assert experiment.history().collect().height == 2


def test_a_strange_telemetry_time_does_not_bend_the_past(store: ts.Store, experiment: ts.Experiment) -> None:
    experiment.register_trial({"x": 1})
    trial = experiment.reserve_trial()
    assert trial is not None
    far = datetime(2200, 1, 1, tzinfo=UTC)
    trial.update_telemetry("READY", far, [(far, "cpu", 1.0)])
    trial.success(loss=1)
    assert experiment.history(as_of=datetime.now(UTC)).collect()["status"].to_list() == ["SUCCEEDED"]
    assert experiment.status_history().collect()["at"].max() == far


# Artifacts

TABLE = pa.table({"a": [1, 2], "b": ["x", "y"]})


@pytest.fixture
def trial(experiment: ts.Experiment) -> ts.Trial:
    experiment.register_trial({"x": 1})
    claimed = experiment.reserve_trial()
    assert claimed is not None
    return claimed


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("a.json", {"t": (1, math.inf), "k": [None, 2**70]}, lambda a, b: a == b),
        ("a.txt", "é\n", lambda a, b: a == b),
        ("a.csv", pl.DataFrame({"a": [1, 2]}), lambda a, b: a.equals(b)),
        ("a.csv", TABLE.to_pandas(), lambda a, b: a.to_pandas().equals(b)),
        ("a.parquet", pl.DataFrame({"a": [[1], []]}), lambda a, b: a.equals(b)),
        ("a.parquet", TABLE, lambda a, b: a.to_arrow().to_pydict() == b.to_pydict()),
        ("a.arrow", TABLE, lambda a, b: a.equals(b)),
        ("a.npy", np.arange(6, dtype=np.float32).reshape(2, 3), lambda a, b: a.dtype == b.dtype and (a == b).all()),
        ("a.bin", b"\x00\xff", lambda a, b: a == b),
        ("a.json", b"raw", lambda a, b: a == b),
        ("plots/../x".replace("../", "é/"), b"1", lambda a, b: a == b),
        ("empty", b"", lambda a, b: a == b),
    ],
)
def test_an_artifact_comes_back_as_it_was(
    opened: Opened, trial: ts.Trial, folder: str, name: str, value: Any, same: Any
) -> None:
    (stored,) = trial.store({name: value})
    data = (Path(folder) / stored.path).read_bytes()
    assert (stored.size_bytes, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert same(trial.retrieve(name), value)
    trial.success(loss=1)
    reader = opened(folder, mode="r")["tune"]
    assert same(reader.trial(0).retrieve(name), value)
    assert list(reader.trial(0).artifacts()) == [name]
    assert reader.artifacts().collect().select("name", "size_bytes").rows() == [(name, len(data))]


def test_files_are_streamed_and_stay_open(trial: ts.Trial, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"0123456789" * 1000)
    source = io.BytesIO(b"abc")
    by_path, by_file = trial.store({"model.bin": path, "other": source})
    assert by_path.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (by_file.size_bytes, source.closed) == (3, False)
    assert trial.retrieve("model.bin") == path.read_bytes()
    assert trial.retrieve("other") == b"abc"
    with pytest.raises(UsageError, match="binary mode"):
        trial.store({"text": io.StringIO("x")})
    assert set(trial.artifacts()) == {"model.bin", "other"}


def test_nothing_is_pickled_or_unpickled_unless_asked(trial: ts.Trial) -> None:
    value = {1, 2}
    with pytest.raises(UsageError, match='ask for loader="pickle"'):
        trial.store({"a.pkl": value})
    with pytest.raises(UsageError, match="cannot be stored exactly"):
        trial.store({"a.json": value})
    trial.store({"a.pkl": value}, loader="pickle")
    with pytest.raises(UsageError, match="can run any code"):
        trial.retrieve("a.pkl")
    assert trial.retrieve("a.pkl", loader="pickle") == value
    assert pickle.loads(trial.retrieve("a.pkl", loader="bytes")) == value
    with pytest.raises(UsageError, match="no such loader"):
        trial.store({"a": 1}, loader="yaml!")


def test_an_artifact_can_be_stored_again_and_deleted_and_stored_again(
    opened: Opened, trial: ts.Trial, experiment: ts.Experiment, folder: str
) -> None:
    def seen() -> Any:
        there = opened(folder, mode="r")["tune"].trial(0)
        return {name: there.retrieve(name) for name in there.artifacts()}

    trial.store({"a.txt": "1"})
    trial.store({"a.txt": "2", "b.txt": "b"})
    assert trial.retrieve("a.txt") == "2"
    trial.delete_from_storage(["a.txt"])
    assert seen() == {"b.txt": "b"}
    with pytest.raises(ArtifactNotFoundError, match=r"it has b\.txt"):
        trial.retrieve("a.txt")
    trial.store({"a.txt": "3"})
    experiment.flush()
    assert seen() == {"a.txt": "3", "b.txt": "b"}
    trial.store({"a.txt": "4"})
    trial.success(loss=1)
    experiment.compact()
    assert seen() == {"a.txt": "4", "b.txt": "b"}


def test_an_artifact_that_another_deleted_is_stored_again_through_the_same_handle(
    trial: ts.Trial, experiment: ts.Experiment
) -> None:
    """Once a compaction has dropped the deleted row, what is stored under the same name must stay."""
    trial.store({"a.txt": "1"})
    experiment.trial(0).delete_from_storage(["a.txt"])
    experiment.compact()
    trial.store({"a.txt": "2"})
    assert experiment.trial(0).retrieve("a.txt") == trial.retrieve("a.txt") == "2"


def test_a_damaged_artifact_is_named(trial: ts.Trial, folder: str) -> None:
    (stored,) = trial.store({"a.txt": "hello"})
    (Path(folder) / stored.path).write_bytes(b"hellO")
    with pytest.raises(DamagedError, match="does not hold what was stored") as caught:
        trial.retrieve("a.txt")
    assert caught.value.facts["blob"] == stored.path


def test_attempts_do_not_write_over_one_another(opened: Opened, trial: ts.Trial, folder: str) -> None:
    trial.store({"a.txt": "first"})
    trial.interrupt()
    again = opened(folder)["tune"].reserve_trial()
    assert again is not None
    again.store({"a.txt": "second"})
    again.success(loss=1)
    assert again.retrieve("a.txt") == "second"
    paths = [path for path in files(folder) if "/artifacts/" in path]
    assert sorted(Path(path).read_bytes() for path in paths) == [b"first", b"second"]


# Moving rows


def test_what_is_read_does_not_depend_on_where_the_rows_are(opened: Opened, store: ts.Store, folder: str) -> None:
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])

    def picture() -> list[Any]:
        there = opened(folder, mode="r")["tune"]
        keep = ["trial", "status", "attempt", "seed"]
        return [
            there.history().select(keep).sort("trial").collect().rows(),
            [(t.number, dict(t.params), dict(t.metrics), dict(t.attributes), t.status) for t in there.trials()],
            there.metrics().sort("trial", "name", "at", "step").drop("at").collect().rows(),
            there.status_history().sort("trial", "attempt", "at").collect().rows(),
            there.counts,
            there.stats,
        ]

    for number in range(6):
        experiment.register_trial({"x": number, "kind": [1, "auto", None, True, 2.5, (1,)][number]})
        trial = experiment.reserve_trial()
        assert trial is not None
        trial.report(step=number, loss=number)
        trial.success(loss=float(number)) if number % 2 else trial.fail()
    experiment.register_trial({"x": 9})
    before = picture()
    experiment.flush()
    assert picture() == before
    experiment.trial(1).annotate(tag="a")
    annotated = picture()
    assert annotated[1][1][3] == {"tag": "a"}
    experiment.flush()
    assert picture() == annotated
    experiment.compact(grace=timedelta(0))
    assert picture() == annotated
    experiment.compact(grace=timedelta(0))
    assert picture() == annotated


def test_a_conflict_says_so_to_the_second_of_two_workers(opened: Opened, store: ts.Store, folder: str) -> None:
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
    experiment.register_trial({"x": 1})
    mine, theirs = experiment.trial(0), opened(folder)["tune"].trial(0)
    with mine.begin():
        pass
    with pytest.raises(ConflictError), theirs.begin():
        raise AssertionError("never gets here")


def test_a_result_of_a_trial_that_nobody_runs_is_kept(tmp_path: Path) -> None:
    with ts.open(tmp_path / "store") as store:
        experiment = store.create_experiment("e", metrics=[ts.Metric("loss")])
        experiment.register_trial({"x": 1}).fail(loss=2.0)
        experiment.register_trial({"x": 2}).success(loss=1.0)
        experiment.register_trial({"x": 3}).cancel("nobody wants it")
        found = store.sql("SELECT status, metrics.loss, attempt FROM trials ORDER BY trial").fetchall()
    assert found == [("FAILED", 2.0, 1), ("SUCCEEDED", 1.0, 1), ("CANCELED", None, 0)]
