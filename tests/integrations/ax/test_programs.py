"""Real programs: Ax's clients and its orchestrator run on a store, stop, and go on in another handle on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ax.adapter.registry import Generators
from ax.api.configs import RangeParameterConfig
from ax.core.analysis_card import AnalysisCard
from ax.core.trial_status import TrialStatus
from ax.exceptions.core import ObjectNotFoundError
from ax.exceptions.core import UnsupportedError as AxUnsupportedError
from ax.generation_strategy.generation_strategy import GenerationNode, GenerationStrategy
from ax.generation_strategy.generator_spec import GeneratorSpec
from ax.orchestration.orchestrator import OrchestratorOptions
from ax.service.utils.instantiation import ObjectiveProperties

import trialstore as ts
from tests.integrations.ax.experiments import experiment, seq, with_trials
from trialstore.integrations.ax import (
    PointResults,
    TrialStoreAxClient,
    TrialStoreClient,
    TrialStoreMetric,
    TrialStoreOrchestrator,
    TrialStoreRunner,
    load_experiment,
    load_generation_strategy,
    save_experiment,
    save_generation_strategy,
)
from trialstore.model.errors import NotFoundError, UsageError


def point(parameters: Any) -> PointResults:
    x = parameters["x"]
    return PointResults(["loss", "ops"], np.array([x**2, 10.0 - x]), np.diag([0.04, 0.25]))


def sobol() -> GenerationStrategy:
    node = GenerationNode("Sobol", [GeneratorSpec(Generators.SOBOL, generator_kwargs={"seed": 7})])
    return GenerationStrategy(name="quasi-random", nodes=[node])


def options(**more: Any) -> OrchestratorOptions:
    return OrchestratorOptions(init_seconds_between_polls=0, logging_level=50, **more)


def test_an_orchestrator_runs_stops_and_goes_on(tmp_path: Path) -> None:
    made = experiment(runner=TrialStoreRunner(point), metric=TrialStoreMetric)
    with ts.open(tmp_path / "s") as store:
        TrialStoreOrchestrator(made, sobol(), options(), store=store).run_n_trials(3)
    with ts.open(tmp_path / "s") as store:
        loaded = load_experiment(store, "tune")
        assert loaded == made
        assert loaded.trials[0].run_metadata["simulation_result"] == point(loaded.trials[0].arm.parameters)
        again = TrialStoreOrchestrator.from_stored_experiment("tune", options(), store=store)
        again.run_n_trials(2)
        rows = store.sql("""
            SELECT status, params.x, metrics.loss, sem.loss, metrics.ops FROM trials ORDER BY trial
        """).fetchall()
        assert len(rows) == 5
        for status, x, loss, sem, ops in rows:
            assert status == "SUCCEEDED"
            assert (loss, sem, ops) == (x**2, 0.2, 10.0 - x)
        assert len({x for _, x, *_ in rows}) == 5  # the generator went on, and did not begin again
        assert len(again.generation_strategy._generator_runs) == 5
        history = store.experiment("tune").status_history(4).collect()["status"].to_list()
        assert history == ["PENDING", "RUNNING", "SUCCEEDED"] or history == ["RUNNING", "SUCCEEDED"]


def test_an_evaluation_that_fails_is_tried_again_by_ax(store: ts.Store) -> None:
    calls: list[float] = []

    def fragile(parameters: Any) -> PointResults:
        calls.append(parameters["x"])
        if len(calls) == 3:
            raise RuntimeError("no disk")
        return point(parameters)

    made = experiment(runner=TrialStoreRunner(fragile), metric=TrialStoreMetric)
    TrialStoreOrchestrator(made, sobol(), options(), store=store).run_n_trials(5)
    assert len(calls) == 6
    assert store.sql("SELECT status, count(*) FROM trials GROUP BY 1").fetchall() == [("SUCCEEDED", 5)]
    assert load_experiment(store, "tune") == made


def test_a_client_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with ts.open(tmp_path / "s") as store:
        client = TrialStoreClient(store, random_seed=3)
        client.configure_experiment([RangeParameterConfig("x", (-2.0, 2.0), "float")], name="tune")
        client.configure_optimization("-loss")
        client.configure_generation_strategy(initialization_budget=10)
        for index, parameters in client.get_next_trials(3).items():
            client.complete_trial(index, {"loss": (float(parameters["x"]) ** 2, 0.1)})
        (index,) = client.get_next_trials(1)
        client.mark_trial_failed(index, failed_reason="no disk")
        (index,) = client.get_next_trials(1)
        client.mark_trial_abandoned(index)
        (running,) = client.get_next_trials(1)
    with ts.open(tmp_path / "s") as store:
        found = store.sql("SELECT status, count(*) FROM trials GROUP BY 1 ORDER BY 1").fetchall()
        assert found == [("CANCELED", 1), ("FAILED", 1), ("RUNNING", 1), ("SUCCEEDED", 3)]
        again = TrialStoreClient.load(store, "tune")
        assert again._experiment == client._experiment
        assert again._generation_strategy.name == client._generation_strategy.name
        again.complete_trial(running, {"loss": (1.0, 0.2)})
        assert list(again.get_next_trials(2)) == [6, 7]
        best, _, _, _ = again.get_best_parameterization(use_model_predictions=False)
        best_row = store.experiment("tune").best("loss")
        assert best_row is not None
        assert dict(best_row.params) == dict(best)
        with pytest.raises(ObjectNotFoundError):
            TrialStoreClient.load(store, "absent")


def test_a_client_runs_trials_by_itself(store: ts.Store) -> None:
    client = TrialStoreClient(store)
    client.configure_experiment([RangeParameterConfig("x", (-2.0, 2.0), "float")], name="tune")
    client.configure_optimization("-loss")
    client._set_runner(TrialStoreRunner(point))
    client._set_metrics([TrialStoreMetric("loss", lower_is_better=True)])
    client.run_trials(max_trials=2, initial_seconds_between_polls=0)
    assert [row[0] for row in store.sql("SELECT status FROM trials").fetchall()] == ["SUCCEEDED"] * 2
    assert load_experiment(store, "tune") == client._experiment


def test_an_ax_client_goes_on_where_it_stopped(tmp_path: Path) -> None:
    space: list[Any] = [{"name": "x", "type": "range", "bounds": [-2.0, 2.0], "value_type": "float"}]
    objectives = {"loss": ObjectiveProperties(minimize=True)}
    with ts.open(tmp_path / "s") as store:
        client = TrialStoreAxClient(store=store, random_seed=1, verbose_logging=False)
        client.create_experiment(parameters=space, name="tune", objectives=objectives)
        for _ in range(3):
            parameters, index = client.get_next_trial()
            client.complete_trial(index, {"loss": (float(parameters["x"]) ** 2, 0.0)})
        with pytest.raises(ValueError, match="already exists"):
            TrialStoreAxClient(store=store).create_experiment(parameters=space, name="tune", objectives=objectives)
    with ts.open(tmp_path / "s") as store:
        again = TrialStoreAxClient(store=store, verbose_logging=False)
        again.load_experiment_from_database("tune")
        assert again.experiment == client.experiment
        _, index = again.get_next_trial()
        assert index == 3
        assert store.sql("SELECT status FROM trials WHERE trial = 3").fetchall() == [("RUNNING",)]


def test_a_strategy_names_the_runs_of_saved_trials(store: ts.Store) -> None:
    made = experiment()
    strategy = sobol()
    save_experiment(store, made)
    with pytest.raises(NotFoundError, match="no generation strategy"):
        load_generation_strategy(store, "tune")
    with pytest.raises(UsageError, match="no experiment"):
        save_generation_strategy(store, strategy)
    strategy.experiment = made
    for _ in range(5):
        made.new_trial(strategy.gen_single_trial(made))
    save_experiment(store, made)
    save_generation_strategy(store, strategy)
    _, stored = store.experiment("tune").document("ax_strategy")
    assert stored["runs"] == [["trials", 0, 0, 5]]
    before = seq(store)
    save_generation_strategy(store, strategy)
    assert seq(store) == before
    loaded = load_generation_strategy(store, "tune")
    assert loaded._generator_runs == strategy._generator_runs
    assert (loaded.db_id, loaded.current_node_name) == (strategy.db_id, strategy.current_node_name)
    loose = strategy.gen_single_trial(made)  # of no trial yet
    save_generation_strategy(store, strategy)
    loaded = load_generation_strategy(store, "tune", experiment=load_experiment(store, "tune"))
    assert loaded._generator_runs[-1] == loose
    reduced = load_generation_strategy(store, "tune", reduced_state=True)
    assert reduced._generator_runs[0]._generator_state_after_gen is None
    assert reduced._generator_runs[-1]._generator_state_after_gen is not None


def test_another_strategy_for_the_same_experiment_is_refused(store: ts.Store) -> None:
    made = experiment(runner=TrialStoreRunner(point), metric=TrialStoreMetric)
    TrialStoreOrchestrator(made, sobol(), options(), store=store)
    with pytest.raises(AxUnsupportedError, match="new generation strategy"):
        TrialStoreOrchestrator(made, sobol(), options(), store=store)
    other = sobol()
    other._name = "other"
    with pytest.raises(AxUnsupportedError):
        TrialStoreOrchestrator.from_stored_experiment("tune", options(), store=store, generation_strategy=other)


def test_cards_of_analyses_are_kept(store: ts.Store) -> None:
    import pandas as pd

    from trialstore.integrations.ax.cards import load_analysis_cards

    client = TrialStoreClient(store)
    client.configure_experiment([RangeParameterConfig("x", (-2.0, 2.0), "float")], name="tune")
    for title in ("one", "two"):
        card = AnalysisCard(name="A", title=title, subtitle="s", df=pd.DataFrame({"a": [1, 2]}), blob="{}")
        client._save_analysis_card_to_db_if_possible(client._experiment, card)
    loaded = load_analysis_cards(store, "tune")
    assert [card.title for card in loaded] == ["one", "two"]
    assert loaded[0].df["a"].to_list() == [1, 2]


@dataclass
class Reading:
    """As axtreme's results: an object with `metric_data`, that no store knows."""

    value: float

    def metric_data(self, metric_name: str) -> dict[str, float | None]:
        return {"mean": self.value, "sem": None}


def test_a_result_of_an_unknown_type_is_refused_with_the_way_out(store: ts.Store) -> None:
    made = with_trials(1, runner=TrialStoreRunner(lambda parameters: Reading(1.5)), metric=TrialStoreMetric)
    made.trials[0].run().mark_completed()
    data = made.fetch_data()
    assert [(row.mean, math.isnan(row.se)) for row in data._data_rows] == [(1.5, True)] * 2
    with pytest.raises(UsageError, match="cannot be stored") as caught:
        save_experiment(store, made)
    assert "storable" in str(caught.value)


def test_runners_are_what_axtremes_are(store: ts.Store) -> None:
    runner = TrialStoreRunner(point)
    made = with_trials(2, runner=runner, metric=TrialStoreMetric)
    assert runner.poll_trial_status(made.trials.values()) == {TrialStatus.RUNNING: {0, 1}}
    assert runner.run_multiple([made.trials[0]])[0]["name"] == "0"
    made.trials[0].run()
    assert runner.poll_trial_status(made.trials.values()) == {TrialStatus.COMPLETED: {0}, TrialStatus.RUNNING: {1}}
    assert (runner.staging_required, runner.poll_available_capacity()) == (False, -1)
    assert runner.run_metadata_report_keys == ["name"]
    assert runner.clone() == runner
    assert made.trials[0].deployed_name == "0"
    save_experiment(store, made)
    assert load_experiment(store, "tune").runner == runner


def test_a_store_never_brings_code_with_it(store: ts.Store) -> None:
    made = with_trials(1, runner=TrialStoreRunner(point))
    save_experiment(store, made)
    from trialstore.integrations.ax.runner import _functions

    kept = _functions.copy()
    _functions.clear()
    try:
        loaded = load_experiment(store, "tune")
        with pytest.raises(UsageError, match="does not know the evaluation function"):
            loaded.trials[0].run()
        save_experiment(store, loaded)  # and its name is not lost
    finally:
        _functions.update(kept)
    assert load_experiment(store, "tune").runner == TrialStoreRunner(point)


def test_a_batch_is_evaluated_arm_by_arm(store: ts.Store) -> None:
    from ax.core.arm import Arm
    from ax.core.generator_run import GeneratorRun

    made = experiment(runner=TrialStoreRunner(point), metric=TrialStoreMetric)
    arms = [Arm({"x": float(i), "k": 1, "how": "safe"}) for i in range(3)]
    made.new_batch_trial(GeneratorRun(arms)).run().mark_completed()
    made.fetch_data()
    save_experiment(store, made)
    assert [m for (m,) in store.sql("SELECT metrics.loss FROM trials ORDER BY trial").fetchall()] == [0.0, 1.0, 4.0]
    assert load_experiment(store, "tune") == made


def test_errors_of_the_store_can_be_suppressed(store: ts.Store) -> None:
    own: Any = {"runner": TrialStoreRunner(point), "metric": TrialStoreMetric}
    made = experiment(**own)
    quiet = options(suppress_storage_errors_after_retries=True)
    orchestrator = TrialStoreOrchestrator(made, sobol(), quiet, store=store)
    store.drop_experiment("tune")
    assert not orchestrator._save_or_update_trials_in_db_if_possible(made, [made.new_trial()])
    loud = TrialStoreOrchestrator(experiment("other", **own), sobol(), options(), store=store)
    store.drop_experiment("other")
    with pytest.raises(NotFoundError):
        loud._save_or_update_trials_in_db_if_possible(loud.experiment, [loud.experiment.new_trial()])
