from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trialstore as ts
from trialstore.model.identity import new_ulid
from trialstore.query.student import NORMAL, T_QUANTILES, t_quantile_sql

LOSS, COST = ts.Metric("loss"), ts.Metric("cost", minimize=False)


@pytest.fixture
def store() -> Iterator[ts.Store]:
    with ts.open(f"memory://{new_ulid()}") as store:
        yield store


def rows_of(source: ts.Experiment | ts.Store, where: str = "true") -> list[dict[str, Any]]:
    query = f"SELECT * FROM repeats WHERE {where} ORDER BY experiment, version, first_trial, metric"
    rows: list[dict[str, Any]] = source.sql(query).pl().to_dicts()
    return rows


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low if low == high else low + (high - low) * (place - math.floor(place))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "FAILED"]),
            st.floats(-1e6, 1e6, width=32) | st.just(math.nan),
        ),
        min_size=1,
        max_size=60,
    )
)
@settings(max_examples=25, deadline=None)
def test_each_statistic_is_that_of_the_standard_library(trials: list[tuple[int, str, float]]) -> None:
    with ts.open(f"memory://{new_ulid()}") as store:
        exp = store.create_experiment("e", metrics=[LOSS])
        exp.import_trials({"params": {"x": x}, "status": s, "metrics": {"loss": v}} for x, s, v in trials)
        groups = defaultdict(list)
        for number, (x, status, value) in enumerate(trials):
            groups[x].append((number, status, value))
        found = {row["params"]["x"]: row for row in rows_of(exp)}
        exp.snapshot().close()
    assert found.keys() == groups.keys()
    for x, members in groups.items():
        row = found[x]
        seen = [value for _, status, value in members if status == "SUCCEEDED" and not math.isnan(value)]
        assert row["trials"] == len(members)
        assert row["first_trial"] == members[0][0]
        assert row["n"] == len(seen)
        assert row["nan"] == sum(status == "SUCCEEDED" and math.isnan(value) for _, status, value in members)
        assert row["statuses"]["failed"] == sum(status == "FAILED" for _, status, _ in members)
        assert sum(row["statuses"].values()) == len(members)
        if not seen:
            assert {row[name] for name in ("mean", "stddev", "sem", "ci_low", "median", "min", "max")} == {None}
            continue
        close = {"rel": 1e-9, "abs": 1e-6}
        assert row["mean"] == pytest.approx(statistics.fmean(seen), **close)
        assert (row["min"], row["max"]) == (min(seen), max(seen))
        for name, share in (("p25", 0.25), ("median", 0.5), ("p75", 0.75), ("p90", 0.9), ("p99", 0.99)):
            assert row[name] == pytest.approx(quantile(seen, share), **close)
        if len(seen) == 1:
            assert (row["stddev"], row["sem"], row["ci_low"], row["ci_high"]) == (None,) * 4
            continue
        deviation = statistics.stdev(seen)
        assert row["stddev"] == pytest.approx(deviation, **close)
        assert row["sem"] == pytest.approx(deviation / math.sqrt(len(seen)), **close)
        half = duckdb.sql(f"SELECT {t_quantile_sql(str(len(seen) - 1))}").fetchall()[0][0] * row["sem"]
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((row["mean"] - half, row["mean"] + half), **close)


def student_share(t: float, freedom: int) -> float:
    """The share of Student's t distribution below t, by Simpson's rule on the density."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    steps = 20_000
    width = t / steps

    def density(x: float) -> float:
        return (1 + x * x / freedom) ** (-(freedom + 1) / 2)

    inner = sum((4 if i % 2 else 2) * density(i * width) for i in range(1, steps))
    return 0.5 + scale * width / 3 * (density(0) + density(t) + inner)


@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 29, 30, 31, 40, 100, 1000])
def test_the_interval_is_students(freedom: int) -> None:
    ((half,),) = duckdb.sql(f"SELECT {t_quantile_sql(str(freedom))}").fetchall()
    assert student_share(half, freedom) == pytest.approx(0.975, abs=3e-9)


def test_the_quantiles_fall_towards_the_normal_ones() -> None:
    assert pytest.approx(statistics.NormalDist().inv_cdf(0.975), abs=1e-15) == NORMAL
    assert all(a > b for a, b in itertools.pairwise(T_QUANTILES))
    assert T_QUANTILES[0] == pytest.approx(math.tan(math.pi * 0.475), rel=1e-14)
    ((far,),) = duckdb.sql(f"SELECT {t_quantile_sql('1000000000')}").fetchall()
    assert far == pytest.approx(NORMAL, abs=1e-8)


def test_fidelity_tells_groups_apart_and_trials_that_did_not_succeed_are_counted(store: ts.Store) -> None:
    exp = store.create_experiment("e", metrics=[LOSS])
    for loss, seconds in ((1.0, 3), (2.0, 3), (9.0, 30), (4.0, None)):
        fidelity = None if seconds is None else {"seconds": seconds}
        exp.register_trial({"x": 1}, fidelity=fidelity, reserve=True).success(loss=loss)
    exp.register_trial({"x": 1}, fidelity={"seconds": 3}, reserve=True).fail(loss=100.0)
    exp.register_trial({"x": 1}, fidelity={"seconds": 3})
    first, long, plain = rows_of(exp)
    assert (first["fidelity"], first["n"], first["mean"], first["trials"]) == ({"seconds": 3}, 2, 1.5, 4)
    assert {name: n for name, n in first["statuses"].items() if n} == {"pending": 1, "succeeded": 2, "failed": 1}
    assert (long["fidelity"], long["mean"]) == ({"seconds": 30}, 9.0)
    assert (plain["mean"], plain["id"]) == (4.0, first["id"])


@pytest.mark.parametrize(
    "move", [lambda exp: None, ts.Experiment.flush, ts.Experiment.compact], ids=["live", "parts", "one"]
)
def test_every_metric_of_an_experiment_has_a_row_and_no_other(store: ts.Store, move: Callable[[Any], object]) -> None:
    one = store.create_experiment("one", metrics=[LOSS, COST])
    two = store.create_experiment("two", metrics=[ts.Metric("speed")])
    none = store.create_experiment("none")
    store.create_experiment("empty", metrics=[LOSS])
    one.register_trial({"x": 1}, reserve=True).success(loss=1.0, cost=2)
    one.register_trial({"y": "a"}, reserve=True).crashed("oh")
    two.register_trial({"x": 1}, reserve=True).success(speed=3)
    none.register_trial({"x": 1}, reserve=True).success()
    for exp in (one, two, none):
        move(exp)
    shown = [(r["experiment"], r["first_trial"], r["metric"], r["n"], r["mean"]) for r in rows_of(store)]
    assert shown == [
        ("none", 0, None, 0, None),
        ("one", 0, "cost", 1, 2.0),
        ("one", 0, "loss", 1, 1.0),
        ("one", 1, "cost", 0, None),
        ("one", 1, "loss", 0, None),
        ("two", 0, "speed", 1, 3.0),
    ]
    assert rows_of(store, "experiment = 'one' AND params.y = 'a' AND metric = 'loss'")[0]["statuses"]["crashed"] == 1


def test_values_that_a_column_cannot_hold_count_all_the_same(store: ts.Store) -> None:
    names = ["loss", "Loss", "$x", "a'b\"c", "_"]
    exp = store.create_experiment("e", metrics=[ts.Metric(name) for name in names])
    for k in (0, 2):
        values = {name: index + k for index, name in enumerate(names)}
        exp.register_trial({"x": 1}, reserve=True).success(**{**values, "_": 2**70})
    found = {row["metric"]: row["mean"] for row in rows_of(exp)}
    assert found == {"loss": 1.0, "Loss": 2.0, "$x": 3.0, "a'b\"c": 4.0, "_": float(2**70)}


def test_infinities_follow_the_rules_of_floating_point(store: ts.Store) -> None:
    exp = store.create_experiment("e", metrics=[LOSS])
    for x, values in ((1, (1.0, math.inf)), (2, (math.inf, -math.inf)), (3, (math.inf, math.inf, math.nan))):
        for value in values:
            exp.register_trial({"x": x}, reserve=True).success(loss=value)
    one, two, three = rows_of(exp)
    assert (one["n"], one["nan"], one["mean"], one["min"], one["max"]) == (2, 0, math.inf, 1.0, math.inf)
    assert math.isnan(one["stddev"])
    assert math.isnan(one["ci_low"])
    assert math.isnan(two["mean"])
    assert (three["n"], three["nan"], three["mean"], three["median"]) == (2, 1, math.inf, math.inf)


def test_frames_have_the_types_and_the_rows_of_sql(store: ts.Store) -> None:
    exp = store.create_experiment("e", metrics=[LOSS, COST])
    assert exp.repeats().collect().is_empty()
    schema = exp.repeats().collect_schema()
    for k in range(40):
        exp.register_trial({"x": k % 3, "y": "a"}, reserve=True).success(loss=k * 0.1, cost=1 / (k + 1))
    exp.flush()
    exp.register_trial({"x": 0.5}, fidelity={"s": 1}, reserve=True).success(loss=1, cost=math.nan)
    frame = exp.repeats().collect()
    query = exp.sql("SELECT * FROM repeats").pl()
    order = ["first_trial", "metric"]
    assert frame.sort(order).equals(query.sort(order))
    assert frame.schema == exp.repeats().collect_schema()
    assert frame.columns == list(schema)
    loss = exp.repeats().filter(pl.col("metric") == "loss", pl.col("n") > 1).select("first_trial", "mean").collect()
    assert loss.sort("first_trial").to_dict(as_series=False) == {
        "first_trial": [0, 1, 2],
        "mean": [pytest.approx(statistics.fmean(k * 0.1 for k in range(40) if k % 3 == r)) for r in range(3)],
    }
    with pytest.raises(ts.TrialStoreError, match="no rows of one trial"):
        exp.snapshot().frame("repeats", trial=1)


def test_an_attached_store_has_its_own(store: ts.Store) -> None:
    with ts.open(f"memory://{new_ulid()}") as other:
        other.create_experiment("theirs", metrics=[LOSS]).register_trial({"x": 1}, reserve=True).success(loss=5)
        store.create_experiment("ours", metrics=[LOSS]).register_trial({"x": 1}, reserve=True).success(loss=7)
        store.attach(other, "them")
        rows = store.sql("SELECT o.mean, t.mean FROM repeats o JOIN them.repeats t USING (id, metric)").fetchall()
    assert rows == [(7.0, 5.0)]


def observe(exp: ts.Experiment, *values: Any) -> dict[str, Any]:
    for value in values:
        exp.register_trial({"x": 1}, reserve=True).success(loss=value)
    (row,) = rows_of(exp)
    return row


@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=6), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_observations_pool_to_what_all_their_samples_give(groups: list[list[float]]) -> None:
    samples = [value for group in groups for value in group]
    observations = [ts.Observation.of(group) if len(group) > 1 else group[0] for group in groups]
    with ts.open(f"memory://{new_ulid()}") as store:
        row = observe(store.create_experiment("e", metrics=[LOSS]), *observations)
    assert (row["n"], row["samples"], row["method"]) == (len(groups), len(samples), "pooled")
    assert row["mean"] == pytest.approx(statistics.fmean(samples), rel=1e-9, abs=1e-6)
    if len(samples) == 1:
        assert (row["stddev"], row["sem"], row["ci_low"]) == (None, None, None)
        return
    deviation = statistics.stdev(samples)
    assert row["stddev"] == pytest.approx(deviation, rel=1e-6, abs=1e-5)
    assert row["sem"] == pytest.approx(deviation / math.sqrt(len(samples)), rel=1e-6, abs=1e-5)
    half = duckdb.sql(f"SELECT {t_quantile_sql(str(len(samples) - 1))}").fetchall()[0][0] * row["sem"]
    assert row["ci_high"] - row["mean"] == pytest.approx(half, rel=1e-6, abs=1e-5)


def test_standard_errors_without_counts_weigh_by_their_inverse_variance(store: ts.Store) -> None:
    exp = store.create_experiment("e", metrics=[LOSS])
    row = observe(exp, ts.Observation(1.0, sem=0.5), ts.Observation(3.0, sem=0.25), ts.Observation(2.0, sem=1e-3, n=9))
    weights = [1 / 0.5**2, 1 / 0.25**2, 1 / 1e-3**2]
    mean = sum(w * v for w, v in zip(weights, (1.0, 3.0, 2.0), strict=True)) / sum(weights)
    sem = 1 / math.sqrt(sum(weights))
    assert (row["method"], row["n"], row["stddev"], row["median"]) == ("inverse variance", 3, None, 2.0)
    assert row["mean"] == pytest.approx(mean, rel=1e-12)
    assert row["sem"] == pytest.approx(sem, rel=1e-12)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((mean - NORMAL * sem, mean + NORMAL * sem), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_errors_of_any_size_are_weighed(store: ts.Store, scale: float) -> None:
    exp = store.create_experiment("e", metrics=[LOSS])
    row = observe(exp, ts.Observation(1.0, sem=scale), ts.Observation(3.0, sem=scale))
    assert row["mean"] == 2.0
    assert row["sem"] == pytest.approx(scale / math.sqrt(2), rel=1e-12)


def test_one_observation_keeps_its_own_error(store: ts.Store) -> None:
    for name, observation in (("counted", ts.Observation(2.0, sem=0.5, n=16)), ("alone", ts.Observation(2.0, sem=0.5))):
        row = observe(store.create_experiment(name, metrics=[LOSS]), observation)
        assert (row["mean"], row["sem"]) == (2.0, pytest.approx(0.5))
    assert row["ci_high"] == pytest.approx(2.0 + NORMAL * 0.5)


def test_a_value_of_unknown_error_is_one_sample_among_others(store: ts.Store) -> None:
    exp = store.create_experiment("e", metrics=[LOSS])
    row = observe(exp, 1.0, ts.Observation(3.0, sem=0.25), ts.Observation(5.0, n=4), ts.Observation(7.0, sem=math.nan))
    assert (row["method"], row["n"], row["samples"], row["mean"]) == ("pooled", 4, 4, 4.0)
    assert row["stddev"] == pytest.approx(statistics.stdev([1.0, 3.0, 5.0, 7.0]))


def test_counts_beyond_64_bits_together_are_told_as_null(store: ts.Store) -> None:
    exp = store.create_experiment("e", metrics=[LOSS])
    row = observe(exp, *(ts.Observation(v, sem=1e-9, n=2**62) for v in (1.0, 2.0, 3.0)))
    assert (row["samples"], row["mean"]) == (None, 2.0)
