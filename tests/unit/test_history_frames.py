"""Frames of a history come back exactly, in every form; AMLTK's own frames are understood."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trialstore as ts
from tests.support.snapshots import experiment, record
from tests.unit.test_tables_trials import DICTS, PLAIN_DICTS, spelled
from trialstore.blobs.memory import MemoryBlobs
from trialstore.model.codec import encode
from trialstore.model.identity import new_ulid
from trialstore.model.profile import MemoryInterval, MemoryUnit, Profile, TimeInterval, TimeKind
from trialstore.query.snapshot import Snapshot
from trialstore.report import Report

METRICS = (ts.Metric("loss", bounds=(0, math.inf)), ts.Metric("two words [1, 2]", minimize=False))
FORMS = [{}, {"prefixes": True}, {"pandas": True}, {"pandas": True, "prefixes": True}]

NUMBERS = st.floats() | st.integers(-(2**70), 2**70)
NAMES = st.sampled_from(["trial", "fit", "fit:inner", "a:b:c", ""])
SPANS = st.builds(
    Profile,
    st.builds(TimeInterval, st.floats(0, 2e9), st.floats(0, 2e9) | st.just(math.nan), st.sampled_from(TimeKind)),
    st.builds(MemoryInterval, *[st.integers(0, 2**40).map(float)] * 4, unit=st.none() | st.sampled_from(MemoryUnit)),
)
PROFILES = st.none() | st.lists(NAMES, unique=True, max_size=4).flatmap(
    lambda names: st.tuples(*[SPANS] * len(names)).map(
        lambda spans: [span.to_row(name) for name, span in zip(names, spans, strict=True)]
    )
)
RECORDS = st.fixed_dictionaries(
    {
        "params": DICTS | PLAIN_DICTS,
        "metrics": st.dictionaries(st.sampled_from([m.name for m in METRICS]), NUMBERS),
        "status": st.sampled_from([status for status in ts.Status if status.is_final]),
        "profiles": PROFILES,
    },
    optional={
        "summary": st.none() | DICTS,
        "fidelity": st.none() | PLAIN_DICTS,
        "sem": st.dictionaries(st.just("loss"), st.floats(0, 10), min_size=1),
        "n": st.dictionaries(st.just("loss"), st.integers(1, 2**62), min_size=1),
        "seed": st.none() | st.integers(-(2**70), 2**70),
        "name": st.sampled_from(["a", "näme", "x\x1b"]),
        "attributes": DICTS,
        "extras": DICTS,
        "info": st.none() | DICTS | st.text(max_size=3) | NUMBERS,
        "exception": st.sampled_from(["E: x", "NA", ""]),
        "storage": st.lists(st.sampled_from("abc"), unique=True, min_size=1).map(sorted),
        "parent": st.integers(0, 5),
        "worker": st.just("w"),
        "runner": st.integers(0, 9),
    },
)


def exactly(history: ts.History, *, ordered: bool = True) -> list[Any]:
    """Everything, type for type: NaN is not equal to itself, and 1 is equal to 1.0."""
    if ordered:
        return [(r.experiment, r.version, spelled([r._record]), tuple(r.metric_defs.values())) for r in history]
    return [
        (r.experiment, r.version, spelled([replace(r._record, metrics={}, sem=None, n=None)]), encode(kinds(r)))
        for r in history
    ]


def kinds(one: Report) -> list[Any]:
    return [sorted((values or {}).items()) for values in (one._record.metrics, one._record.sem, one._record.n)]


@given(st.lists(RECORDS, max_size=5))
@settings(max_examples=40, deadline=None)
def test_every_form_comes_back_exactly(fields: list[dict[str, Any]]) -> None:
    reports = [
        Report(record(n, ended_at="2026-11-21T01:02:03.123456Z", **more), experiment="é", version=2, metrics=METRICS)
        for n, more in enumerate(fields)
    ]
    history = ts.History(reports)
    assert list(history) == reports
    for form in FORMS:
        again = ts.History.from_df(history.df(**form))
        ordered = "prefixes" not in form  # there, metrics stand in the order of their definitions
        assert exactly(again, ordered=ordered) == exactly(history, ordered=ordered), form
        assert again == history


@given(st.lists(st.lists(PLAIN_DICTS, min_size=1, max_size=3), min_size=1, max_size=3), st.lists(DICTS, max_size=2))
@settings(max_examples=25, deadline=None)
def test_parts_of_different_types_give_back_what_was_written(parts: list[list[Any]], live: list[Any]) -> None:
    blobs = MemoryBlobs(new_ulid())
    records = [
        [record(len(parts) * place + index, params, summary={}) for place, params in enumerate(part)]
        for index, part in enumerate(parts)
    ]  # parts that interleave
    live_records = [record(90 + n, params) for n, params in enumerate(live)]
    exp = experiment(blobs, trials=records, live_trials=live_records)
    exp.metadata["metrics"] = []  # type: ignore[index]
    history = ts.History.of(Snapshot(blobs, [exp]))
    written = sorted([*(r for part in records for r in part), *live_records], key=lambda r: r.number)
    assert spelled([report._record for report in history]) == spelled(written)
    assert exactly(ts.History.from_df(history.df())) == exactly(history)


@pytest.fixture
def history() -> ts.History:
    with ts.open(f"memory://{new_ulid()}") as store:
        exp = store.create_experiment("e", metrics=METRICS)
        for k in range(3):
            trial = exp.register_trial({"lr": 0.1 * k, "kind": "a"}, seed=k, fidelity={"epochs": k}, reserve=True)
            with trial.begin(), trial.profile("fit", memory_unit="MB"):
                trial.summary["size"] = k
            trial.success(loss=k, **{"two words [1, 2]": ts.Observation(0.5, sem=0.1, n=4)})
        return ts.History.from_reports(exp.reports())


def test_prefixed_columns_are_those_of_the_reports(history: ts.History) -> None:
    frame = history.df(prefixes=True)
    one = history[1].df(prefixes=True)
    assert frame.columns == one.columns
    assert frame[1].rows() == one.rows()
    assert {
        "config:lr",
        "metric:loss [0.0, inf] (minimize)",
        'metric:"two words [1, 2]" (maximize)',
        "summary:size",
        "fidelities:epochs",
        "time:duration",
        "profile:trial:fit:memory:start_vms",
        "sem:two words [1, 2]",
    } <= set(frame.columns)
    assert frame["profile:trial:fit:memory:unit"].to_list() == ["megabytes"] * 3
    assert pl.concat([report.df() for report in history]).equals(history.df())


def test_groups_of_columns_can_be_left_out(history: ts.History) -> None:
    for form in FORMS:
        small = history.df(**form, profiles=False, configs=False, summary=False, metrics=False)
        gone = ("config:", "metric:", "sem:", "summary:", "time:")
        assert not [name for name in small.columns if name.startswith(gone)]
        assert not {"params", "metrics", "sem", "n", "profiles", "summary"} & set(small.columns)
        assert len(ts.History.from_df(small)) == 3


def test_times_can_count_from_the_first_start(history: ts.History) -> None:
    start = history[0].time.start
    shifted = ts.History.from_df(history.df(normalize_time=True))
    assert shifted[0].time.start == 0.0
    assert shifted[2].profiles["trial:fit"].time.end == history[2].profiles["trial:fit"].time.end - start
    assert ts.History.from_df(history.df(normalize_time=start - 5))[0].time.start == 5.0
    assert history.df(normalize_time=True).drop("profiles").equals(history.df().drop("profiles"))
    plain = ts.History([Report(record(0), experiment="e")])
    assert plain.df(normalize_time=True).equals(plain.df())


def test_what_polars_shows_of_the_experiment_is_taken_too() -> None:
    with ts.open(f"memory://{new_ulid()}") as store:
        exp = store.create_experiment("e", metrics=METRICS[:1])
        exp.register_trial({"x": 1}, reserve=True).success(loss=0.5)
        frame = exp.history()
        history = ts.History.from_df(frame, metrics=METRICS[:1])
        assert history == ts.History.of(exp)
        assert history.best("loss") == exp.report(0)
        assert ts.History.from_df(frame.collect().to_arrow(), METRICS[:1]) == history


def test_frames_of_amltk_are_understood() -> None:
    made = pd.DataFrame(
        {
            "status": ["success", "fail", "crashed"],
            "trial_seed": [1, None, 3],
            "exception": ["NA", "NA", "boom"],
            "traceback": ["NA", "NA", "line 1"],
            "bucket": ["b0", "b1", 'b"2'],
            "created_at": pd.to_datetime(["2026-01-01 00:00:00.5"] * 3),
            "reported_at": pd.to_datetime(["2026-01-01 00:00:01"] * 3),
            "metric:loss [0.0, inf] (minimize)": [0.5, None, None],
            "config:lr": [0.1, 0.2, 0.3],
            "time:start": [1.0, 2.0, None],
            "time:end": [2.0, 4.0, None],
            "time:kind": ["wall", "wall", None],
            "time:unit": ["seconds", "seconds", None],
        },
        index=pd.Index(["t0", "t1", "t2"], name="name"),
    ).convert_dtypes()
    history = ts.History.from_df(made)
    one, two, three = history
    assert [r.status.name for r in history] == ["SUCCEEDED", "FAILED", "CRASHED"]
    assert (one.name, one.seed, one.exception, dict(one.values)) == ("t0", 1, None, {"loss": 0.5})
    assert (two.seed, two.params["lr"], two.time.duration) == (None, 0.2, 2.0)
    assert (three.exception, three.traceback, three.attributes["bucket"], dict(three.profiles)) == (
        "boom",
        "line 1",
        'b"2',
        {},
    )
    assert history.best() == one
    assert history.find("t1") == two
    assert one.created_at == datetime(2026, 1, 1, 0, 0, 0, 500_000).astimezone(UTC)
    for index, expected in enumerate(history):
        alone = Report.from_df(made.iloc[[index]])
        assert alone == expected


def test_a_frame_that_is_none_of_a_history_is_refused() -> None:
    whole = {"status": ["SUCCEEDED"], "trial": [0]}
    assert len(ts.History.from_df(pl.DataFrame(whole))) == 1
    for frame, message in (
        (pl.DataFrame({"trial": [0]}), "not the columns of a history"),
        (pl.DataFrame({**whole, "stauts": ["x"]}), r"not a column of a history(.|\n)*did you mean 'status'"),
        (pl.DataFrame({**whole, "status": ["DONE"]}), "not a status"),
        (pl.DataFrame({**whole, "params": [{"x": [1]}]}), r"has no place in a trial(.|\n)*params.x"),
        (pl.DataFrame({**whole, "seed": ["abc"]}), "type that no trial has"),
        ({"status": ["SUCCEEDED"]}, "not a frame"),
    ):
        with pytest.raises(ts.TrialStoreError, match=message):
            ts.History.from_df(frame)


def test_an_empty_history_has_a_frame() -> None:
    for form in FORMS:
        frame = ts.History().df(**form)
        assert len(frame) == 0
        assert len(ts.History.from_df(frame)) == 0
    assert isinstance(ts.History().df(), pl.DataFrame)
    assert isinstance(ts.History().df(pandas=True), pd.DataFrame)
    assert pa.table(ts.History().df().to_arrow()).num_rows == 0
