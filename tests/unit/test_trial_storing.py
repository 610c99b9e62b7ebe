"""`Trial.store`, `retrieve` and `delete_from_storage`: in the store, in a bucket, at a path, by something to call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support.trials import experiment_in, running
from trialstore.model.errors import ArtifactNotFoundError, UsageError


@pytest.fixture
def experiment(tmp_path: Path) -> ts.Experiment:
    return experiment_in(tmp_path)


@pytest.fixture
def trial(experiment: ts.Experiment) -> ts.Trial:
    return running(experiment)


@pytest.fixture(params=["store", "bucket", "text", "path", "url"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    place = tmp_path / "elsewhere"
    return {
        "store": None,
        "bucket": ts.Bucket(place),
        "text": str(place),
        "path": place,
        "url": f"file://{place}",
    }[request.param]


def test_what_is_stored_comes_back_until_it_is_deleted(experiment: ts.Experiment, trial: ts.Trial, where: Any) -> None:
    trial.store({"config.json": dict(trial.config), "a/notes.txt": "x"}, where=where)
    assert trial.storage == {"config.json", "a/notes.txt"}
    assert trial.retrieve("config.json", where=where) == {"lr": 0.5}
    report = trial.success(loss=1, acc=1)
    for found in (report, experiment.report(0), experiment.trial(0), next(experiment.reports())):
        assert found.storage == {"config.json", "a/notes.txt"}
        assert found.retrieve("a/notes.txt", where=where) == "x"
    assert trial.delete_from_storage(["config.json"], where=where) == {"config.json": True}
    for handle in (trial, experiment.trial(0)):
        assert handle.storage == {"a/notes.txt"}
        with pytest.raises(ArtifactNotFoundError):
            handle.retrieve("config.json", where=where)
        assert handle.retrieve("a/notes.txt", where=where) == "x"


def test_a_trial_that_has_ended_can_still_store(experiment: ts.Experiment, trial: ts.Trial, where: Any) -> None:
    report = trial.success(loss=1, acc=1)
    experiment.flush()
    report.store({"plot.json": [1, 2]}, where=where)
    experiment.flush()
    experiment.compact()
    assert experiment.trial(0).storage == {"plot.json"}
    assert experiment.report(0).retrieve("plot.json", where=where) == [1, 2]


def test_a_bucket_keeps_each_trials_things_apart(experiment: ts.Experiment, tmp_path: Path) -> None:
    bucket = ts.Bucket(tmp_path / "shared")
    first, second = running(experiment), experiment.register_trial({"lr": 2}, name="mine", reserve=True)
    first.store({"a.txt": "one"}, where=bucket)
    second.store({"a.txt": "two"}, where=bucket)
    assert set(bucket) == {"tune-0/a.txt", "mine/a.txt"}
    assert first.retrieve("a.txt", where=bucket) == "one"
    assert second.delete_from_storage(["a.txt", "b.txt"], where=bucket) == {"a.txt": True, "b.txt": False}
    assert first.retrieve("a.txt", where=tmp_path / "shared") == "one"


def test_something_to_call_stores_and_deletes(trial: ts.Trial) -> None:
    kept: dict[tuple[str, str], Any] = {}

    def put(name: str, items: Mapping[str, Any]) -> str:
        kept.update({(name, key): value for key, value in items.items()})
        return "put"

    def drop(name: str, keys: Iterable[str]) -> dict[str, bool]:
        return {key: kept.pop((name, key), None) is not None for key in keys}

    model = object()
    assert trial.store({"model": model}, where=put) == "put"
    assert kept == {("tune-0", "model"): model}
    assert trial.storage == {"model"}
    with pytest.raises(UsageError, match="does not give them back"):
        trial.retrieve("model", where=put)
    with pytest.raises(UsageError, match="chooses how itself"):
        trial.store({"model": model}, where=put, loader="pickle")
    assert trial.delete_from_storage(["model", "other"], where=drop) == {"model": True, "other": False}
    assert trial.storage == set()
    assert trial.success(loss=1, acc=1).storage == frozenset()


def test_a_type_can_be_demanded(trial: ts.Trial, where: Any) -> None:
    trial.store({"a.json": [1]}, where=where)
    assert trial.retrieve("a.json", where=where, check=list) == [1]
    with pytest.raises(TypeError, match=r"'a\.json' holds list, not dict"):
        trial.retrieve("a.json", where=where, check=dict)


def test_a_loader_can_be_chosen(trial: ts.Trial, where: Any) -> None:
    trial.store({"a.dat": {1, 2}}, where=where, loader="pickle")
    assert trial.retrieve("a.dat", where=where, loader="pickle") == {1, 2}
    assert isinstance(trial.retrieve("a.dat", where=where, loader="bytes"), bytes)


def test_what_is_no_place_is_refused(trial: ts.Trial) -> None:
    for act in (
        lambda: trial.store({"a.txt": "a"}, where=3),
        lambda: trial.retrieve("a.txt", where=3),
        lambda: trial.delete_from_storage(["a.txt"], where=3),
    ):
        with pytest.raises(UsageError, match="in a bucket, at a path or URL, or by something to call"):
            act()
    with pytest.raises(UsageError, match="must be several names"):
        trial.delete_from_storage("a.txt")
    assert trial.storage == set()


def test_a_report_without_a_trial_says_so(trial: ts.Trial) -> None:
    trial.store({"a.txt": "a"})
    detached = ts.Report.from_dict(trial.success(loss=1, acc=1).to_dict())
    assert detached.storage == {"a.txt"}
    assert detached.trial is None
    for act in (lambda: detached.retrieve("a.txt"), lambda: detached.store({"b.txt": "b"})):
        with pytest.raises(UsageError, match=r"experiment\.report\(number\)"):
            act()
