"""Experiments from Oríon's other databases."""

from __future__ import annotations

import datetime
import pickle
from pathlib import Path
from typing import Any

import pytest
from orion.core.io.database import DatabaseError
from orion.core.worker.trial import Trial
from orion.storage.base import setup_storage

from trialstore.integrations.orion import import_dump


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
