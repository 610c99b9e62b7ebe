"""Values of metrics: which are worst and best, how they compare, as losses and scores, as text, as a scorer."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import cross_validate

import trialstore as ts
from trialstore.model.errors import MissingExtraError, UsageError
from trialstore.model.metric import Comparison, Metric, MetricValue

NASTY = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1, 2**70, -1.5]
INF = math.inf


@pytest.mark.parametrize(
    ("metric", "worst", "optimal"),
    [
        (Metric("m"), INF, -INF),
        (Metric("m", minimize=False), -INF, INF),
        (Metric("m", bounds=(0, 1000)), 1000, 0),
        (Metric("m", minimize=False, bounds=(0, 1)), 0, 1),
        (Metric("m", bounds=(0, INF)), INF, 0),
    ],
)
def test_the_worst_and_the_best_value(metric: Metric, worst: float, optimal: float) -> None:
    assert (metric.worst, metric.optimal) == (worst, optimal)
    assert metric.compare(metric.optimal, metric.worst) is Comparison.BETTER


@pytest.mark.parametrize("minimize", [True, False])
def test_comparing_agrees_with_better_and_turns_around(minimize: bool) -> None:
    metric = Metric("m", minimize=minimize)
    around = {Comparison.BETTER: Comparison.WORSE, Comparison.WORSE: Comparison.BETTER}
    for left, right in itertools.product(NASTY, repeat=2):
        found = metric.compare(left, right)
        assert (found is Comparison.BETTER) == metric.is_better(left, right)
        assert metric.compare(right, left) is around.get(found, found)
    assert metric.compare(math.nan, math.nan) is Comparison.EQUAL
    assert metric.compare(0.0, -0.0) is Comparison.EQUAL
    assert metric.compare(metric.worst, math.nan) is Comparison.BETTER


def test_the_distance_to_the_optimum() -> None:
    metric = Metric("m", minimize=False, bounds=(-2, 10))
    assert [metric.distance_to_optimal(value) for value in (10, 4, -2)] == [0, 6, 12]
    assert Metric("m", minimize=False, bounds=(0, INF)).distance_to_optimal(3) == INF
    assert Metric("m", minimize=False, bounds=(0, INF)).distance_to_optimal(INF) == 0
    for value in (10.5, -3, math.nan):
        with pytest.raises(UsageError, match="not within the bounds"):
            metric.distance_to_optimal(value)
    with pytest.raises(UsageError, match="no bounds"):
        Metric("m").distance_to_optimal(1)


def test_losses_and_scores() -> None:
    loss, acc = Metric("loss", bounds=(2, 10)), Metric("acc", minimize=False, bounds=(0, 4))
    assert [loss.normalized_loss(value) for value in (2, 4, 10, 12)] == [0, 0.25, 1, 1.25]
    assert [acc.normalized_loss(value) for value in (4, 3, 0, -4)] == [0, 0.25, 1, 2]
    for metric in (Metric("loss"), Metric("loss", bounds=(0, INF))):
        assert (metric.loss(3), metric.score(3), metric.normalized_loss(3)) == (3, -3, 3)
    for metric in (Metric("acc", minimize=False), Metric("acc", minimize=False, bounds=(-INF, 1))):
        assert (metric.loss(3), metric.score(3), metric.normalized_loss(3)) == (-3, 3, -3)
    assert math.isnan(loss.normalized_loss(math.nan))


def test_a_value_knows_its_metric() -> None:
    value = Metric("acc", minimize=False, bounds=(0, 4)).as_value(3)
    assert value == MetricValue(Metric("acc", minimize=False, bounds=(0, 4)), 3)
    assert (value.name, value.loss, value.score, value.normalized_loss, value.distance_to_optimal) == (
        "acc",
        -3,
        3,
        0.25,
        1,
    )


# Text

ODD_NAMES = [
    "loss", "two words", "loss [0.0, 1.0]", "x (minimize)", '"q"', '"q', "[0, 1]", " lead", "trail ", "a\nb", "n\0ul",
    "x [0.0, 1.0] (minimize)", '"a" [0.0, 1.0]', 'a"b\\', "(maximize)", '" (minimize)', "loss [0.0, inf]", '\\"', "ß💥",
    "x [nan, 1.0]", "x [1e5, 1e+16]",
]  # fmt: skip


@given(
    st.sampled_from(ODD_NAMES)
    | st.text(st.sampled_from('ab "\\[](),.0:1e-\n\0') | st.characters(exclude_categories=["Cs"]), min_size=1),
    st.booleans(),
    st.none()
    | st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)).filter(lambda pair: pair[0] < pair[1]),
)
def test_text_gives_the_same_metric_whatever_its_name(name: str, minimize: bool, bounds: Any) -> None:
    metric = Metric(name, minimize, bounds)
    again = Metric.from_str(str(metric))
    assert again == metric
    assert str(again) == str(metric)
    assert repr(again.bounds) == repr(metric.bounds)


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (Metric("loss"), "loss (minimize)"),
        (Metric("accuracy", minimize=False, bounds=(0, 1)), "accuracy [0.0, 1.0] (maximize)"),
        (Metric("two words", bounds=(-INF, 1e-7)), "two words [-inf, 1e-07] (minimize)"),
        (Metric("loss [0.0, 1.0]"), '"loss [0.0, 1.0]" (minimize)'),
    ],
)
def test_text_is_amltks_where_that_is_exact(metric: Metric, text: str) -> None:
    assert str(metric) == text


@pytest.mark.parametrize("text", ["", "loss", "loss (minimise)", " (minimize)", "loss (minimize) ", "loss(minimize)"])
def test_text_that_is_no_metric_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not the text of a metric"):
        Metric.from_str(text)


# scikit-learn


def fit(scorer: Any) -> list[float]:
    x, y = np.arange(12.0).reshape(-1, 1), np.array([0, 1, 1] * 4)
    return list(cross_validate(DummyClassifier(strategy="prior"), x, y, scoring=scorer, cv=3)["test_score"])


def test_a_metric_of_a_scorers_name_is_that_scorer() -> None:
    scores = fit(ts.Metric("accuracy", minimize=False).as_scorer())
    assert scores == fit("accuracy")
    assert 0.5 <= min(scores) < 1


def test_a_metric_with_a_function_scores_larger_when_better() -> None:
    assert fit(Metric("mse").as_scorer(mean_squared_error)) == fit("neg_mean_squared_error")
    with_probabilities = Metric("log loss").as_scorer(log_loss, response_method="predict_proba", labels=[0, 1])
    assert fit(with_probabilities) == fit("neg_log_loss")


def test_a_scorer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="no scorer of this name"):
        Metric("latency", minimize=False).as_scorer()
    with pytest.raises(UsageError, match="all to be maximised"):
        Metric("accuracy").as_scorer()


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(MissingExtraError, match="scikit-learn"):
        Metric("accuracy", minimize=False).as_scorer()
