"""AMLTK's bucket on a store: what its programs do with a PathBucket works, and lands in the trial's artifacts."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from amltk import Metric, PathBucket, Trial
from amltk.store import PathLoader, Stored

import trialstore as ts
from trialstore.integrations.amltk import ObjectNotFoundError, TrialStoreBucket, save_report
from trialstore.model.errors import DamagedError, ExperimentNotFoundError, InvalidNameError, UsageError

LOSS = Metric("loss", minimize=True, bounds=(0, 10))


@pytest.fixture
def bucket(tmp_path: Path) -> TrialStoreBucket:
    return TrialStoreBucket(tmp_path / "store", "tune", metrics=LOSS, path=tmp_path / "beside")


def trial_in(bucket: PathBucket, name: str = "first") -> Trial[Any]:
    return Trial.create(name=name, config={"x": 1.5}, metrics=[LOSS], bucket=bucket / name)


OBJECTS: dict[str, Any] = {
    "array.npy": np.arange(6.0).reshape(2, 3),
    "arrays.npz": {"a": np.arange(3), "b": np.ones(2)},
    "frame.csv": pd.DataFrame({"a": [1, 2]}, index=["u", "v"]),
    "unnamed.csv": pd.DataFrame({"a": [1.5, 2.5]}),
    "frame.parquet": pd.DataFrame({"a": [1, 2]}, index=pd.Index([3, 4], name="key")),
    "polars.parquet": pl.DataFrame({"a": [1, 2]}),
    "config.json": {"tuple": (1, 2), "nan": float("inf"), "deep": [{"k": None}]},
    "list.json": [1, 2.0, "x"],
    "config.yaml": {"a": [1, 2]},
    "note.txt": "first run",
    "note.text": "ü",
    "run.log": "line\n",
    "raw.bin": b"\x00\x01",
    "raw.json": b"not json",
    "deep/er/note.txt": "below",
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_stored_comes_back_the_same(bucket: TrialStoreBucket, name: str) -> None:
    value = OBJECTS[name]
    trial = trial_in(bucket)
    trial.store({name: value})
    assert trial.storage == {name}
    for place in (trial.bucket, pickle.loads(pickle.dumps(trial)).bucket, bucket / "first"):
        again = place[name].load()
        assert type(again) is type(value)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(again, value)
        elif isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(again, value)
        elif isinstance(value, pl.DataFrame):
            assert again.equals(value)
        elif name.endswith(".npz"):
            assert {key: item.tolist() for key, item in again.items()} == {k: v.tolist() for k, v in value.items()}
        else:
            assert again == value


def test_storing_a_frame_leaves_it_as_it_was(bucket: TrialStoreBucket) -> None:
    frame = pd.DataFrame({"a": [1]})
    bucket["frame.csv"] = frame
    assert frame.index.name is None  # AMLTK's own bucket names it


@pytest.mark.parametrize("name", ["model.pkl", "model.pickle", "frame.pdpickle"])
def test_pickles_are_for_those_who_ask(tmp_path: Path, name: str) -> None:
    careful = TrialStoreBucket(tmp_path, "tune", metrics=LOSS)
    with pytest.raises(UsageError, match="pickle=True"):
        careful[name] = pd.Series([1, 2])
    trusting = TrialStoreBucket(tmp_path, "tune", pickle=True)
    trusting[name] = pd.Series([1, 2])
    assert pickle.loads(pickle.dumps(trusting))[name].load().tolist() == [1, 2]
    with pytest.raises(UsageError, match="pickle=True"):
        careful[name].load()
    with pytest.raises(UsageError, match="pickle=True"):
        careful[name].get("default")


@pytest.mark.parametrize("name", ["model.unknown", "object", "number.txt", "series.csv", "tensor.npy"])
def test_what_has_no_way_back_is_refused(bucket: TrialStoreBucket, name: str) -> None:
    value = pd.Series([1]) if name == "series.csv" else object()
    with pytest.raises(UsageError):
        bucket[name] = value
    assert list(bucket) == []


@pytest.mark.parametrize("name", ["", ".", "..", "../up.txt", "/root.txt", "a/../b.txt", "a//b.txt", "a/"])
def test_a_name_stays_in_its_bucket(bucket: TrialStoreBucket, name: str) -> None:
    for use in (lambda: bucket[name], lambda: bucket.sub(name), lambda: bucket.store({name: b""})):
        with pytest.raises(InvalidNameError):
            use()


class UpperLoader(PathLoader[str]):
    """A loader of a user's, for texts."""

    name = "upper"

    @classmethod
    def can_load(cls, key: Path, /, *, check: type | None = None) -> bool:
        return key.suffix == ".upper"

    @classmethod
    def can_save(cls, obj: Any, key: Path, /) -> bool:
        return key.suffix == ".upper"

    @classmethod
    def save(cls, obj: str, key: Path, /) -> Stored[str]:
        key.write_text(obj.upper())
        return Stored(key, cls.load)

    @classmethod
    def load(cls, key: Path, /) -> str:
        return key.read_text()


def test_a_users_loaders_go_first(tmp_path: Path) -> None:
    given = TrialStoreBucket(tmp_path, "tune", metrics=LOSS, loaders=[UpperLoader])
    added = TrialStoreBucket(tmp_path, "tune")
    added.add_loader(UpperLoader)
    for bucket in (given, added):
        stored = (bucket / "in")["note.upper"].put("text")
        assert stored.load() == "TEXT"
        assert (bucket / "in")["note.upper"].load() == "TEXT"


def test_it_is_a_mapping_of_names_to_drops(bucket: TrialStoreBucket) -> None:
    bucket.store({"a.txt": "a", "b.txt": "bb"})
    (bucket / "sub")["c.txt"] = "ccc"
    assert list(bucket) == ["a.txt", "b.txt", "sub"]
    assert len(bucket) == 3
    assert "a.txt" in bucket
    assert "sub" in bucket
    assert "sub/c.txt" in bucket
    assert "c.txt" not in bucket
    assert 7 not in bucket
    assert bucket.sizes() == {"a.txt": 1, "b.txt": 2}
    assert bucket.fetch("a.txt", "z.txt", default={"z.txt": 0}) == {"a.txt": "a", "z.txt": 0}
    assert bucket.remove(["a.txt", "z.txt"]) == {"a.txt": True, "z.txt": True}
    assert bucket["sub"].exists()
    del bucket["sub"]
    assert list(bucket) == ["b.txt"]
    bucket.update({"b.txt": "new"})
    assert {name: drop.load() for name, drop in bucket.items()} == {"b.txt": "new"}
    bucket.rmdir()
    assert list(bucket) == []


def test_find_gives_groups(bucket: TrialStoreBucket) -> None:
    bucket.store({"trial_1_val.txt": "one", "trial_2_val.txt": "two", "other.txt": ""})
    found = bucket.find(r"trial_(\d)_val\.txt")
    assert found is not None
    assert {key: drop.load() for key, drop in found.items()} == {"1": "one", "2": "two"}
    assert set(bucket.find(r"(trial)_(\d)", multi_key=True) or ()) == {("trial", "1"), ("trial", "2")}
    assert bucket.find("nothing(.*)") is None


def test_an_absent_object(bucket: TrialStoreBucket) -> None:
    bucket["model.npy"] = np.ones(1)
    drop = bucket["modell.npy"]
    assert not drop.exists()
    assert drop.get("default") == "default"
    with pytest.raises(FileNotFoundError, match=r"model\.npy"):
        drop.load()
    with pytest.raises(ObjectNotFoundError):
        pickle.loads(pickle.dumps(drop)).load()


def test_the_type_is_checked(bucket: TrialStoreBucket) -> None:
    bucket["a.txt"] = "a"
    assert bucket["a.txt"].load(check=str) == "a"
    for use in (bucket["a.txt"].load, bucket["a.txt"].get):
        with pytest.raises(TypeError, match="holds str, not dict"):
            use(check=dict)


def test_damage_is_told_and_is_no_default(bucket: TrialStoreBucket, tmp_path: Path) -> None:
    bucket["a.txt"] = "a"
    ((path,),) = bucket.experiment.sql("SELECT path FROM artifacts").fetchall()
    (tmp_path / "store" / path).write_bytes(b"b")
    with pytest.raises(DamagedError):
        bucket["a.txt"].get("default")


def test_a_stored_handle_loads_elsewhere(bucket: TrialStoreBucket) -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    stored = pickle.loads(pickle.dumps(bucket["frame.csv"].put(frame)))
    pd.testing.assert_frame_equal(stored.load(), frame)
    read = bucket["frame.csv"].as_stored(read=Path.read_text)
    assert pickle.loads(pickle.dumps(read)).load() == ",a\n0,1\n1,2\n"


def test_a_name_stored_twice_is_the_newer_one(bucket: TrialStoreBucket) -> None:
    bucket["a.txt"] = "old"
    bucket["a.txt"] = "new"
    assert bucket["a.txt"].load() == "new"
    assert bucket.experiment.sql("SELECT name, size_bytes FROM artifacts").fetchall() == [("a.txt", 3)]


def test_copies_are_the_same_bucket(bucket: TrialStoreBucket) -> None:
    trial = trial_in(bucket)
    twin = trial.copy()
    assert twin.bucket == trial.bucket
    assert copy.copy(trial.bucket) == trial.bucket
    assert hash(twin.bucket) == hash(trial.bucket)
    assert twin.bucket != bucket
    twin.store({"a.txt": "a"})
    assert trial.retrieve("a.txt") == "a"


def test_the_report_makes_objects_the_trials_artifacts(bucket: TrialStoreBucket) -> None:
    trial, other = trial_in(bucket), trial_in(bucket, "other")
    trial.store({"a.txt": "a", "deep/b.txt": "b"})
    trial.bucket["unnamed.txt"] = "not in trial.storage"
    other.store({"a.txt": "another"})
    bucket["shared.txt"] = "of no trial"
    experiment = bucket.experiment
    assert experiment.sql("SELECT DISTINCT trial FROM artifacts").fetchall() == [(-1,)]
    before = set(experiment.sql("SELECT path FROM artifacts").fetchall())
    report = trial.success(loss=0.5)
    number = save_report(report, experiment)
    rows = experiment.sql("SELECT trial, name FROM artifacts ORDER BY ALL").fetchall()
    assert rows == [
        (-1, "other/a.txt"),
        (-1, "shared.txt"),
        (number, "a.txt"),
        (number, "deep/b.txt"),
        (number, "unnamed.txt"),
    ]
    assert set(experiment.sql("SELECT path FROM artifacts").fetchall()) == before  # bytes stay where they were
    assert experiment.trial(number).retrieve("deep/b.txt") == "b"
    assert report.retrieve("a.txt") == "a"
    assert (bucket / "first")["deep/b.txt"].load() == "b"
    assert list(bucket / "first") == ["a.txt", "deep", "unnamed.txt"]
    assert list(bucket) == ["first", "other", "shared.txt"]


def test_what_is_stored_after_the_report_is_the_trials_at_once(bucket: TrialStoreBucket) -> None:
    trial = trial_in(bucket)
    trial.store({"a.txt": "a"})
    report = trial.success(loss=0.5)
    number = save_report(report, bucket.experiment)
    assert isinstance(report.bucket, TrialStoreBucket)
    assert report.bucket.trial == number
    report.store({"late.txt": "late", "a.txt": "again"})
    artifacts = bucket.experiment.trial(number).artifacts()
    assert {name: artifact.size_bytes for name, artifact in artifacts.items()} == {"a.txt": 5, "late.txt": 4}
    assert {artifact.attempt for artifact in artifacts.values()} == {1}
    (report.bucket / "deep")["c.txt"] = "c"
    assert bucket.experiment.trial(number).retrieve("deep/c.txt") == "c"
    assert trial.delete_from_storage(["late.txt"]) == {"late.txt": True}
    assert "late.txt" not in bucket / "first"


def test_a_name_that_is_used_again_is_another_trials(bucket: TrialStoreBucket) -> None:
    numbers = []
    for text in ("first run", "second run"):
        trial = trial_in(bucket)
        trial.store({"a.txt": text})
        numbers.append(save_report(trial.success(loss=0.5), bucket.experiment))
    texts = [bucket.experiment.trial(number).retrieve("a.txt") for number in numbers]
    assert texts == ["first run", "second run"]
    assert (bucket / "first")["a.txt"].load() == "second run"


def test_making_one(tmp_path: Path) -> None:
    with pytest.raises(ExperimentNotFoundError, match="give metrics="):
        TrialStoreBucket(tmp_path, "tune")
    with ts.open(tmp_path) as store:
        bucket = TrialStoreBucket(store, "tune", metrics=[LOSS])
        assert store.experiment("tune").declared_metrics == (ts.Metric("loss", bounds=(0, 10)),)
        bucket["a.txt"] = "a"
        with pytest.raises(UsageError, match="other metrics"):
            TrialStoreBucket(store, "tune", metrics=Metric("acc"))
        with pytest.raises(FileExistsError):
            TrialStoreBucket(store, "tune", exists_ok=False)
        assert list(TrialStoreBucket(store, "tune", clean=True, exists_ok=False)) == []


def test_it_makes_no_folder_of_its_own(tmp_path: Path) -> None:
    bucket = TrialStoreBucket(tmp_path / "store", "tune", metrics=LOSS, path=tmp_path / "beside")
    trial_in(bucket).store({"a.txt": "a"})
    assert (bucket / "first").path == tmp_path / "beside" / "first"
    assert not (tmp_path / "beside").exists()
    assert isinstance(bucket, PathBucket)
    assert Trial.create("t", bucket=bucket).bucket is bucket


def test_what_waits_for_its_report_goes_through_flush_compaction_and_vacuum(bucket: TrialStoreBucket) -> None:
    from datetime import timedelta

    bucket["a.txt"] = "a"
    bucket.experiment.flush()
    bucket.experiment.compact(grace=timedelta(0))
    bucket.experiment.vacuum(grace=timedelta(0))
    assert bucket["a.txt"].load() == "a"
    assert bucket.experiment.verify().problems == []
