"""A history ranks, filters, sorts and groups as a loop over its reports would."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trialstore as ts
from tests.support.snapshots import record
from trialstore.model.identity import new_ulid
from trialstore.model.times import format_time
from trialstore.report import Report

LOSS, GAIN, COST = ts.Metric("loss"), ts.Metric("gain", minimize=False), ts.Metric("cost")
NAN, INF = math.nan, math.inf


@pytest.fixture
def exp(tmp_path: Path) -> Iterator[ts.Experiment]:
    """Ten trials in parts and in the journal: NaN first, ties, failures, one that still runs and one that waits."""
    with ts.open(tmp_path) as store:
        exp = store.create_experiment("exp", metrics=[LOSS, GAIN])
        results = [NAN, 3, 2.0, 5.0, 2.0, None, 1.0, INF]
        for index, loss in enumerate(results):
            trial = exp.register_trial({"x": index, "kind": "ab"[index % 2]}, name=f"t{index}", reserve=True)
            if loss is None:
                trial.fail(loss=-100.0)
            else:
                trial.success(loss=loss, gain=index % 3)
            if index == 3:
                exp.flush()
        exp.register_trial({"x": 8}, reserve=True)
        exp.register_trial({"x": 9})
        yield exp


def report(number: int, metrics: dict[str, Any], defined: Any = (LOSS, GAIN, COST), **more: Any) -> Report:
    ended = format_time(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number))
    return Report(record(number, metrics=metrics, ended_at=ended, **more), experiment="e", metrics=defined)


def numbers(history: ts.History) -> list[int]:
    return [report.number for report in history]


def test_it_has_the_reports_of_an_experiment_in_order(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    assert len(history) == 8
    assert list(history) == list(exp.reports())
    assert history.reports == list(history)
    assert list(history.metrics.values()) == [LOSS, GAIN]
    assert repr(history) == "<History of 8 reports, metrics loss, gain>"


def test_it_never_changes_while_the_experiment_does(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    seq = exp.snapshot().experiments[0].seq
    exp.register_trial({"x": 10}, reserve=True).success(loss=0.0, gain=0)
    assert len(history) == 8
    assert len(ts.History.of(exp)) == 9
    assert ts.History.of(exp, seq) == history == ts.History.of(exp.snapshot(seq))
    with pytest.raises(ts.TrialStoreError, match="snapshot has its time already"):
        ts.History.of(exp.snapshot(), seq)


def test_names_of_artifacts_are_in_storage(exp: ts.Experiment) -> None:
    trial = exp.register_trial({"x": 11}, reserve=True)
    trial.store({"b.txt": "1", "a.txt": "2"})
    trial.store({"c.txt": "3"}, where=lambda name, items: None)
    made = trial.success(loss=0.0, gain=0)
    history = ts.History.of(exp)
    assert history[-1].storage == {"a.txt", "b.txt", "c.txt"}
    assert history.best("loss") == made == history.find(trial.number) == history.filter(pl.col("trial") > 8)[0]
    assert ts.History.from_df(history.df())[-1].storage == history[-1].storage


def test_nan_is_never_best_and_of_equal_values_the_earlier_is(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    best = history.best("loss")
    assert isinstance(best, Report)
    assert best.number == 6
    assert history.filter(pl.col("trial") < 6).best(LOSS) == history.find("t2")
    gain = history.best("gain")
    assert gain is not None
    assert gain.number == 2
    only_nan = history.filter(pl.col("trial") == 0)
    assert only_nan.best("loss") is None
    assert history.filter(pl.col("status") == "FAILED").best("loss") is None
    assert best.number == exp.best().number  # type: ignore[union-attr]


def test_integers_are_compared_exactly() -> None:
    history = ts.History([report(n, {"loss": 2**62 + n}) for n in (3, 1, 2)])
    assert history.best("loss").number == 1  # type: ignore[union-attr]
    assert numbers(history.incumbents("loss")) == [1]
    assert numbers(ts.History([report(n, {"gain": -(2**63) + n}) for n in (0, 2, 1)]).best("gain", "gain")) == [2]  # type: ignore[arg-type]


VALUES = st.sampled_from([NAN, INF, -INF, 0.0, -0.0, 1.0, 2.0, -1.5, 2, 3, None])


def loss_of(one: Report, metric: ts.Metric) -> float | None:
    value = one.values.get(metric.name)
    if one.status is not ts.Status.SUCCEEDED or value is None or math.isnan(value):
        return None
    return float(value) if metric.minimize else -float(value)


@given(st.lists(st.tuples(st.booleans(), VALUES, VALUES, VALUES), max_size=25), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_rankings_are_those_of_a_loop(rows: list[Any], count: int) -> None:
    metrics = [LOSS, GAIN, COST][:count]
    reports = []
    for number, (succeeded, *values) in enumerate(rows):
        known = {m.name: v for m, v in zip((LOSS, GAIN, COST), values, strict=True) if v is not None}
        reports.append(report(number, known, status=ts.Status.SUCCEEDED if succeeded else ts.Status.FAILED))
    history = ts.History(reports)
    points = {r.number: [loss_of(r, m) for m in metrics] for r in reports}
    whole = {n: tuple(p) for n, p in points.items() if None not in p}
    # best
    losses = {n: p[0] for n, p in points.items() if p[0] is not None}
    best = min(losses, key=lambda n: (losses[n], n)) if losses else None
    found = history.best("loss") if reports else None
    assert (found and found.number) == best
    # the front
    front = [
        n
        for n, p in whole.items()
        if not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in whole.values())
        and not any(q == p and m < n for m, q in whole.items())
    ]
    if len(metrics) > 1 and reports:
        assert numbers(history.best(*(m.name for m in metrics))) == front  # type: ignore[call-overload]
    # incumbents
    steps, at_each, lowest = [], [], None
    for r in reports:
        value = points[r.number][0]
        if value is not None and (lowest is None or value < lowest):
            lowest = value
            steps.append(r.number)
        at_each.append(steps[-1] if steps else None)
    if reports:
        assert numbers(history.incumbents("loss")) == steps
        assert numbers(history.incumbents("loss", ffill=True)) == [n for n in at_each if n is not None]
        assert history.trace("loss")["best_trial"].to_list() == at_each


def test_several_metrics_give_a_front_also_by_default(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    front = history.best()
    assert isinstance(front, ts.History)
    assert numbers(front) == [2, 6]
    single = ts.History([report(0, {"loss": 1.0}, [LOSS])]).best()
    assert isinstance(single, Report)
    with pytest.raises(ts.TrialStoreError, match="no metrics"):
        ts.History().best()
    with pytest.raises(ts.TrialStoreError, match=r"no such metric(.|\n)*it has loss"):
        history.best("lsos")


def test_a_large_front_in_three_metrics() -> None:
    places = [(n % 40, n // 40) for n in range(1600)]
    rows = [{"loss": float(x), "gain": float(y), "cost": float(abs(x - y))} for x, y in places]
    front = ts.History([report(n, row) for n, row in enumerate(rows)]).best("loss", "gain", "cost")
    assert numbers(front) == [n for n, (x, y) in enumerate(places) if x <= y]


def test_incumbents_by_another_order_and_by_a_function(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    assert numbers(history.incumbents("loss")) == [1, 2, 6]
    assert numbers(history.incumbents("loss", sortby="params.x", reverse=True)) == [7, 6]
    assert numbers(history.incumbents("loss", sortby="gain")) == [2, 6]
    better = history.incumbents(lambda a, b: a.params["kind"] > b.params["kind"], ffill=True)
    assert numbers(better) == [0, 1, 1, 1, 1, 1, 1, 1]
    by_function = history.incumbents(lambda a, b: a.number < b.number, sortby=lambda r: -r.number)
    assert numbers(by_function) == [7, 6, 5, 4, 3, 2, 1, 0]


def test_the_trace_tells_who_was_best_and_when(exp: ts.Experiment) -> None:
    trace = ts.History.of(exp).trace("loss")
    assert trace.columns == ["experiment", "trial", "ended_at", "value", "best_trial", "best"]
    assert trace["value"].to_list() == [None, 3.0, 2.0, 5.0, 2.0, None, 1.0, INF]
    assert trace["best_trial"].to_list() == [None, 1, 2, 2, 2, 2, 6, 6]
    assert trace["best"].to_list() == [None, 3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]
    assert trace["ended_at"].is_sorted()


def test_sorting_puts_the_best_first_and_nan_last(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    assert numbers(history.sortby("loss")) == [5, 6, 2, 4, 1, 3, 7, 0]
    assert numbers(history.sortby("loss", reverse=True)) == [7, 3, 1, 2, 4, 6, 5, 0]
    assert numbers(history.sortby("gain"))[:2] == [2, 1]
    assert 5 not in numbers(history.sortby("gain"))  # it has no value
    assert numbers(history.sortby("params.kind")) == [0, 2, 4, 6, 1, 3, 5, 7]
    assert numbers(history.sortby(-pl.col("trial"))) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert numbers(history.sortby(lambda r: (r.params["kind"], -r.number))) == [6, 4, 2, 0, 7, 5, 3, 1]
    with pytest.raises(ts.TrialStoreError, match=r"no such column(.|\n)*did you mean 'params.kind'"):
        history.sortby("params.knd")


def test_filters_by_expressions_and_by_functions_agree(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    lazily = history.filter((pl.col("status") == "SUCCEEDED") & (pl.col("params").struct.field("x") > 2))
    looped = history.filter(lambda r: r.status is ts.Status.SUCCEEDED and r.params["x"] > 2)
    assert lazily == looped
    assert numbers(lazily) == [3, 4, 6, 7]
    assert list(lazily.metrics) == ["loss", "gain"]


def test_an_expression_that_does_not_fit_is_told_at_once(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    for call in (history.filter, history.sortby, history.groupby):
        with pytest.raises(ts.TrialStoreError, match=r"expression does not fit a history(.|\n)*lossy"):
            call(pl.col("lossy") > 1)


def test_a_damaged_file_is_told_as_one(tmp_path: Path) -> None:
    with ts.open(tmp_path) as store:
        exp = store.create_experiment("e", metrics=[LOSS])
        exp.register_trial({}, reserve=True).success(loss=1.0)
        exp.flush()
        history = ts.History.of(exp)
        for file in tmp_path.glob("trials/*/*.parquet"):
            file.write_bytes(b"PAR1 nothing")
        looks = (history.best, lambda: len(history), lambda: list(history), lambda: history.sortby("loss")[0])
        for look in (*looks, lambda: history.incumbents("loss")):
            with pytest.raises(ts.errors.DamagedError):
                look()


def test_groups_by_a_column_an_expression_and_a_function_agree(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    groups = history.groupby("status")
    assert {status: numbers(group) for status, group in groups.items()} == {
        ts.Status.SUCCEEDED: [0, 1, 2, 3, 4, 6, 7],
        ts.Status.FAILED: [5],
    }
    assert all(isinstance(status, ts.Status) for status in groups)
    by_field = history.groupby("params.kind")
    assert by_field == history.groupby(lambda r: r.params["kind"])
    assert by_field == history.groupby(pl.col("params").struct.field("kind"))
    assert {kind: numbers(group) for kind, group in by_field.items()} == {"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]}
    with pytest.raises(ts.TrialStoreError, match="lists or structs"):
        history.groupby("params")


def test_it_is_a_sequence(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    every = list(history)
    assert history[0] == every[0]
    assert history[-1] == every[-1]
    assert history["t3"] == every[3]
    for part in (slice(2, 5), slice(None, None, -2), slice(-3, None), slice(5, 2)):
        assert list(history[part]) == every[part]
    for outside in (8, -9):
        with pytest.raises(IndexError):
            history[outside]
    assert every[2] in history
    assert "t3" in history
    assert every[3].id in history
    assert 7 in history
    assert 8 not in history  # it has not ended
    assert "t9" not in history
    assert None not in history
    assert Report(record(2), experiment="exp") not in history


def test_finding_tells_near_names_and_takes_the_last_of_a_name() -> None:
    history = ts.History([report(n, {"loss": 1.0}, name="twice" if n < 2 else None) for n in range(3)])
    assert history.find("twice").number == 1
    assert history.find("e-2").number == 2
    with pytest.raises(ts.TrialStoreError, match=r"no report of this trial(.|\n)*did you mean 'twice'"):
        history.find("twiec")


def test_adding_keeps_what_was_there_and_refuses_another_meaning() -> None:
    history = ts.History()
    assert len(history) == 0
    assert list(history) == []
    history.add(report(0, {"loss": 1.0}, [LOSS]))
    history.add([report(1, {"loss": 2, "gain": 5}), report(2, {"cost": 0.5}, [COST])])
    assert numbers(history) == [0, 1, 2]
    assert list(history.metrics) == ["loss", "gain", "cost"]
    history.add(report(3, {"loss": 0.5}, [LOSS]))
    assert history.best("loss").number == 3  # type: ignore[union-attr]
    with pytest.raises(ts.TrialStoreError, match="two trials mean different things by one metric"):
        history.add(report(4, {"loss": 9}, [ts.Metric("loss", minimize=False)]))
    with pytest.raises(ts.TrialStoreError, match="a history holds reports"):
        history.add([report(4, {}), "no report"])  # type: ignore[list-item]
    assert len(history) == 4


def test_a_store_of_several_experiments_has_one_history(exp: ts.Experiment) -> None:
    with ts.open(f"memory://{new_ulid()}") as store:
        for name, direction in (("a", True), ("b", True)):
            one = store.create_experiment(name, metrics=[ts.Metric("loss", minimize=direction)])
            one.register_trial({"x": 1}, reserve=True).success(loss=1)
            one.register_trial({"x": 1.5}, reserve=True).success(loss=0.5)
        history = ts.History.of(store)
        assert [(r.experiment, r.number, r.values["loss"]) for r in history] == [
            ("a", 0, 1),
            ("a", 1, 0.5),
            ("b", 0, 1),
            ("b", 1, 0.5),
        ]
        assert history.best().experiment == "a"  # type: ignore[union-attr]
        store.create_experiment("c", metrics=[ts.Metric("loss", minimize=False)])
        with pytest.raises(ts.TrialStoreError, match="two trials mean different things"):
            ts.History.of(store)
    with ts.open(f"memory://{new_ulid()}") as empty:
        assert len(ts.History.of(empty)) == 0


def test_names_that_no_column_holds_are_ranked_too() -> None:
    odd = [ts.Metric("Loss"), ts.Metric("loss"), ts.Metric("_"), ts.Metric("a\0b")]
    rows = [{"Loss": 3.0, "loss": 1, "_": 2**70, "a\0b": 2}, {"Loss": 1.0, "loss": 2.0, "_": 0.5, "a\0b": NAN}]
    with ts.open(f"memory://{new_ulid()}") as store:
        exp = store.create_experiment("e", metrics=odd)
        for row in rows:
            exp.register_trial({}, reserve=True).success(**row)
        history = ts.History.of(exp)
        best = {m.name: history.best(m).number for m in odd}  # type: ignore[union-attr]
        assert best == {m.name: exp.best(m.name).number for m in odd}  # type: ignore[union-attr]
        assert best == {"Loss": 1, "loss": 0, "_": 1, "a\0b": 0}
        exp.register_trial({}, reserve=True).fail(loss=-1.0)
        assert numbers(ts.History.of(exp).sortby("Loss")) == [1, 0]  # what failed has only the other
        assert numbers(ts.History.of(exp).sortby("loss")) == [2, 0, 1]


def test_it_travels_to_another_process(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    assert pickle.loads(pickle.dumps(history)) == history
    with pytest.raises(TypeError):
        hash(history)
    assert history != 3
    assert history != ts.History.of(exp)[1:]


def test_a_history_reads_only_what_is_asked(exp: ts.Experiment) -> None:
    history = ts.History.of(exp)
    found = history.filter(pl.col("trial") > 1).sortby("trial").best("loss")
    assert found is not None
    assert found.number == 6
    assert len(history) == 8
    assert history._rows is None  # it was never read as a whole


@pytest.mark.parametrize("kind", [dict, str])
def test_a_history_is_of_something_that_can_be_frozen(kind: type) -> None:
    with pytest.raises(ts.TrialStoreError, match="history is of an experiment"):
        ts.History.of(kind())
