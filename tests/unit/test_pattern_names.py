"""Parameters and metrics that are called what Polars takes for a pattern: every reader takes the name to the letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import trialstore as ts
from trialstore.model.errors import UsageError

STAR, SOME, ALL = "*", "^a.*$", "^.*$"
VALUES = {0: {STAR: 2.0, SOME: 5.0}, 1: {STAR: 1.0, SOME: 6.0}, 2: {STAR: 3.0, SOME: 4.0}}
PARAMS: dict[int, dict[str, Any]] = {
    0: {"ab": 7, STAR: 1, SOME: "x", ALL: 0.5},
    1: {"ab": 8, STAR: 2.5, SOME: "y"},  # a float and one name less: another type of part
    2: {"ab": 9, STAR: 1, ALL: 0.5},
}


def run(experiment: ts.Experiment, number: int) -> None:
    experiment.register_trial(PARAMS[number])
    trial = experiment.reserve_trial()
    assert trial is not None
    with trial.begin():
        trial.report({STAR: float(number), SOME: -1.0}, step=0)
        trial.summary.update({STAR: number, SOME: "s"})
    trial.success(**VALUES[number], **{ALL: number})


@pytest.fixture(params=["live", "flushed", "both", "compacted"])
def experiment(request: pytest.FixtureRequest, tmp_path: Path) -> ts.Experiment:
    """Three trials that are in the journal alone, in parts of different types, in both, in one part."""
    store = ts.open(tmp_path)
    metrics = [ts.Metric(STAR, minimize=True), ts.Metric(SOME, minimize=True), ts.Metric(ALL, minimize=False)]
    made = store.create_experiment("odd", metrics=metrics)
    for number in PARAMS:
        run(made, number)
        if request.param in ("flushed", "compacted") or (request.param == "both" and number < 2):
            made.flush()
    if request.param == "compacted":
        made.compact()
    return made


def test_frames(experiment: ts.Experiment) -> None:
    rows = experiment.history().sort("trial").collect()
    assert [{n: v for n, v in row.items() if v is not None} for row in rows["params"]] == list(PARAMS.values())
    assert rows["metrics"].to_list() == [{**values, ALL: number} for number, values in VALUES.items()]
    assert rows["summary"].to_list() == [{STAR: number, SOME: "s"} for number in VALUES]
    reported = experiment.metrics().sort("trial", "name").select("trial", "name", "value").collect().rows()
    assert reported == [row for n in VALUES for row in ((n, STAR, float(n)), (n, SOME, -1.0))]
    long = experiment.params().filter(pl.col("name") == STAR).sort("trial").collect()
    assert long["value"].to_list() == [1.0, 2.5, 1.0]
    for frame in (experiment.to_polars(), experiment.to_pandas()):
        assert list(frame[f"params.{STAR}"]) == [1, 2.5, 1]
        assert list(frame[f"results.{SOME}"]) == [5, 6, 4]
    assert experiment.repeats().filter(pl.col("metric") == SOME).collect()["mean"].sort().to_list() == [4.0, 5.0, 6.0]


def test_the_best(experiment: ts.Experiment) -> None:
    found = [experiment.best(name) for name in (STAR, SOME, ALL)]
    assert [trial and trial.number for trial in found] == [1, 2, 2]


def test_reports(experiment: ts.Experiment) -> None:
    for report in experiment.reports():
        assert report.metrics == {**VALUES[report.number], ALL: report.number}
        for prefixes in (False, True):
            for pandas in (False, True):
                assert ts.Report.from_df(report.df(prefixes=prefixes, pandas=pandas)) == report


def test_a_history_ranks(experiment: ts.Experiment) -> None:
    history = ts.History.of(experiment)
    assert [report.number for report in history.sortby(STAR)] == [1, 0, 2]
    assert [report.number for report in history.sortby(f"metrics.{SOME}")] == [2, 0, 1]
    assert [report.number for report in history.sortby(f"params.{ALL}", reverse=True)][-1] == 1
    assert [best.number for best in [history.best(STAR), history.best(SOME)] if best] == [1, 2]
    assert {report.number for report in history.best(STAR, SOME)} == {0, 1, 2}
    assert [report.number for report in history.incumbents(STAR)] == [0, 1]
    assert history.trace(SOME)["best"].to_list() == [5.0, 5.0, 4.0]


def test_a_history_groups(experiment: ts.Experiment) -> None:
    history = ts.History.of(experiment)
    groups = {key: [report.number for report in group] for key, group in history.groupby(f"params.{STAR}").items()}
    assert groups == {1.0: [0, 2], 2.5: [1]}
    groups = {key: [report.number for report in group] for key, group in history.groupby(f"summary.{SOME}").items()}
    assert groups == {"s": [0, 1, 2]}
    with pytest.raises(UsageError, match="no such column"):
        history.groupby("params.^b.*$")
    with pytest.raises(UsageError, match="no such column"):
        history.sortby("^trial$")


@pytest.mark.parametrize("prefixes", [False, True])
@pytest.mark.parametrize("pandas", [False, True])
def test_a_history_comes_back(experiment: ts.Experiment, prefixes: bool, pandas: bool) -> None:
    history = ts.History.of(experiment)
    frame = history.df(prefixes=prefixes, pandas=pandas)
    assert ts.History.from_df(frame) == history
    if prefixes:
        assert frame[f"metric:{ts.Metric(STAR)}"].to_list() == [values[STAR] for values in VALUES.values()]
        assert frame[f"config:{SOME}"].to_list()[:2] == ["x", "y"]
    if not pandas:
        with pytest.raises(UsageError, match="not a column of a history"):
            ts.History.from_df(frame.with_columns(pl.lit(1).alias(STAR)))


def test_sql(experiment: ts.Experiment) -> None:
    query = f'SELECT trial, metrics."{STAR}", metrics."{SOME}", params."{STAR}" FROM trials ORDER BY metrics."{STAR}"'
    assert experiment.sql(query).fetchall() == [(1, 1.0, 6.0, 2.5), (0, 2.0, 5.0, 1.0), (2, 3.0, 4.0, 1.0)]
    query = f"SELECT max(value) FROM params WHERE name = '{STAR}'"
    assert experiment.sql(query).fetchall() == [(2.5,)]
    query = f"SELECT count(*) FROM metrics WHERE name = '{SOME}'"
    assert experiment.sql(query).fetchall() == [(3,)]


def test_pages(experiment: ts.Experiment) -> None:
    for shown in (ts.History.of(experiment), experiment.report(0)):
        assert ALL in str(shown)


def test_names_that_differ_in_case(tmp_path: Path) -> None:
    names = [SOME, SOME.upper()]
    made = ts.open(tmp_path).create_experiment("case", metrics=[ts.Metric(name, minimize=True) for name in names])
    for place in range(2):
        made.register_trial({"ab": 1})
        trial = made.reserve_trial()
        assert trial is not None
        trial.success(**{SOME: place, SOME.upper(): -place})
    history = ts.History.of(made)
    assert [[report.number for report in history.sortby(name)] for name in names] == [[0, 1], [1, 0]]
    assert [trial and trial.number for trial in map(made.best, names)] == [0, 1]
    assert ts.History.from_df(history.df(prefixes=True)) == history
