"""Experiments from Oríon's other databases."""

from __future__ import annotations

import datetime
import gzip
import pickle
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.int64 import Int64
from bson.objectid import ObjectId
from orion.client import build_experiment
from orion.core.io.database import DatabaseError
from orion.core.io.database.ephemeraldb import EphemeralDB
from orion.core.worker.trial import Trial
from orion.storage.base import setup_storage

import trialstore
from trialstore.integrations.orion import import_dump
from trialstore.merging import merge


@pytest.fixture
def dump(tmp_path: Path) -> str:
    """A file of a PickledDB with two versions of an experiment, trials and a benchmark."""
    path = str(tmp_path / "orion.pkl")
    storage = setup_storage({"type": "legacy", "database": {"type": "pickleddb", "host": path}})
    parent = None
    for version in (1, 2):
        document: dict[str, Any] = {"name": "tune", "version": version, "algorithm": {"random": {"seed": 1}}}
        storage.create_experiment(document)
        parent = document["_id"] if parent is None else parent
        refers = {"root_id": parent, "parent_id": None if version == 1 else parent}
        storage.update_experiment(uid=document["_id"], refers=refers)
        for index in range(5):
            params = [
                {"name": "/x", "type": "real", "value": index / 2},
                {"name": "/t", "type": "categorical", "value": (1,)},
            ]
            trial = Trial(
                experiment=document["_id"], params=params, submit_time=datetime.datetime(2026, 1, 1, 0, index)
            )
            storage.register_trial(trial)
        with storage.acquire_algorithm_lock(uid=document["_id"]) as locked:
            locked.set_state({"seen": version})
    storage.create_benchmark({"name": "bench", "targets": []})
    return path


def contents(storage: Any) -> Any:
    found = []
    for document in storage.fetch_experiments({}):
        uid = document.pop("_id")
        trials = [trial.to_dict() for trial in storage.fetch_trials(uid=uid)]
        for trial in trials:
            del trial["_id"], trial["experiment"]
        names = {item["_id"]: (item["name"], item["version"]) for item in storage.fetch_experiments({})}
        refers = {key: names.get(value) for key, value in document.pop("refers").items()}
        info = storage.get_algorithm_lock_info(uid=uid)
        found.append((document, refers, trials, info.state, info.configuration))
    return found, [item["name"] for item in storage.fetch_benchmark({})]


def test_all_comes_in_as_it_was(dump: str, url: str) -> None:
    done = import_dump(url, dump)
    assert (done.experiments, done.trials, done.benchmarks, done.ignored) == (2, 10, 1, ())
    before = setup_storage({"type": "legacy", "database": {"type": "pickleddb", "host": dump}})
    after = setup_storage({"type": "trialstore", "url": url})
    assert contents(after) == contents(before)


@pytest.mark.parametrize(("resolve", "versions"), [("ignore", [1, 2]), ("overwrite", [1, 2]), ("bump", [1, 2, 3, 4])])
def test_what_is_there_already(dump: str, url: str, resolve: Any, versions: list[int]) -> None:
    import_dump(url, dump)
    with pytest.raises(DatabaseError, match="overwrite"):
        import_dump(url, dump)
    done = import_dump(url, dump, resolve=resolve)
    assert done.ignored == ((("tune", 1), ("tune", 2)) if resolve == "ignore" else ())
    storage = setup_storage({"type": "trialstore", "url": url})
    assert sorted(item["version"] for item in storage.fetch_experiments({})) == versions
    assert len(storage._db.read("trials")) == 5 * len(versions)


def test_one_experiment_alone(dump: str, url: str) -> None:
    assert import_dump(url, dump, name="tune", version=2).experiments == 1
    assert import_dump(url, dump, name="other").experiments == 0


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("this must never be printed",)


@pytest.mark.parametrize("data", [pickle.dumps(Harmful()), pickle.dumps([1]), b"", b"no pickle"])
def test_another_file_is_refused_and_runs_nothing(
    data: bytes, tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(data)
    with pytest.raises(DatabaseError):
        import_dump(url, path)
    assert "never" not in capsys.readouterr().out


def of_mongo() -> dict[str, list[dict[str, Any]]]:
    """Collections as Oríon's MongoDB has them: ids that MongoDB made, and documents that refer to them."""
    ids = [ObjectId(f"{number:024x}") for number in range(2)]
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000)
    experiments = [
        {
            "_id": uid,
            "name": "tune",
            "version": version,
            "max_trials": Int64(2**40),
            "space": {"/x": "uniform(0, 1)"},
            "metadata": {"user": "me", "datetime": at},
            "refers": {"root_id": ids[0], "parent_id": None if version == 1 else ids[0], "adapter": []},
        }
        for version, uid in enumerate(ids, start=1)
    ]
    trials = [
        {
            "_id": ObjectId(),
            "id": f"{version}{index:031x}",
            "experiment": uid,
            "status": "completed",
            "worker": None,
            "submit_time": at,
            "start_time": at,
            "end_time": at,
            "heartbeat": at,
            "parent": None,
            "exp_working_dir": None,
            "results": [{"name": "loss", "type": "objective", "value": index / 2}],
            "params": [{"name": "/x", "type": "real", "value": index / 4}],
        }
        for version, uid in enumerate(ids, start=1)
        for index in range(3)
    ]
    algo = [
        {"_id": ObjectId(), "experiment": uid, "configuration": {"random": {}}, "locked": 1,
         "state": pickle.dumps({"seen": 3}), "heartbeat": at}
        for uid in ids
    ]  # fmt: skip
    benchmarks = [{"_id": ObjectId(), "name": "bench", "targets": [{"assess": {"A": Int64(1)}}]}]
    return {"experiments": experiments, "trials": trials, "algo": algo, "benchmarks": benchmarks}


def pickled(folder: Path) -> Path:
    """What `orion db dump` writes of a MongoDB."""
    database = EphemeralDB()
    for name, documents in of_mongo().items():
        database.write(name, documents)
    (folder / "dump.pkl").write_bytes(pickle.dumps(database))
    return folder / "dump.pkl"


def dumped(folder: Path) -> Path:
    """What `mongodump` writes."""
    for name, documents in of_mongo().items():
        (folder / f"{name}.bson").write_bytes(b"".join(map(bson.encode, documents)))
    return folder


def zipped(folder: Path) -> Path:
    """What `mongodump --gzip` writes."""
    for file in dumped(folder).glob("*.bson"):
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    return folder


@pytest.mark.parametrize("make", [pickled, dumped, zipped])
def test_what_a_mongodb_held_comes_in(make: Any, tmp_path: Path, url: str) -> None:
    folder = tmp_path / "orion"
    folder.mkdir()
    done = import_dump(url, make(folder))
    assert (done.experiments, done.trials, done.benchmarks) == (2, 6, 1)
    storage = setup_storage({"type": "trialstore", "url": url})
    first, second = storage.fetch_experiments({})
    assert (second["refers"]["root_id"], second["refers"]["parent_id"]) == (first["_id"], first["_id"])
    assert first["refers"]["root_id"] == first["_id"]
    assert type(first["_id"]) is int
    assert (first["max_trials"], first["metadata"]["datetime"].microsecond) == (2**40, 678000)
    for version, document in enumerate((first, second), start=1):
        trials = storage.fetch_trials(uid=document["_id"])
        assert [trial.id for trial in trials] != []
        assert [trial.objective.value for trial in trials] == [0.0, 0.5, 1.0]
        assert [trial.params for trial in trials] == [{"/x": 0.0}, {"/x": 0.25}, {"/x": 0.5}]
        found = storage._db.read("trials", {"id": f"{version}{1:031x}"})
        assert [item["experiment"] for item in found] == [document["_id"]]
        with storage.acquire_algorithm_lock(uid=document["_id"], timeout=5) as locked:  # what was locked there is not
            assert locked.state == {"seen": 3}
    assert storage.store.experiment("tune", 2).best().metrics == {"loss": 0.0}
    assert import_dump(url, make(folder), resolve="ignore").ignored == (("tune", 1), ("tune", 2))


def test_a_folder_that_is_no_dump_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DatabaseError, match="no experiments"):
        import_dump(url, tmp_path)
    (tmp_path / "experiments.bson").write_bytes(b"\x10\x00\x00\x00moo")
    with pytest.raises(DatabaseError, match="not a file of mongodump"):
        import_dump(url, tmp_path)


# Stores that Oríon works on, merged


def ran(url: str, name: str, trials: int, **options: Any) -> Any:
    """An experiment of Oríon with so many completed trials."""
    storage = {"type": "trialstore", "url": url, "durability": "process"}
    client = build_experiment(name, storage=storage, **options)
    for _ in range(trials):
        trial = client.suggest()
        client.observe(trial, [{"name": "loss", "type": "objective", "value": trial.params["x"]}])
    client.close()
    return client


def test_what_orion_wrote_is_merged_into_another_store(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    ran(other, "already", 1, space={"x": "uniform(0, 5)"})
    ran(one, "unused", 0, space={"x": "uniform(0, 5)"})
    space = {"x": "uniform(0, 5)"}
    ran(one, "tune", 3, space=space, max_trials=20)
    more = {**space, "y": "uniform(0, 5, default_value=1)"}
    ran(one, "tune", 2, space=more, max_trials=20, branching={"enable": True})
    source, target = trialstore.open(one), trialstore.open(other)
    storage = setup_storage({"type": "trialstore", "url": one})
    first, second = sorted(storage.fetch_experiments({"name": "tune"}), key=lambda item: item["version"])
    with storage.acquire_algorithm_lock(uid=first["_id"]) as lock:
        lock.set_state(bytes(100_000))
    steps: list[tuple[Any, list[int]]] = [(None, [1, 2]), ("ignore", [1, 2]), ("overwrite", [1, 2])]
    for resolve, versions in [*steps, ("bump", [1, 2, 3, 4])]:
        with storage.acquire_algorithm_lock(uid=second["_id"]):
            merge(source, target, ["tune"], resolve=resolve)
        there = setup_storage({"type": "trialstore", "url": other})
        documents = {item["version"]: item for item in there.fetch_experiments({"name": "tune"})}
        assert sorted(documents) == versions
        assert len({item["_id"] for item in there.fetch_experiments({})}) == len(versions) + 1
        for parent, child in zip(versions[::2], versions[1::2], strict=True):
            a, b = documents[parent], documents[child]
            assert (a["refers"]["root_id"], a["refers"]["parent_id"]) == (a["_id"], None)
            assert (b["refers"]["root_id"], b["refers"]["parent_id"]) == (a["_id"], a["_id"])
            for old, new in ((first, a), (second, b)):
                ours = [trial.to_dict() for trial in storage.fetch_trials(uid=old["_id"])]
                copies = [trial.to_dict() for trial in there.fetch_trials(uid=new["_id"])]
                for trial in (*ours, *copies):
                    del trial["_id"], trial["experiment"]
                assert copies == ours
            with there.acquire_algorithm_lock(uid=a["_id"], timeout=1) as lock:
                assert lock.state == bytes(100_000)
                lock.set_state(bytes(50_000))
            with there.acquire_algorithm_lock(uid=a["_id"], timeout=1) as lock:
                assert lock.state == bytes(50_000)
                lock.set_state(bytes(100_000))
            assert not there.get_algorithm_lock_info(uid=b["_id"]).locked
    ran(other, "tune", 1, version=4)
    client = build_experiment("tune", version=4, storage={"type": "trialstore", "url": other})
    assert (len(client.fetch_trials()), len(client.fetch_trials(with_evc_tree=True))) == (3, 6)


def test_a_branch_whose_parent_is_not_copied_is_a_root(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    ran(one, "tune", 1, space={"x": "uniform(0, 5)"})
    ran(one, "tune", 1, space={"x": "uniform(0, 4)"}, branching={"enable": True})
    merge(trialstore.open(one), trialstore.open(other), ["tune"], version=2)
    (document,) = setup_storage({"type": "trialstore", "url": other}).fetch_experiments({})
    assert document["version"] == 2
    assert document["refers"]["parent_id"] is None
    assert document["refers"]["root_id"] == document["_id"]
