"""Every wrong call has a clear error of the right kind, says what to do, and leaves nothing half-written."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fsspec.registry import _registry as loaded

import trialstore as ts
from tests.support.faulty import FaultyBlobs
from trialstore.blobs.resolve import BlobsSpec
from trialstore.model.errors import (
    AccessDeniedError,
    ArtifactNotFoundError,
    DamagedError,
    DuplicateExperimentError,
    DuplicateTrialError,
    ExperimentNotFoundError,
    FormatTooNewError,
    InvalidMetricsError,
    InvalidNameError,
    InvalidParamsError,
    InvalidStatusError,
    InvalidTimeError,
    LostTrialError,
    MissingExtraError,
    QueryError,
    StorageFullError,
    TransitionError,
    TrialNotFoundError,
    TrialStoreError,
    UnsafeBackendError,
    UsageError,
)
from trialstore.session import Session

SPACE = {
    "maxmemory_mb": ts.Integer(64, 4096, log=True),
    "policy": ts.Categorical(["lru", "lfu"]),
    "hz": ts.Real(1, 500),
}
GOOD = {"maxmemory_mb": 256, "policy": "lru", "hz": 10.0}
NASTY_NAMES = ["a/b", "../../etc", "..", ".", " ", "a\\b", "🧪🚀", "nul\0byte", "%2F", "CON", "x" * 1024, "né", "'; --"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "results")


@pytest.fixture
def store(folder: str) -> Iterator[ts.Store]:
    with ts.open(folder) as opened:
        yield opened


@pytest.fixture
def experiment(store: ts.Store) -> ts.Experiment:
    metrics = [ts.Metric("latency_ms"), ts.Metric("ops", minimize=False)]
    return store.create_experiment("tune-redis", metrics=metrics, space=SPACE)


@pytest.fixture
def trial(experiment: ts.Experiment) -> ts.Trial:
    experiment.register_trial(GOOD)
    claimed = experiment.reserve_trial()
    assert claimed is not None
    return claimed


def files(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def refuses(
    folder: str, kind: type[TrialStoreError], call: Callable[[], Any], *texts: str, may_write: bool = False
) -> TrialStoreError:
    """The call raises exactly this kind of error, whose text says all this; and not a byte of the store changes."""
    before = files(folder)
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    for text in texts:
        assert text in str(caught.value)
    assert may_write or files(folder) == before
    return caught.value


# Opening


@pytest.mark.parametrize(
    ("url", "kind", "texts"),
    [
        ("s4://bucket/x", UsageError, ["unknown scheme", "did you mean s3://?"]),
        ("redis://host", UsageError, ["unknown scheme", "hint: use a path, file://, memory://, s3://"]),
        ("ftp://host/x", UnsafeBackendError, ["cannot create a file without a race", "hint"]),
        ("", UsageError, ["not an address", "hint"]),
        ("file://", UsageError, ["names no folder", "hint"]),
        ("a\0b", UsageError, ["not an address"]),
    ],
)
def test_an_address_that_is_none(url: str, kind: type[TrialStoreError], texts: list[str]) -> None:
    with pytest.raises(kind) as caught:
        ts.open(url)
    assert type(caught.value) is kind
    assert all(text in str(caught.value) for text in texts)


@pytest.mark.parametrize(
    ("scheme", "package", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs"), ("az", "adlfs", "azure")]
)
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str, package: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name, kind in loaded.items() if kind.__module__.startswith(package)]:
        monkeypatch.delitem(loaded, name)  # loaded by a test before
    with pytest.raises(MissingExtraError) as caught:
        ts.open(f"{scheme}://bucket/results")
    assert f"trialstore[{extra}]" in str(caught.value)


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.write_text("mine")
    for address in (path, path / "below"):
        with pytest.raises(UsageError, match=r"is a file, not a folder[\s\S]*hint"):
            ts.open(address)
    assert path.read_text() == "mine"


def test_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    refuses(str(tmp_path), UsageError, lambda: ts.open(tmp_path), "holds something else", "thesis.tex", "hint: choose")


@pytest.mark.parametrize("mode", ["r", "rw"])
def test_a_store_of_a_newer_format(store: ts.Store, folder: str, mode: str) -> None:
    marker = Path(folder) / "trialstore.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "format": 99}))
    refuses(folder, FormatTooNewError, lambda: ts.open(folder, mode=mode), "format=99", "hint: upgrade trialstore")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format":"new"}', '{"format":null}', "\0"])
def test_a_store_whose_description_is_damaged(store: ts.Store, folder: str, text: str) -> None:
    (Path(folder) / "trialstore.json").write_text(text)
    refuses(folder, DamagedError, lambda: ts.open(folder), "trialstore.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_opening_for_writing_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(AccessDeniedError):
            ts.open(tmp_path / "results")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    "options", [{"mode": "w"}, {"mode": None}, {"lease_s": 0}, {"lease_s": math.nan}, {"linger_s": -1}, {"leese_s": 1}]
)
def test_options_that_are_none(folder: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="not an option of a store") as caught:
        ts.open(folder, **options)
    assert next(iter(options)) in str(caught.value)
    assert not Path(folder).exists()


# Experiments


def test_a_duplicate_experiment(store: ts.Store, experiment: ts.Experiment) -> None:
    with pytest.raises(DuplicateExperimentError, match=r"exists already[\s\S]*exist_ok=True") as caught:
        store.create_experiment("tune-redis")
    assert caught.value.facts == {"experiment": "tune-redis", "version": 1}
    assert len(store) == 1
    assert store.create_experiment("tune-redis", exist_ok=True) == experiment
    assert experiment.declared_metrics[0].name == "latency_ms"


def test_an_unknown_experiment(store: ts.Store, experiment: ts.Experiment, folder: str) -> None:
    for name, hint in (("tune-rediss", "did you mean 'tune-redis'?"), ("zzz", "store.experiments() lists")):
        refuses(folder, ExperimentNotFoundError, lambda name=name: store.experiment(name), name, hint)  # type: ignore[misc]
        refuses(folder, ExperimentNotFoundError, lambda name=name: store.drop_experiment(name), name)  # type: ignore[misc]
        refuses(folder, ExperimentNotFoundError, lambda name=name: store.update_experiment(name), name)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_trials": 0}, "max_trials must be a whole number"),
        ({"max_trials": 1.5}, "max_trials must be"),
        ({"max_broken": True}, "max_broken must be"),
        ({"version": 0}, "version must be"),
        ({"metrics": [ts.Metric("a"), ts.Metric("a")]}, "two metrics have one name"),
        ({"space": {"x": (0, 1)}}, "hint: for example 'x': ts.Real(0, 1)"),
        ({"metadata": {"f": open}}, "cannot be stored exactly"),
    ],
)
def test_an_experiment_that_makes_no_sense(store: ts.Store, folder: str, options: dict[str, Any], text: str) -> None:
    refuses(folder, UsageError, lambda: store.create_experiment("new", **options), text)
    assert "new" not in store


# Names


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_any_text_is_a_name_and_stays_inside_the_store(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep" / "results"
    with ts.open(folder) as store:
        experiment = store.create_experiment(name, metrics=[ts.Metric(name)])
        experiment.register_trial({name: 1}, name=name)
        trial = experiment.reserve_trial()
        assert trial is not None
        trial.report({name: 0.5}, step=1)
        trial.finish("SUCCEEDED", {name: 0.25})
        experiment.set_document(name, name)
        experiment.flush()
        there = ts.open(folder, mode="r")
        assert there[name].trial(0).params == {name: 1}
        assert there[name].trial(0).metrics == {name: 0.25}
        assert there[name].document(name)[1] == name
        assert there[name].metrics(trial=0).select("name").unique().collect().rows() == [(name,)]
        assert there.sql("SELECT experiment FROM trials").fetchall() == [(name,)]
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)} == {tmp_path / "deep"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "is empty"),
        ("x" * 10_000, "is too long"),
        ("\ud800", "is not valid Unicode"),
        (None, "must be text"),
        (7, "must be text"),
    ],
)
def test_a_name_that_is_none(
    store: ts.Store, experiment: ts.Experiment, trial: ts.Trial, folder: str, name: Any, text: str
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: store.create_experiment(name),
        lambda: store.set_document(name, 1),
        lambda: store.document(name),
        lambda: experiment.set_document(name, 1),
        lambda: trial.report({name: 1}),
        lambda: trial.store({name: b"x"}),
        lambda: ts.Metric(name),
        lambda: trial.update_telemetry("RUNNING", datetime.now(UTC), [(datetime.now(UTC), name, 1)]),
    ]
    if name is not None:
        calls.append(lambda: experiment.register_trial(GOOD, name=name))
    for call in calls:
        error = refuses(folder, InvalidNameError, call, text)
        assert len(str(error)) < 500


@pytest.mark.parametrize("name", ["../x", "a/../b", "/etc/passwd", "a//b", "a/", ".", "..", "a/./b"])
def test_an_artifact_cannot_leave_its_trial(trial: ts.Trial, folder: str, name: str) -> None:
    refuses(folder, InvalidNameError, lambda: trial.store({name: b"x"}), "must be a relative path", "hint")


# Registering


@pytest.mark.parametrize(
    ("params", "texts"),
    [
        (
            {"maxmemory_mb": 1, "polcy": "lru", "hz": "fast"},
            [
                "'maxmemory_mb' must be 64 to 4096, not 1",
                "'polcy' is not in the space; did you mean 'policy'?",
                "'hz' must be a number, not 'fast'",
                "'policy' is missing",
                "hint: the space is experiment.space",
            ],
        ),
        ({**GOOD, "hz": math.nan}, ["'hz' must be"]),
        ({**GOOD, "hz": True}, ["'hz' must be a number"]),
        ({**GOOD, "maxmemory_mb": 256.0}, ["'maxmemory_mb' must be an integer"]),
        ({**GOOD, "policy": None}, ["'policy' must be one of ['lru', 'lfu']"]),
        ({}, ["'maxmemory_mb' is missing", "'policy' is missing", "'hz' is missing"]),
        ([("hz", 1)], ["must be a mapping"]),
        (None, ["must be a mapping"]),
    ],
)
def test_parameters_that_do_not_fit(experiment: ts.Experiment, folder: str, params: Any, texts: list[str]) -> None:
    refuses(folder, InvalidParamsError, lambda: experiment.register_trial(params), *texts)
    refuses(folder, InvalidParamsError, lambda: experiment.register_trials([GOOD, params, GOOD]), "trial 1", *texts[:4])
    assert len(experiment) == 0


def test_all_trials_of_a_call_are_told_of_in_one_error(experiment: ts.Experiment, folder: str) -> None:
    many = [{**GOOD, "hz": -index} for index in range(50)]
    refuses(
        folder,
        InvalidParamsError,
        lambda: experiment.register_trials(many),
        "trial 0 ",
        "trial 19 ",
        "and 30 more",
        "nothing was registered",
    )


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"seed": 1.5}, UsageError, "a seed must be a whole number"),
        ({"parent": "0"}, UsageError, "a parent must be the number of a trial"),
        ({"ready_at": datetime(2026, 1, 1)}, InvalidTimeError, "time has no zone"),
        ({"attributes": {"x": object()}}, UsageError, "cannot be stored exactly"),
    ],
)
def test_what_goes_with_a_trial(
    experiment: ts.Experiment, folder: str, given: dict[str, Any], kind: type[TrialStoreError], text: str
) -> None:
    refuses(folder, kind, lambda: experiment.register_trial(GOOD, **given), text)
    assert len(experiment) == 0


def test_one_seed_for_each_trial(experiment: ts.Experiment, folder: str) -> None:
    refuses(folder, UsageError, lambda: experiment.register_trials([GOOD], seeds=[1, 2]), "one seed for each trial")


@pytest.mark.parametrize("fidelity", [3, {1: 2}, {"": 1}])
def test_a_fidelity_that_is_no_mapping_of_names(store: ts.Store, fidelity: Any) -> None:
    experiment = store.create_experiment("open")
    with pytest.raises(UsageError, match="fidelity"):
        experiment.register_trial({"x": 1}, fidelity=fidelity)
    assert len(experiment) == 0


def test_a_duplicate_trial_where_repeats_are_forbidden(store: ts.Store) -> None:
    experiment = store.create_experiment("once", repeats=False)
    experiment.register_trial({"x": 1})
    with pytest.raises(DuplicateTrialError, match=r"exists already[\s\S]*hint: .*repeats=True") as caught:
        experiment.register_trial({"x": 1})
    assert caught.value.facts["params"] == {"x": 1}
    assert experiment.get_trial(uid=str(caught.value.facts["id"])) == experiment.trial(0)
    with pytest.raises(DuplicateTrialError) as caught:
        experiment.register_trials([{"x": 2}, {"x": 1}, {"x": 3}])
    assert (caught.value.facts["indexes"], caught.value.facts["params"]) == ([1], {"x": 1})
    assert len(experiment) == 1
    experiment.register_trial({"x": 1.0})
    experiment.register_trial({"x": 1}, fidelity={"epochs": 2})
    assert len(experiment) == 3


@pytest.mark.parametrize("number", [1, -1, 10**30, "0" * 32, 1.5])
def test_an_unknown_trial(experiment: ts.Experiment, trial: ts.Trial, folder: str, number: Any) -> None:
    error = refuses(folder, TrialNotFoundError, lambda: experiment.trial(number), "tune-redis")
    assert isinstance(number, str) or "numbers go from 0 to 0" in str(error)


# Ending


def picture(experiment: ts.Experiment) -> Any:
    return [
        experiment.counts,
        [(t.number, t.status, dict(t.metrics), t.attempts) for t in experiment.trials()],
        experiment.metrics().collect().rows(),
        experiment.status_history().collect().rows(),
    ]


@pytest.mark.parametrize(
    ("metrics", "texts"),
    [
        ({"latency_ms": 1.0}, ["'ops' is missing", "declared are 'latency_ms', 'ops'", "still RUNNING"]),
        ({"latency_ms": 1.0, "ops": 1, "opps": 2}, ["'opps' was not declared; did you mean 'ops'?"]),
        (
            {"latency_ms": "fast", "ops": None},
            ["'latency_ms' is not a number but str", "'ops' is not a number but NoneType"],
        ),
        ({"latency_ms": True, "ops": 1}, ["'latency_ms' is not a number but bool"]),
        ({}, ["'latency_ms' is missing", "'ops' is missing"]),
    ],
)
def test_metrics_that_do_not_fit(
    experiment: ts.Experiment, trial: ts.Trial, folder: str, metrics: dict[str, Any], texts: list[str]
) -> None:
    refuses(folder, InvalidMetricsError, lambda: trial.success(**metrics), *texts)
    assert trial.status is ts.Status.RUNNING
    assert experiment.trial(0).status is ts.Status.RUNNING
    trial.success(latency_ms=math.nan, ops=math.inf)
    assert experiment.trial(0).metrics["ops"] == math.inf


def test_failing_may_leave_metrics_out_but_not_make_them_up(
    experiment: ts.Experiment, trial: ts.Trial, folder: str
) -> None:
    refuses(folder, InvalidMetricsError, lambda: trial.fail(loss=1), "'loss' was not declared")
    report = trial.fail(ops=1)
    assert report.values == {"ops": 1}
    assert report.metrics == {"latency_ms": float("inf"), "ops": 1}


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("handle", ["same", "stale"])
def test_finishing_twice(experiment: ts.Experiment, trial: ts.Trial, handle: str, flushed: bool) -> None:
    stale = experiment.trial(0)
    trial.success(latency_ms=1, ops=2)
    if flushed:
        experiment.flush()
    before = picture(experiment)
    again = trial if handle == "same" else stale
    for end in (lambda: again.success(latency_ms=9, ops=9), again.fail, again.crashed, again.cancel, again.prune):
        with pytest.raises(TransitionError, match="trial has already finished"):
            end()
    with pytest.raises(TransitionError):
        trial.report(latency_ms=1)
    with pytest.raises(TransitionError), trial.begin():
        pass
    assert picture(experiment) == before


def test_finishing_after_the_lease_was_lost(experiment: ts.Experiment, trial: ts.Trial, folder: str) -> None:
    with ts.open(folder) as other:
        other["tune-redis"].trial(0).interrupt("lease ran out")
        again = other["tune-redis"].reserve_trial()
        assert again is not None
        with pytest.raises(
            LostTrialError, match=r"no longer owned[\s\S]*attempt=1 current_attempt=2[\s\S]*hint: its lease"
        ):
            trial.success(latency_ms=1, ops=1)
        assert experiment.trial(0).status is ts.Status.RUNNING
        assert experiment.trial(0).metrics == {}
        again.success(latency_ms=2, ops=2)
        assert experiment.trial(0).attempts[0]["late"]["metrics"] == {"latency_ms": 1, "ops": 1}


def test_steps_that_are_not_allowed(experiment: ts.Experiment, folder: str) -> None:
    trial = experiment.register_trial(GOOD)
    for status in ("SUCCEEDED", "CRASHED", "PENDING"):
        with pytest.raises(TransitionError, match="cannot take this step"):
            trial.set_status(status)
    refuses(folder, InvalidStatusError, lambda: trial.set_status("suceeded"), "not a status", "hint: one of SUCCEEDED")
    refuses(folder, UsageError, lambda: trial.finish("RUNNING", {}), "not a final status", "hint: use set_status")
    assert experiment.counts == {ts.Status.PENDING: 1}


# Telemetry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAIVE = datetime(2026, 1, 1)


@pytest.mark.parametrize("count", [1, 1000])
@pytest.mark.parametrize(
    ("sample", "kind", "text"),
    [
        ((NAIVE, "cpu", 1.0), InvalidTimeError, "zone"),
        (("2026-01-01", "cpu", 1.0), InvalidTimeError, "datetime"),
        ((NOW, "", 1.0), InvalidNameError, "is empty"),
        ((NOW, "cpu", object()), UsageError, "cannot be stored exactly"),
        ((NOW, "cpu"), UsageError, "time, name and value"),
    ],
)
def test_samples_that_are_none(
    experiment: ts.Experiment, trial: ts.Trial, sample: Any, kind: type[TrialStoreError], text: str, count: int
) -> None:
    samples = [(NOW + timedelta(seconds=second), "cpu", 1.0) for second in range(count)] + [sample]
    with pytest.raises(kind, match=text):
        trial.update_telemetry("RUNNING", NOW, samples)
    assert experiment.telemetry().collect().height == 0


def test_a_naive_time_of_the_status(experiment: ts.Experiment, trial: ts.Trial, folder: str) -> None:
    refuses(
        folder,
        InvalidTimeError,
        lambda: trial.update_telemetry("READY", NAIVE, [(NOW, "cpu", 1)]),
        "time has no zone",
        "hint: pass datetime.now(timezone.utc)",
    )
    refuses(folder, InvalidTimeError, lambda: trial.report(latency_ms=1, at=NAIVE), "time has no zone")
    refuses(folder, UsageError, lambda: trial.report(latency_ms=1, step=1.5), "step must be a whole number")
    refuses(folder, UsageError, lambda: trial.report(latency_ms=1, step=2**63), "step must be a whole number")
    assert experiment.trial(0).status is ts.Status.RUNNING
    assert experiment.telemetry().collect().height == 0


def test_a_frame_without_the_columns_or_the_zone(experiment: ts.Experiment, trial: ts.Trial) -> None:
    frames = [
        pl.DataFrame({"at": [NOW], "name": ["cpu"]}),
        pl.DataFrame({"at": [NAIVE], "name": ["cpu"], "value": [1.0]}),
        pl.DataFrame({"at": ["x"], "name": ["cpu"], "value": [1.0]}),
    ]
    for frame in frames:
        with pytest.raises(UsageError):
            trial.update_telemetry("RUNNING", NOW, frame)
    assert experiment.telemetry().collect().height == 0


@pytest.mark.parametrize("flush", [False, True])
def test_times_far_away_and_keys_given_twice(experiment: ts.Experiment, trial: ts.Trial, flush: bool) -> None:
    times = [datetime(1, 1, 2, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)]
    for _ in range(2):
        trial.update_telemetry("RUNNING", NOW, [(at, "cpu", float(number)) for number, at in enumerate(times)])
        if flush:
            experiment.flush()
    trial.update_telemetry("RUNNING", NOW, [(times[0], "cpu", 99.0)])
    rows = experiment.telemetry(trial).sort("at").collect()
    assert rows["at"].to_list() == times
    assert rows["value"].to_list() == [0.0, 1.0, 2.0]
    experiment.compact()
    assert experiment.telemetry(trial).sort("at").collect().rows() == rows.rows()


# Artifacts, SQL, queries


def test_an_unknown_artifact(trial: ts.Trial, folder: str) -> None:
    trial.store({"config.json": {}})
    trial.artifacts()
    refuses(folder, ArtifactNotFoundError, lambda: trial.retrieve("confg.json"), "it has config.json")
    refuses(folder, ArtifactNotFoundError, lambda: trial.delete_from_storage(["config.json", "x"]), "artifact='x'")
    assert trial.retrieve("config.json") == {}


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        ("SELECT * FROM trails", ["trails", "trials", "metrics", "telemetry"]),
        ("SELECT params.hzz FROM trials", ["hzz", "params"]),
        ("SELEC 1", ["SELEC"]),
        ("SELECT nothing FROM trials", ["nothing", "status"]),
    ],
)
def test_sql_that_fails(store: ts.Store, trial: ts.Trial, folder: str, query: str, texts: list[str]) -> None:
    refuses(folder, QueryError, lambda: store.sql(query), *texts)
    assert store.sql("SELECT count(*) FROM trials").fetchall() == [(1,)]


def test_an_unknown_metric_of_best(experiment: ts.Experiment, folder: str) -> None:
    refuses(folder, UsageError, lambda: experiment.best("latency"), "no such metric", "it has latency_ms")


def test_a_time_without_zone_for_a_snapshot(store: ts.Store, experiment: ts.Experiment, folder: str) -> None:
    refuses(folder, InvalidTimeError, lambda: experiment.history(as_of=NAIVE), "time has no zone")
    refuses(folder, InvalidTimeError, lambda: store.sql("SELECT 1", as_of=NAIVE), "time has no zone")
    refuses(folder, UsageError, lambda: experiment.history(as_of=-2), "sequence number")


# A full disk


@pytest.fixture
def full() -> Iterator[tuple[ts.Store, FaultyBlobs]]:
    """A store whose disk can be filled."""
    blobs = FaultyBlobs()
    blobs.local = False
    ts.open(blobs.url).close()
    about = json.loads(blobs.read("trialstore.json"))
    store = ts.Store(Session(BlobsSpec(blobs.url), blobs, ts.Options()), about)
    yield store, blobs
    blobs.faults.plan.clear()
    store.close()


def everything(blobs: FaultyBlobs) -> dict[str, bytes]:
    return {info.key: blobs.read(info.key) for info in blobs.list("") if not info.key.startswith("leases/")}


def test_a_full_disk(full: tuple[ts.Store, FaultyBlobs]) -> None:
    store, blobs = full
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
    experiment.register_trial({"x": 1})
    trial = experiment.reserve_trial()
    assert trial is not None
    trial.report(step=1, loss=1.0)
    calls: list[Callable[[], Any]] = [
        lambda: store.create_experiment("other"),
        lambda: experiment.register_trials([{"x": x} for x in range(9)]),
        lambda: trial.success(loss=0.5),
        lambda: trial.store({"a.txt": "x"}),
        lambda: experiment.flush(),
        lambda: experiment.set_document("d", 1),
        lambda: trial.annotate(a=1),
        lambda: store.intern({"x": 1}),
    ]
    before = everything(blobs)
    for call in calls:
        blobs.faults.set("create", *["full"] * 9)
        blobs.faults.set("write", *["full"] * 9)
        with pytest.raises(StorageFullError):
            call()
    blobs.faults.plan.clear()
    assert everything(blobs) == before
    assert trial.status is ts.Status.RUNNING
    trial.success(loss=0.5)
    assert len(store) == 1
    assert len(experiment) == 1
    assert experiment.metrics().filter(pl.col("step") == 1).collect().height == 1
    assert experiment.document("d") == (0, None)


def test_a_disk_that_is_full_when_rows_are_tidied_up(
    full: tuple[ts.Store, FaultyBlobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial has finished, durably; moving its row can wait."""
    monkeypatch.setattr("trialstore.ledger.FLUSH_TRIALS", 1)
    store, blobs = full
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
    for number in range(3):
        experiment.register_trial({"x": number})
        trial = experiment.reserve_trial()
        assert trial is not None
        blobs.faults.set("write", *["full"] * (9 if number < 2 else 0))
        blobs.faults.set("create", None, *["full"] * (9 if number < 2 else 0))
        trial.success(loss=number)
        store._session.chores.rest()
        blobs.faults.plan.clear()
    assert experiment.counts == {ts.Status.SUCCEEDED: 3}
    assert experiment.history().collect().height == 3
