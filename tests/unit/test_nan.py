"""NaN is never best, and sorts above every number and below null, alike in SQL and in Polars."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

import trialstore as ts

VALUES = [1.0, math.nan, math.inf, None, -math.inf, 2.0]


@pytest.fixture(params=["in the journal", "in a part"])
def experiment(request: pytest.FixtureRequest, tmp_path: Path) -> ts.Experiment:
    metrics = [ts.Metric("low"), ts.Metric("high", minimize=False)]
    experiment = ts.open(tmp_path / "store", maintenance=False).create_experiment("e", metrics=metrics)
    for value in VALUES:
        trial = experiment.register_trial({}, reserve=True)
        if value is None:
            trial.fail()
        else:
            trial.success(low=value, high=value)
    if request.param == "in a part":
        experiment.flush()
    return experiment


def test_it_is_never_best_whichever_way_is_better(experiment: ts.Experiment) -> None:
    assert experiment.best("low") == experiment.trial(4)
    assert experiment.best("high") == experiment.trial(2)


def test_alone_it_is_not_best_either(tmp_path: Path) -> None:
    experiment = ts.open(tmp_path / "store").create_experiment("e", metrics=[ts.Metric("high", minimize=False)])
    experiment.register_trial({}, reserve=True).success(high=math.nan)
    assert experiment.best() is None


def test_it_sorts_alike_in_sql_and_in_polars(experiment: ts.Experiment) -> None:
    snapshot = experiment.snapshot()
    sql = snapshot.sql("SELECT trial FROM trials ORDER BY metrics.low NULLS LAST").fetchall()
    frame = snapshot.frame("trials").sort(pl.col("metrics").struct.field("low"), nulls_last=True).collect()
    assert [number for (number,) in sql] == frame["trial"].to_list() == [4, 0, 5, 2, 1, 3]
