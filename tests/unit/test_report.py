"""A report goes to a mapping, to frames of either layout, to pandas and Arrow, and comes back the same."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trialstore as ts
from tests.support.trials import experiment_in, running
from tests.unit.test_tables_trials import AT, DICTS, GATHERED, NAMES, TEXT, TIMES
from trialstore.model.errors import InvalidStatusError, UsageError
from trialstore.model.profile import MemoryInterval, MemoryUnit, TimeInterval, TimeKind
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status

WAYS: dict[str, Callable[[ts.Report], ts.Report]] = {
    "mapping": lambda r: ts.Report.from_dict(r.to_dict()),
    "columns": lambda r: ts.Report.from_df(r.df()),
    "prefixes": lambda r: ts.Report.from_df(r.df(prefixes=True)),
    "arrow": lambda r: ts.Report.from_df(r.df().to_arrow()),
    "prefixes in arrow": lambda r: ts.Report.from_df(r.df(prefixes=True).to_arrow()),
    "pandas": lambda r: ts.Report.from_df(r.df(pandas=True)),
    "prefixes in pandas": lambda r: ts.Report.from_df(r.df(prefixes=True, pandas=True)),
}
THROUGH_ARROW = [WAYS["prefixes in arrow"], WAYS["prefixes in pandas"]]
NUMBERS = st.one_of(st.floats(), st.integers(), st.sampled_from([math.nan, math.inf, 2**70, -0.0, 1, 1.0]))
FINAL = sorted(status for status in Status if status.is_final)


@st.composite
def reports(draw: st.DrawFn) -> ts.Report:
    names = draw(st.lists(NAMES.filter(bool), unique=True, max_size=3))
    metrics = [ts.Metric(name, draw(st.booleans()), draw(st.sampled_from([None, (0, 1.5)]))) for name in names]
    gathered = draw(GATHERED)
    for kind in ("sem", "n"):
        gathered.pop(kind, None)
    rows = {row[0]: row for row in gathered.get("profiles") or []}
    record = TrialRecord(
        number=draw(st.integers(0, 2**40)),
        id="0" * 32,
        params=draw(DICTS),
        status=draw(st.sampled_from(FINAL)),
        submitted_at=AT,
        seq=draw(st.integers(0, 99)),
        name=draw(st.none() | TEXT.filter(bool)),
        attempt=draw(st.integers(0, 3)),
        worker=draw(st.none() | TEXT),
        started_at=draw(TIMES),
        ended_at=draw(TIMES),
        seed=draw(st.none() | st.integers()),
        parent=draw(st.none() | st.just(0)),
        fidelity=draw(st.none() | DICTS),
        summary=draw(st.none() | DICTS),
        attributes=draw(st.none() | DICTS),
        exception=draw(st.none() | TEXT | st.just("NA")),
        metrics={name: draw(NUMBERS) for name in draw(st.permutations(names)) if draw(st.booleans())},
        attempts=draw(st.just([]) | st.just([{"attempt": 1, "status": "INTERRUPTED"}])),
        **{
            **gathered,
            "profiles": list(rows.values()) or None,
            "storage": sorted(set(gathered.get("storage") or [])) or None,
        },
    )
    for kind in ("sem", "n"):
        noise = {name: draw(st.floats(0) | st.integers(1, 9)) for name in record.metrics if draw(st.booleans())}
        setattr(record, kind, noise or None)
    return ts.Report(record, experiment=draw(TEXT), version=draw(st.integers(1, 3)), metrics=metrics)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@given(report=reports())
@settings(max_examples=20, deadline=None)
def test_any_report_comes_back_exactly(way: Callable[[ts.Report], ts.Report], report: ts.Report) -> None:
    if way in THROUGH_ARROW and any("\0" in column for column in report.df(prefixes=True).columns):
        # Polars hands no such column on; mappings and columns without prefixes take any name.
        with pytest.raises(UsageError, match="NUL"):
            report.df(prefixes=True, pandas=True)
        return
    again = way(report)
    assert again == report
    assert repr(dict(again.metrics)) == repr(dict(report.metrics))
    assert list(again.profiles) == list(report.profiles)


@pytest.fixture
def experiment(tmp_path: Path) -> ts.Experiment:
    return experiment_in(tmp_path)


@pytest.fixture
def report(experiment: ts.Experiment) -> ts.Report:
    """A report with one of everything."""
    trial = experiment.register_trial(
        {"lr": 0.5, "kind": None, "layers": [1, (2,)]},
        name="mine",
        seed=0,
        fidelity={"epochs": 3},
        info={"asked": (1,)},
        attributes={"tag": "a"},
        reserve=True,
    )
    trial.set_trial_runner(7)
    trial.summary.update(rate=2.5, note=None)
    trial.attach_extra("plugin", {"x": [1]})
    trial.store({"a.txt": "hello"})
    with trial.begin(memory_unit="MB"), trial.profile("fit", time="process"):
        raise ValueError("näh")
    return trial.fail(loss=ts.Observation(1.5, 0.25, 10))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_report_with_everything_comes_back(report: ts.Report, way: Callable[[ts.Report], ts.Report]) -> None:
    again = way(report)
    assert again == report
    assert (again.name, again.seed, again.runner, again.status) == ("mine", 0, 7, Status.FAILED)
    assert (again.values, again.metrics) == ({"loss": 1.5}, {"loss": 1.5, "acc": -math.inf})
    assert again.observations == {"loss": ts.Observation(1.5, 0.25, 10)}
    assert (again.fidelities, again.info, again.extras) == ({"epochs": 3}, {"asked": (1,)}, {"plugin": {"x": [1]}})
    assert (again.exception, again.storage) == ("ValueError: näh", {"a.txt"})
    assert "test_report.py" in (again.traceback or "")
    assert again.memory.unit == "megabytes"
    assert repr(again.profiles) == repr(report.profiles)
    assert (again.created_at, again.reported_at) == (report.created_at, report.reported_at)


def test_a_row_of_the_history_is_a_report(experiment: ts.Experiment, report: ts.Report) -> None:
    for step in (lambda: None, experiment.flush):
        step()
        again = ts.Report.from_df(experiment.history())
        assert (again.values, again.params, again.summary) == (report.values, report.params, report.summary)
        assert repr(again.profiles) == repr(report.profiles)
        assert again.metric_defs == {}
        assert again.metrics == {"loss": 1.5}


def test_a_frame_has_the_columns_of_the_trials_table(experiment: ts.Experiment, report: ts.Report) -> None:
    columns = report.df().columns
    assert [name for name in columns if name != "metric_defs"] == experiment.history().collect().columns
    row = report.df().row(0, named=True)
    assert (row["status"], row["params"]["lr"], row["metrics"], row["seed"]) == ("FAILED", 0.5, {"loss": 1.5}, 0)


def test_prefixes_are_amltks(report: ts.Report) -> None:
    frame = report.df(prefixes=True)
    row = frame.row(0, named=True)
    wanted = {
        "name": "mine",
        "status": "fail",
        "trial_seed": 0,
        "exception": "ValueError: näh",
        "config:lr": 0.5,
        "config:kind": None,
        "fidelities:epochs": 3,
        "summary:rate": 2.5,
        "metric:loss [0.0, 1000.0] (minimize)": 1.5,
        "metric:acc (maximize)": None,
        "sem:loss": 0.25,
        "n:loss": 10,
        "memory:unit": "megabytes",
        "memory:start_rss": report.memory.start_rss,
        "time:kind": "wall",
        "time:unit": "seconds",
        "time:duration": report.time.duration,
        "profile:trial:fit:time:kind": "process",
        "profile:trial:fit:memory:diff_vms": report.profiles["trial:fit"].memory.vms_used,
    }
    assert {name: row[name] for name in wanted} == wanted
    columns = frame.columns
    assert columns.index("metric:loss [0.0, 1000.0] (minimize)") < columns.index("metric:acc (maximize)")


def test_groups_of_columns_can_be_left_out(report: ts.Report) -> None:
    groups = {"profiles": ("profile:", "time:", "memory:"), "configs": ("config:",), "summary": ("summary:",)}
    groups["metrics"] = ("metric:", "value:", "sem:", "n:")
    everything = report.df(prefixes=True).columns
    for group, prefixes in groups.items():
        there = [name for name in everything if name.startswith(prefixes)]
        assert there, group
        assert report.df(prefixes=True, **{group: False}).columns == [n for n in everything if n not in there]
    plain = report.df(profiles=False, configs=False, summary=False, metrics=False).columns
    assert set(report.df().columns) - set(plain) == {"profiles", "params", "summary", "metrics", "sem", "n"}


def test_a_pandas_frame_tells_nan_from_nothing(experiment: ts.Experiment) -> None:
    trial = running(experiment)
    trial.summary.update(nan=math.nan, none=None)
    frame = trial.success(loss=math.nan, acc=1).df(prefixes=True, pandas=True)
    assert isinstance(frame, pd.DataFrame)
    assert frame["summary:none"].isna().all()
    assert frame["metric:loss [0.0, 1000.0] (minimize)"].array[0] is not pd.NA


def test_amltks_own_frame_is_understood() -> None:
    """The columns, types and index that amltk 1.12.1 gives, for a success and for a crash."""
    frame = pd.DataFrame(
        {
            "status": ["success", "crashed"],
            "trial_seed": [math.nan, 3.0],
            "exception": ["NA", "boom"],
            "traceback": ["NA", "line 1"],
            "bucket": ["results/a", "results/b"],
            "metric:loss [0.0, 10.0] (minimize)": [0.5, math.nan],
            "metric:acc (maximize)": [1, math.nan],
            "summary:rate": [2.5, math.nan],
            "config:x": [1, 2],
            "config:kind": ["a", None],
            "profile:fit:memory:start_vms": [1.5, math.nan],
            "profile:fit:memory:end_vms": [2.5, math.nan],
            "profile:fit:memory:diff_vms": [1.0, math.nan],
            "profile:fit:memory:unit": ["kilobytes", None],
            "profile:fit:time:start": [1.0, math.nan],
            "profile:fit:time:end": [4.0, math.nan],
            "profile:fit:time:duration": [3.0, math.nan],
            "profile:fit:time:kind": ["cpu", None],
            "profile:fit:time:unit": ["seconds", None],
            "time:start": [1706255424.5, 1.0],
            "time:end": [1706255426.5, 2.0],
            "time:duration": [2.0, 1.0],
            "time:kind": ["wall", "wall"],
            "time:unit": ["seconds", "seconds"],
            "created_at": [datetime(2024, 1, 2, 3, 4, 5, 678901)] * 2,
        },
        index=pd.Index(["first", "second"], name="name"),
    ).convert_dtypes()
    first, second = (ts.Report.from_df(frame.iloc[[row]]) for row in range(2))
    assert (first.name, first.status, first.seed, first.exception) == ("first", Status.SUCCEEDED, None, None)
    assert first.values == {"loss": 0.5, "acc": 1}
    assert first.metric_defs["loss"] == ts.Metric("loss", bounds=(0, 10))
    assert (first.params, first.summary, first.attributes) == (
        {"x": 1, "kind": "a"},
        {"rate": 2.5},
        {"bucket": "results/a"},
    )
    assert first.time.duration == 2.0
    assert first.profiles["fit"].memory.vms_used == 1.0
    assert first.profiles["fit"].memory.unit is MemoryUnit.KILOBYTES
    assert first.created_at == datetime(2024, 1, 2, 3, 4, 5, 678901).astimezone(UTC)
    assert (second.status, second.seed, second.exception, second.traceback) == (Status.CRASHED, 3, "boom", "line 1")
    assert (second.values, second.metrics) == ({}, {"loss": 10.0, "acc": -math.inf})
    assert list(second.profiles) == ["trial"]
    for number, whole in enumerate((first, second)):
        row = ts.Report.from_df(frame.iloc[number])
        assert (row.name, row.status, dict(row.params)) == (whole.name, whole.status, dict(whole.params))


def test_many_reports_go_through_one_frame(experiment: ts.Experiment) -> None:
    """The layout of a history: rows that lack what others have."""
    from trialstore.reporting.prefixes import flatten, unflatten

    for number in range(6):
        trial = experiment.register_trial({"lr": float(number), **({"on": True} if number % 2 else {})}, reserve=True)
        trial.summary.update({"a": 1.5} if number % 3 else {})
        with trial.profile("fit", memory_unit="KB"):
            pass
        if number == 4:
            with trial.begin():
                pass
        trial.success(loss=1.0, acc=2.0) if number < 3 else trial.fail()
    experiment.flush()
    history = experiment.history().sort("trial").collect()
    flat = flatten(history, experiment.declared_metrics)
    assert {"config:on", "summary:a", "profile:fit:time:duration", "time:duration", "metric:acc (maximize)"} <= {
        *flat.columns
    }
    assert flat["name"].to_list() == [f"tune-{number}" for number in range(6)]
    back, metrics = unflatten(flat)
    assert metrics == experiment.declared_metrics
    for number, report in enumerate(experiment.reports()):
        assert ts.Report.from_df(flat[number]) == report
        row = ts.Report.from_df(back[number])
        assert repr(row.profiles) == repr(report.profiles)
        assert (row.params, row.values, row.summary, row.status) == (
            report.params,
            report.values,
            report.summary,
            report.status,
        )


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({}, UsageError, "has no status"),
        ({"status": "won"}, InvalidStatusError, "not a status"),
        ({"status": 3}, InvalidStatusError, "not a status"),
        ({"status": "fail", "confg": 1}, UsageError, "not a key of a report"),
        ({"status": "fail", "metric:loss": 1}, UsageError, "not the text of a metric"),
        ({"status": "fail", "metric:loss (minimize)": "a"}, UsageError, "not a number"),
        ({"status": "fail", "trial_seed": 1.5}, UsageError, "a seed must be a whole number"),
        ({"status": "fail", "time:unit": "hours"}, UsageError, "must be in seconds"),
        ({"status": "fail", "time:kind": "lunar"}, UsageError, "not a kind of time"),
        ({"status": "fail", "memory:start_rss": "a"}, UsageError, "must be a number"),
        ({"status": "fail", "created_at": 3}, UsageError, "not a time"),
        ({"status": "fail", "created_at": "soon"}, UsageError, "not a time"),
        ({"status": "fail", "extras": [1]}, UsageError, "extras of a report must be a dict"),
    ],
)
def test_a_mapping_that_is_no_report_is_refused(values: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ts.Report.from_dict(values)


def test_the_least_mapping_is_a_report() -> None:
    report = ts.Report.from_dict(
        {"status": "crashed", "metric:loss [0.0, 3.0] (minimize)": None, "trial_seed": math.nan}
    )
    assert (report.status, report.metrics, report.seed, report.number) == (Status.CRASHED, {"loss": 3.0}, None, -1)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (pl.DataFrame({"status": ["success", "fail"]}), "a report is made of one row"),
        (pl.DataFrame({"trial": [1]}), "has not the columns of a report"),
        ([1], "not a frame"),
        (pl.DataFrame({"status": ["won"], "config:x": [1]}), "not a status"),
        (pl.DataFrame({"status": ["fail"], "time:unit": ["hours"]}), "must be in seconds"),
    ],
)
def test_a_frame_that_is_no_report_is_refused(frame: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        ts.Report.from_df(frame)


def test_reports_are_equal_when_they_say_the_same(experiment: ts.Experiment, report: ts.Report) -> None:
    nan = running(experiment).success(loss=math.nan, acc=1)
    assert nan == experiment.report(1) == pickle.loads(pickle.dumps(nan))
    assert hash(nan) == hash(experiment.report(1))
    assert nan != report
    assert nan != running(experiment).success(loss=math.nan, acc=1.0)
    assert nan != "a report"


def test_a_report_never_changes(experiment: ts.Experiment, report: ts.Report) -> None:
    before = repr(report.to_dict())
    assert report.trial is not None
    experiment.trial(0).annotate(tag="b")
    report.trial.annotate(tag="c")  # type: ignore[attr-defined]
    report.trial.attach_extra("late", 1)  # type: ignore[attr-defined]
    for change in (report.params, report.values, report.metrics, report.summary, report.extras, report.attributes):
        with pytest.raises(TypeError):
            change["x"] = 1  # type: ignore[index]
    assert repr(report.to_dict()) == before
    assert experiment.report(0).attributes == {"tag": "c"}


def test_a_profile_goes_to_a_mapping_and_back() -> None:
    profile = ts.Profile(
        TimeInterval(1.5, 4.0, TimeKind.CPU),
        MemoryInterval(1.0, 2.0, 3.0, 4.0, math.nan, math.nan, MemoryUnit.KILOBYTES),
    )
    assert repr(ts.Profile.from_dict(profile.to_dict())) == repr(profile)
    assert profile.to_dict(prefix="fit")["fit:time:duration"] == 2.5
    assert profile.to_row("fit")[5:7] == [1024, 2048]
    assert repr(ts.Profile.from_dict({})) == repr(ts.Profile())
