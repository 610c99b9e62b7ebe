"""AMLTK's reports go into a store and come back, field by field."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from amltk import History, Metric, PathBucket, Trial
from amltk.profiling import Memory, Profile, Profiler, Timer

import trialstore as ts
from trialstore.integrations.amltk import TrialStoreBucket, load_history, save_history, save_report
from trialstore.model.errors import InvalidMetricsError, InvalidParamsError, UnsupportedError, UsageError

LOSS = Metric("loss", minimize=True, bounds=(0, 10))
ACC = Metric("acc", minimize=False)


@pytest.fixture
def bucket(tmp_path: Path) -> TrialStoreBucket:
    return TrialStoreBucket(tmp_path / "store", "tune", metrics=[LOSS, ACC])


def trial_in(bucket: TrialStoreBucket, name: str = "first", **fields: Any) -> Trial[Any]:
    fields = {"config": {"x": 1.5}, "metrics": [LOSS, ACC], "bucket": bucket / name, **fields}
    return Trial.create(name=name, **fields)


def assert_same_interval(mine: Profile.Interval, theirs: Profile.Interval) -> None:
    for one, other in ((mine.memory.to_dict(), theirs.memory.to_dict()), (mine.time.to_dict(), theirs.time.to_dict())):
        for name, value in one.items():
            again = other[name]
            same = again is value or again == value or (math.isnan(value) and math.isnan(again))
            assert same, name


def same(mine: Any, theirs: Any) -> bool:
    """Equal, where NaN equals itself, and the words of AMLTK's enumerations equal their text, as they do in Python."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return list(mine) == list(theirs) and all(same(value, theirs[name]) for name, value in mine.items())
    return bool(mine == theirs) or repr(mine) == repr(theirs)


def assert_same(mine: Trial.Report[Any], theirs: Trial.Report[Any]) -> None:
    """Each field of both, with types; NaN is itself."""
    for name in ("name", "config", "info", "created_at", "seed", "fidelities", "summary", "storage", "extras"):
        one, other = getattr(mine.trial, name), getattr(theirs.trial, name)
        assert same(one, other), name
        assert type(one) is type(other), name
    assert list(mine.trial.config) == list(theirs.trial.config)
    assert {k: type(v) for k, v in mine.config.items()} == {k: type(v) for k, v in theirs.config.items()}
    assert list(mine.metrics.items()) == list(theirs.metrics.items())
    assert repr(dict(mine.values)) == repr(dict(theirs.values))
    assert mine.status is theirs.status
    assert mine.reported_at == theirs.reported_at
    assert type(mine.reported_at) is datetime
    assert mine.traceback == theirs.traceback
    assert type(mine.exception) is type(theirs.exception)
    assert getattr(mine.exception, "args", None) == getattr(theirs.exception, "args", None)
    assert type(mine.bucket) is type(theirs.bucket)
    assert mine.bucket.path == theirs.bucket.path
    assert not isinstance(mine.bucket, TrialStoreBucket) or mine.bucket == theirs.bucket
    assert list(mine.profiles) == list(theirs.profiles)
    for name, interval in mine.profiles.items():
        assert_same_interval(interval, theirs.profiles[name])
    for name in ("memory_unit", "time_kind", "disabled"):
        assert getattr(mine.trial.profiler, name) == getattr(theirs.trial.profiler, name)


def told(name: str, bucket: TrialStoreBucket) -> Trial.Report[Any]:
    """A report of each kind."""
    match name:
        case "plain":
            return trial_in(bucket, seed=0).success(loss=1, acc=0.5)
        case "everything":
            trial = trial_in(
                bucket,
                config={
                    "z": 1,
                    "a": "text",
                    "flag": True,
                    "none": None,
                    "big": 2**70,
                    "tuple": (1, (2.0, "x")),
                    "ü": -0.0,
                },
                seed=2**32 - 1,
                info={"budget": 3, "origin": (1, 2)},
                fidelities={"epochs": 3, "share": 0.5},
                summary={"list": [1, 2.5], "nan": math.nan, "nothing": None},
                extras={"plugin": {"k": [1]}},
                profiler=Profiler(memory_unit="MB", time_kind="process"),
            )
            with trial.profile("fit", summary=True), trial.profile("inner", time="cpu", memory_unit="GB"):
                pass
            trial.store({"a.txt": "a", "b.npy": np.ones(2)})
            return trial.success(loss=2, acc=-math.inf)
        case "nan":
            return trial_in(bucket, config={"x": math.nan, "y": math.inf}).success(loss=math.nan, acc=math.inf)
        case "fail":
            return trial_in(bucket).fail(ValueError("too large", 3), loss=10.0)
        case "fail bare":
            return trial_in(bucket).fail()
        case "crashed":
            return trial_in(bucket).crashed(FileNotFoundError(2, "No such file", "x.csv"))
        case "crashed with values":
            trial = trial_in(bucket)
            return Trial.Report(trial, Trial.Status.CRASHED, traceback="somewhere", values={"acc": 1.0})
        case "unknown":
            return Trial.Report(trial_in(bucket), Trial.Status.UNKNOWN)
        case "fewer metrics":
            return trial_in(bucket, metrics=[ACC]).success(acc=1)
        case "empty":
            return trial_in(bucket, config={}, metrics=[]).success()
        case "never measured":
            profiler = Profiler(profiles={"fit": Profile.na()})
            return trial_in(bucket, profiler=profiler).success(loss=1, acc=1)
        case "aware":
            zone = timezone(timedelta(hours=5, minutes=30))
            report = trial_in(bucket, created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, zone)).success(loss=1, acc=1)
            report.reported_at = datetime(2026, 1, 2, 3, 4, 5, 678902, zone)
            return report
        case "hour that comes twice":
            report = trial_in(bucket, created_at=datetime(2026, 10, 25, 2, 30, fold=1)).success(loss=1, acc=1)
            report.reported_at = datetime(2026, 10, 25, 2, 30, 0, 1, fold=1)
            return report
        case _:
            bucketless = Trial.create(
                name, config={"x": 1}, metrics=[LOSS], bucket=PathBucket("elsewhere", create=False)
            )
            bucketless.storage.add("model.pkl")
            return bucketless.success(loss=0)


KINDS = [
    "plain",
    "everything",
    "nan",
    "fail",
    "fail bare",
    "crashed",
    "crashed with values",
    "unknown",
    "fewer metrics",
    "empty",
    "never measured",
    "aware",
    "hour that comes twice",
    "in a folder",
]


@pytest.mark.parametrize("how", ["one", "many", "moved into a part"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_field_comes_back(bucket: TrialStoreBucket, kind: str, how: str) -> None:
    report = told(kind, bucket)
    if how == "many":
        assert list(save_history(History.from_reports([report]), bucket.experiment)) == [0]
    else:
        assert save_report(report, bucket.experiment) == 0
    if how == "moved into a part":
        bucket.experiment.flush()
    (again,) = load_history(bucket.experiment)
    assert_same(report, again)


def test_a_loaded_history_saves_the_same(bucket: TrialStoreBucket, tmp_path: Path) -> None:
    save_history([told(kind, bucket / f"{index}") for index, kind in enumerate(KINDS)], bucket.experiment)
    other = TrialStoreBucket(tmp_path / "other", "tune", metrics=[LOSS, ACC])
    once = load_history(bucket.experiment)
    assert list(save_history(once, other.experiment)) == list(range(len(KINDS)))
    for mine, theirs in zip(once, load_history(other.experiment), strict=True):
        theirs.trial.bucket = mine.trial.bucket  # a bucket of another store is known by its path
        assert_same(mine, theirs)


def test_sql_sees_it(bucket: TrialStoreBucket) -> None:
    report = told("everything", bucket)
    failed = trial_in(bucket, "second", seed=0).fail(ValueError("bad"), loss=10.0)
    save_history([report, failed], bucket.experiment)
    rows = bucket.experiment.sql(
        "SELECT name, status, seed, params.a, params.flag, fidelity.epochs, metrics.loss, metrics.acc, exception, "
        "submitted_at, ended_at FROM trials ORDER BY trial"
    ).fetchall()
    created, reported = report.trial.created_at.astimezone(), report.reported_at.astimezone()
    assert rows[0] == ("first", "SUCCEEDED", 2**32 - 1, "text", True, 3, 2, -math.inf, None, created, reported)
    assert rows[1][:9] == ("second", "FAILED", 0, None, None, None, 10.0, None, "ValueError: bad")
    measured = report.profiles["fit:inner"]
    ((kind, start, unit, rss),) = bucket.experiment.sql(
        "SELECT p.time_kind, p.start_s, p.memory_unit, p.start_rss_bytes "
        "FROM (SELECT unnest(profiles) AS p FROM trials) WHERE p.name = 'fit:inner'"
    ).fetchall()
    assert (kind, start, unit) == ("cpu", measured.time.start, "gigabytes")
    assert rss == Memory.convert(measured.memory.start_rss, "GB", "B")
    assert bucket.experiment.best("acc").name == "first"  # type: ignore[union-attr]


def test_nan_is_never_best(bucket: TrialStoreBucket) -> None:
    for name, loss in (("nan", math.nan), ("two", 2.0), ("one", 1.0)):
        save_report(trial_in(bucket, name).success(loss=loss, acc=0), bucket.experiment)
    assert bucket.experiment.best("loss").name == "one"  # type: ignore[union-attr]
    assert load_history(bucket.experiment).best("loss").name == "nan"  # AMLTK's own, of the same rows


def test_amltks_own_frame_is_the_same(bucket: TrialStoreBucket) -> None:
    reports = [told("plain", bucket), told("fail", bucket), told("crashed", bucket)]
    history = History.from_reports(reports)
    save_history(history, bucket.experiment)
    frames = [each.df(normalize_time=False) for each in (history, load_history(bucket.experiment))]
    pd.testing.assert_frame_equal(*frames)


def test_what_cannot_be_stored_is_named(bucket: TrialStoreBucket, caplog: pytest.LogCaptureFixture) -> None:
    trial = trial_in(bucket, info=object(), summary={"kept": 1, "array": np.ones(3)}, extras={"plugin": Path("x")})
    trial.storage |= {("a", "tuple"), "kept.txt"}
    save_report(trial.success(loss=1, acc=1), bucket.experiment)
    (again,) = load_history(bucket.experiment)
    assert (again.info, again.summary, again.trial.extras, again.storage) == (None, {"kept": 1}, {}, {"kept.txt"})
    left_out = bucket.experiment.report(0).attributes["amltk"]["left_out"]
    assert {said.partition(":")[0] for said in left_out} == {
        "trial.info",
        "summary.array",
        "extras.plugin",
        "storage.('a', 'tuple')",
    }
    for said in left_out:
        assert said in caplog.text


def test_a_configuration_that_cannot_be_stored_is_refused(bucket: TrialStoreBucket) -> None:
    report = trial_in(bucket, config={"model": object()}).success(loss=1, acc=1)
    with pytest.raises(UsageError, match=r"params\.model"):
        save_report(report, bucket.experiment)
    with pytest.raises(InvalidParamsError, match="row 0"):
        save_history([report], bucket.experiment)
    assert len(bucket.experiment) == 0


@pytest.mark.parametrize("other", [Metric("loss", bounds=(0, 11)), Metric("loss", minimize=False), Metric("cost")])
def test_other_metrics_are_refused(bucket: TrialStoreBucket, other: Metric[Any]) -> None:
    report = trial_in(bucket, metrics=[other]).success(**{other.name: 1.0})
    with pytest.raises(InvalidMetricsError, match="none of the experiment's"):
        save_report(report, bucket.experiment)


def test_a_time_in_other_units_is_refused(bucket: TrialStoreBucket) -> None:
    interval = Profile.na()
    interval.time = Timer.Interval(1.0, 2.0, Timer.Kind.WALL, Timer.Unit.MILLISECONDS)
    report = trial_in(bucket, profiler=Profiler(profiles={"fit": interval})).success(loss=1, acc=1)
    with pytest.raises(UsageError, match="seconds"):
        save_report(report, bucket.experiment)


def test_an_exception_of_a_program_is_told_by_its_line(bucket: TrialStoreBucket) -> None:
    class OwnError(Exception):
        pass

    save_report(trial_in(bucket).crashed(OwnError("mine")), bucket.experiment)
    (again,) = load_history(bucket.experiment)
    assert type(again.exception) is Exception
    assert str(again.exception).endswith("OwnError: mine")
    noted = bucket.experiment.report(0).attributes["amltk"]["exception"]
    assert noted["type"].endswith("OwnError")
    assert noted["args"] == ["mine"]


def test_trials_that_were_not_amltks(tmp_path: Path) -> None:
    with ts.open(tmp_path) as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        for end in ("success", "fail", "crashed", "prune", "timed_out", "cancel"):
            trial = experiment.register_trial({"x": 1}, name=end, seed=0, reserve=True)
            trial.store({"a.txt": end})
            getattr(trial, end)(**({"loss": 1.0} if end == "success" else {}))
        experiment.register_trial({"x": 2})
        history = load_history(experiment)
        found = {report.name: report.status.value for report in history}
        assert found == {
            "success": "success",
            "fail": "fail",
            "crashed": "crashed",
            "prune": "fail",
            "timed_out": "fail",
            "cancel": "unknown",
        }
        for report in history:
            assert report.retrieve("a.txt") == report.name
            assert report.storage == {"a.txt"}
            assert report.trial.seed == 0
            assert report.trial.created_at.tzinfo is None
            assert report.trial.created_at.astimezone() == experiment.report(history.reports.index(report)).created_at
        odd = store.create_experiment("odd", metrics=[ts.Metric("50% quantile")])
        odd.register_trial({}, reserve=True).crashed(ValueError("x"))
        with pytest.raises(UnsupportedError, match="50% quantile"):
            load_history(odd)


def test_what_lies_in_folders_is_copied_when_asked(bucket: TrialStoreBucket, tmp_path: Path) -> None:
    folder = PathBucket(tmp_path / "folder")
    trial = Trial.create("first", config={"x": 1}, metrics=[LOSS, ACC], bucket=folder)
    objects = {"a.npy": np.arange(3), "c.json": {"k": [1]}, "t.txt": "text", "m.pkl": {1, 2}}
    trial.store({**objects, "f.csv": pd.DataFrame({"a": [1]}), "f.parquet": pd.DataFrame({"a": [1]})})
    (folder / "deep")["d.txt"] = "deep"
    report = trial.success(loss=1, acc=1)
    other = TrialStoreBucket(tmp_path / "other", "tune", metrics=[LOSS, ACC])
    save_history([report], other.experiment, objects=True)
    save_history(load_history(other.experiment), bucket.experiment, objects=True)  # from one store into another
    folder.rmdir()
    for experiment in (other.experiment, bucket.experiment):
        (again,) = load_history(experiment, pickle=True)
        assert set(again.bucket) == {*objects, "f.csv", "f.parquet", "deep"}
        np.testing.assert_array_equal(again.retrieve("a.npy"), np.arange(3))
        assert [again.retrieve(name) for name in ("c.json", "t.txt", "m.pkl")] == [{"k": [1]}, "text", {1, 2}]
        assert (again.bucket / "deep")["d.txt"].load() == "deep"
        for name in ("f.csv", "f.parquet"):
            assert again.retrieve(name)["a"].tolist() == [1]
        assert experiment.trial(0).retrieve("c.json") == {"k": [1]}
        assert again.storage == report.storage
    save_history([report], bucket.experiment)
    assert load_history(bucket.experiment)[1].bucket.path == tmp_path / "folder"
