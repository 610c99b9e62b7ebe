"""What a store promises of values and names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from trialstore.experiment import Experiment
from trialstore.model.errors import InvalidNameError, TrialStoreError
from trialstore.model.metric import Metric
from trialstore.model.observation import Observation
from trialstore.store import Store
from trialstore.tables.values import value_of
from trialstore.testing.place import Place
from trialstore.testing.store_base import NOON, OnStore, claim, new_experiment, run_trial

__all__ = ["Values"]

NUMBERS = [0, -1, 2**63 - 1, -(2**63), 2**63, -(10**30), 0.0, -0.0, 1.0, 5e-324, 1.7976931348623157e308]
NUMBERS += [math.nan, math.inf, -math.inf]
EVERYTHING: list[Any] = [
    *NUMBERS,
    None,
    True,
    False,
    "",
    "ü/🙂\n'\"\\",
    "1",
    "NaN",
    b"\x00\xff",
    (1, (2.0, None)),
    [1, "a", None, [math.nan]],
    {"nested": {"": [1.0, 2**70]}, "$float": "nan"},
    {1: "a", None: "b"},
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
]
NAMES = ["a/b", "..", "../../x", ".", "a b%2F+", "日本語 🙂", "A", "a", "con", "x" * 1024, "line\nbreak", "'\"--", " "]
BAD_NAMES: list[Any] = ["", "x" * 1025, "\ud800", 1, None]


class Values(OnStore):
    """Values and names come back exactly."""

    def test_values_come_back_exactly(self, store: Store, place: Place) -> None:
        """Parameters, attributes, metrics and documents are equal in type and value: live, in a part, and compacted."""
        experiment = store.create_experiment("exact", metrics=[Metric(f"m{n}") for n in range(len(NUMBERS))])
        params = {f"v{n}": value for n, value in enumerate(EVERYTHING)}
        metrics = {f"m{n}": value for n, value in enumerate(NUMBERS)}
        experiment.register_trials([params, {"none": None}, {}])
        trial = claim(experiment)
        trial.annotate(**params)
        trial.success(**metrics)
        for _ in range(2):
            claim(experiment).fail()
        experiment.set_document("values", EVERYTHING)
        for found in _wherever_it_lies(experiment, store, place):
            assert _exact(found.trial(0).params) == _exact(params)
            assert _exact(found.trial(0).attributes) == _exact(params)
            assert _exact(found.trial(0).metrics) == _exact(metrics)
            assert [dict(found.trial(number).params) for number in (1, 2)] == [{"none": None}, {}]
            assert _exact(found.document("values")[1]) == _exact(EVERYTHING)

    def test_what_a_trial_gathers_comes_back_exactly(self, store: Store, place: Place) -> None:
        """Noise, summary, extras, profiles, info, runner and names of stored things: live, in a part, and compacted."""
        experiment = store.create_experiment("gathered", metrics=[Metric("loss")])
        trial = experiment.register_trial({"x": 1}, info=EVERYTHING, seed=0, reserve=True)
        trial.set_trial_runner(2**63 - 1)
        trial.summary.update({f"v{n}": value for n, value in enumerate(EVERYTHING)})
        trial.attach_extra("everything", EVERYTHING)
        with trial.begin(), trial.profile("part", time="process", memory_unit="GB"):
            trial.store({"a.txt": "elsewhere"}, where=lambda name, items: None)
        report = trial.success(loss=Observation(1.5, math.nan, 2**62))
        for one in _wherever_it_lies(experiment, store, place):
            found = one.report(0)
            assert found == report
            assert _exact(found.summary) == _exact(trial.summary)
            assert _exact((found.info, found.extras["everything"])) == _exact((EVERYTHING, EVERYTHING))
            assert found.runner == 2**63 - 1
            assert found.storage == {"a.txt"}
            assert repr(found.profiles) == repr(report.profiles)
            assert list(found.profiles) == ["trial", "trial:part"]

    def test_logged_values_come_back_exactly(self, store: Store) -> None:
        """Reports and samples keep type and value, whatever they are."""
        experiment = new_experiment(store)
        experiment.register_trial({})
        trial = claim(experiment)
        for step, value in enumerate(EVERYTHING):
            trial.report({"value": value}, step=step, at=NOON)
            trial.update_telemetry(trial.status, NOON, [(NOON, f"v{step:02}", value)])
        trial.success(loss=0.0)
        for move in (lambda: None, experiment.flush, experiment.compact):
            move()
            reports = experiment.metrics().collect().sort("step").select("type", "value", "text").rows()
            samples = experiment.telemetry().collect().sort("name").select("type", "value", "text").rows()
            assert repr(reports) == repr(samples)
            assert [_exact(value_of(*row)) for row in reports] == [_exact(value) for value in EVERYTHING]

    def test_any_text_is_a_name(self, store: Store, place: Place) -> None:
        """Names of any text are kept apart and come back as they were; none reaches outside of its folder."""
        for name in NAMES:
            experiment = store.create_experiment(name, metrics=[Metric(name)])
            experiment.register_trial({name: 1}, name=name)
            trial = claim(experiment)
            trial.report({name: 1.0}, step=0, at=NOON)
            trial.store({_file(name): name.encode()})
            trial.success(**{name: 2.0})
            experiment.set_document(name, name)
        store.compact()
        with place.open(mode="r") as reader:
            assert [experiment.name for experiment in reader.experiments()] == NAMES
            for name in NAMES:
                experiment = reader.experiment(name)
                trial = experiment.trial(0)
                assert (trial.name, dict(trial.params), dict(trial.metrics)) == (name, {name: 1}, {name: 2.0})
                assert trial.retrieve(_file(name)) == name.encode()
                assert experiment.metrics().collect()["name"].to_list() == [name]
                assert experiment.document(name) == (1, name)
            found = reader.sql("SELECT experiment FROM trials ORDER BY experiment").fetchall()
            assert found == [(name,) for name in sorted(NAMES, key=str.encode)]

    @pytest.mark.parametrize("name", BAD_NAMES, ids=["empty", "too long", "no Unicode", "a number", "none"])
    def test_what_is_no_name_is_refused(self, store: Store, place: Place, name: Any) -> None:
        """A bad name is an error that says so, and nothing is written."""
        experiment = new_experiment(store)
        experiment.register_trial({"x": 1})
        trial = claim(experiment)
        before = place.contents()
        for call in (
            lambda: store.create_experiment(name),
            lambda: Metric(name),
            lambda: experiment.register_trial({name: 1}),
            lambda: experiment.set_document(name, 1),
            lambda: trial.report({name: 1.0}),
            lambda: trial.update_telemetry(trial.status, NOON, [(NOON, name, 1.0)]),
            lambda: trial.store({name: b""}),
            lambda: trial.store({"../../outside": b""}),
        ):
            with pytest.raises(InvalidNameError):
                call()
        assert place.contents() == before

    def test_what_has_no_exact_form_is_refused(self, store: Store, place: Place) -> None:
        """A value that could not come back is an error, and nothing is written, not even what stood beside it."""
        experiment = new_experiment(store)
        experiment.register_trial({"x": 1})
        trial = claim(experiment)
        before = place.contents()
        for value in (object(), datetime(2026, 1, 1), {1, 2}, "\ud800"):
            for call in (
                lambda value: experiment.register_trials([{"x": 1}, {"x": value}]),
                lambda value: trial.annotate(good=1, bad=value),
                lambda value: experiment.set_document("state", value),
            ):
                with pytest.raises(TrialStoreError):
                    call(value)
        assert place.contents() == before
        assert len(experiment) == 1


def _wherever_it_lies(experiment: Experiment, store: Store, place: Place) -> Iterator[Experiment]:
    """The experiment as somebody else reads it: live, in a part, beside another one's trial, and compacted."""
    for move in (
        lambda: None,
        experiment.flush,
        lambda: run_trial(new_experiment(store), {"v0": ""}, 0.0),
        store.compact,
    ):
        move()
        with place.open(mode="r") as reader:
            yield reader.experiment(experiment.name)


def _exact(value: Any) -> str:
    """Spells a value so that two that differ in type, sign of zero, or NaN differ."""
    return repr(dict(value) if hasattr(value, "keys") else value)


def _file(name: str) -> str:
    """A name for an artifact: a path whose pieces are names themselves."""
    return "/".join(f"_{piece}" for piece in name.split("/"))[:1024]
