"""What mlos_bench reads of a storage, beside what its own storage gives of the same run."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import pytz
from mlos_bench.environments.status import Status
from mlos_bench.tunables.tunable_groups import TunableGroups
from pandas.testing import assert_frame_equal

from tests.integrations.mlos_bench.experiments import START, opened, run, sql_storage, suggestions
from trialstore.integrations.mlos_bench import TrialStoreStorage

NEW = "trial_runner_id"
"""A column that the main branch of mlos_bench has, and the released version does not."""


def both(tmp_path: Path) -> tuple[Any, Any]:
    return TrialStoreStorage({"url": str(tmp_path / "s"), "durability": "process"}), sql_storage()


def as_told(frame: pandas.DataFrame) -> pandas.DataFrame:
    return frame.drop(columns=NEW) if NEW in frame else frame


def same(ours: Any, theirs: Any) -> None:
    """Every frame and value of an experiment is what the other storage gives, with the same types."""
    assert ours.experiment_id == theirs.experiment_id
    assert ours.description == theirs.description
    assert ours.root_env_config == theirs.root_env_config
    assert ours.objectives == theirs.objectives
    assert ours.default_tunable_config_id == theirs.default_tunable_config_id
    assert_frame_equal(as_told(ours.results_df), as_told(theirs.results_df))
    assert list(ours.trials) == list(theirs.trials)
    for number, trial in ours.trials.items():
        other = theirs.trials[number]
        for name in ("experiment_id", "trial_id", "tunable_config_id", "ts_start", "ts_end", "status"):
            assert getattr(trial, name) == getattr(other, name), name
        for frame in ("results_df", "telemetry_df", "metadata_df"):
            assert_frame_equal(getattr(trial, frame), getattr(other, frame))
        assert trial.results_dict == other.results_dict
        assert trial.metadata_dict == other.metadata_dict
        assert trial.tunable_config.config_dict == other.tunable_config.config_dict
        assert list(trial.tunable_config_trial_group.trials) == list(other.tunable_config_trial_group.trials)
    assert list(ours.tunable_configs) == list(theirs.tunable_configs)
    for number, config in ours.tunable_configs.items():
        assert_frame_equal(config.config_df, theirs.tunable_configs[number].config_df)
    assert list(ours.tunable_config_trial_groups) == list(theirs.tunable_config_trial_groups)
    for number, group in ours.tunable_config_trial_groups.items():
        other = theirs.tunable_config_trial_groups[number]
        assert group.tunable_config_trial_group_id == other.tunable_config_trial_group_id
        assert group.tunable_config.config_dict == other.tunable_config.config_dict
        assert list(group.trials) == list(other.trials)
        assert_frame_equal(as_told(group.results_df), as_told(other.results_df))


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("stored", ["in the journal", "in a part", "in both"])
def test_a_run_reads_as_from_mlos_benchs_own_storage(tmp_path: Path, tunables: TunableGroups, stored: str) -> None:
    ours, theirs = both(tmp_path)
    for storage in (ours, theirs):
        with opened(storage, tunables) as experiment:
            run(experiment, suggestions(tunables, 3))
        if storage is ours and stored != "in the journal":
            ours.store["Test-001"].flush()
        with opened(storage, tunables) as experiment:
            run(experiment, suggestions(tunables, 5), repeats=2, start=START + timedelta(days=1))
            experiment.new_trial(tunables, START + timedelta(days=2))
            experiment.new_trial(tunables, START + timedelta(days=2)).update(Status.RUNNING, START)
        if storage is ours and stored == "in a part":
            ours.store["Test-001"].flush()
    same(ours.experiments["Test-001"], theirs.experiments["Test-001"])


@pytest.mark.usefixtures("repository")
def test_odd_values_read_as_from_mlos_benchs_own_storage(tmp_path: Path, tunables: TunableGroups) -> None:
    values: list[dict[str, Any]] = [
        {"score": 1, "mixed": 1.5, "text": "a", "flag": True, "digits": "10", "numpy": numpy.float64(0.5), "big": 1},
        {"score": 2.5, "mixed": "slow", "text": "b", "flag": False, "digits": "0.5", "numpy": numpy.int64(3), "big": 2},
        {"text": "c", "score": float("inf"), "mixed": True, "digits": "7", "flag": True, "numpy": 1, "big": 2**62},
        {
            "score": 1e-300,
            "mixed": 12,
            "flag": False,
            "text": "",
            "digits": "1e22",
            "numpy": numpy.float32(0.1),
            "big": 0,
        },
    ]
    ours, theirs = both(tmp_path)
    for storage in (ours, theirs):
        with opened(storage, tunables) as experiment:
            for minute, results in enumerate(values):
                trial = experiment.new_trial(tunables, START, {"is_defaults": minute == 2, "nested": [1, {"a": 2}]})
                trial.update(Status.SUCCEEDED, START + timedelta(minutes=minute), results)
    same(ours.experiments["Test-001"], theirs.experiments["Test-001"])
    ours.store["Test-001"].flush()
    same(ours.experiments["Test-001"], theirs.experiments["Test-001"])


@pytest.mark.usefixtures("repository")
def test_an_experiment_without_tunables_reads_the_same(tmp_path: Path) -> None:
    ours, theirs = both(tmp_path)
    for storage in (ours, theirs):
        with opened(storage, TunableGroups({})) as experiment:
            run(experiment, [TunableGroups({})] * 3)
    same(ours.experiments["Test-001"], theirs.experiments["Test-001"])
    frame = ours.experiments["Test-001"].results_df
    assert not [name for name in frame if name.startswith("config.")]


def test_nan_is_a_number(experiment: Any, storage: Any, tunables: Any) -> None:
    """mlos_bench's own storage makes a column of objects of it, with the text nan."""
    for value in (1.0, float("nan")):
        experiment.new_trial(tunables, START).update(Status.SUCCEEDED, START, {"score": value})
    frame = storage.experiments["Test-001"].results_df
    assert frame["result.score"].dtype == numpy.float64
    assert numpy.isnan(frame["result.score"][1])
    assert storage.experiments["Test-001"].trials[2].results_df["value"][0] == "nan"


def test_what_a_trial_did_not_measure_is_nan(experiment: Any, storage: Any, tunables: Any) -> None:
    """mlos_bench's own storage makes a column of objects of it."""
    for results in ({"score": 1.0, "p99": 7}, {"score": 2.0}):
        experiment.new_trial(tunables, START).update(Status.SUCCEEDED, START, results)
    frame = storage.experiments["Test-001"].results_df
    assert frame["result.p99"].dtype == numpy.float64
    assert frame["result.p99"].isna().tolist() == [False, True]


def test_what_is_absent_stays_none(experiment: Any, storage: Any, tunables: Any) -> None:
    trial = experiment.new_trial(tunables, config={"note": None, "n": 100, "r": 1.5, "flag": "True"})
    trial.update(Status.SUCCEEDED, START, {"score": None, "other": 1})
    data = storage.experiments["Test-001"].trials[1]
    assert data.metadata_dict == {"note": None, "n": 100, "r": 1.5, "flag": "True"}
    assert data.results_dict == {"score": None, "other": 1}


def test_an_empty_experiment_reads(experiment: Any, storage: Any) -> None:
    data = storage.experiments["Test-001"]
    assert (data.trials, data.tunable_configs, data.tunable_config_trial_groups) == ({}, {}, {})
    assert data.default_tunable_config_id is None
    assert data.results_df.empty
    assert list(data.results_df)[:2] == ["trial_id", "ts_start"]
    assert data.status_df.empty


def test_experiments_are_sorted_by_name(storage: Any, tunables: Any) -> None:
    assert storage.experiments == {}
    for name in ("b", "a", "c/../d %"):
        with opened(storage, tunables, name) as experiment:
            run(experiment, [tunables], repeats=1)
    assert list(storage.experiments) == ["a", "b", "c/../d %"]
    assert {data.trials[1].tunable_config_id for data in storage.experiments.values()} == {1}


def test_numbers_keep_the_types_of_their_tunables(storage: Any) -> None:
    kinds = {
        "whole": {"type": "int", "default": 3, "range": [0, 100]},
        "broken": {"type": "float", "default": 3.0, "range": [0, 100]},
    }
    groups = TunableGroups({"group": {"cost": 1, "params": kinds}})
    with opened(storage, groups) as experiment:
        run(experiment, suggestions(groups, 4))
    data = storage.experiments["Test-001"]
    for config in data.tunable_configs.values():
        for tunable, _ in groups:
            assert type(config.config_dict[tunable.name]) is tunable.dtype
    assert data.results_df.dtypes[["config.whole", "config.broken"]].tolist() == [numpy.int64, numpy.float64]


def test_runners_are_numbers_when_all_trials_have_one(experiment: Any, storage: Any, tunables: Any) -> None:
    for runner in (4, 5):
        experiment.new_trial(tunables, START).set_trial_runner(runner)
    frame = storage.experiments["Test-001"].results_df
    assert frame[NEW].tolist() == [4, 5]
    assert frame[NEW].dtype == numpy.int64


def test_the_status_history_is_told(experiment: Any, storage: Any, tunables: Any) -> None:
    trial = experiment.new_trial(tunables, START)
    steps = [Status.READY, Status.RUNNING, Status.SUCCEEDED]
    times = [datetime.now(pytz.UTC) + timedelta(hours=hour) for hour in (1, 2, 3)]
    for status, at in zip(steps[:2], times[:2], strict=True):
        for _ in range(2):
            trial.update_telemetry(status, at, [])
        trial.update(status, at)
    trial.update_telemetry(steps[2], times[2], [])
    trial.update(steps[2], times[2], {"score": 1})
    frame = storage.experiments["Test-001"].trials[1].status_df
    assert frame["status"].tolist() == ["PENDING", *(status.name for status in steps)]
    assert frame["ts"].tolist()[1:] == times
    whole = storage.experiments["Test-001"].status_df
    assert whole["trial_id"].tolist() == [1, 1, 1, 1]


def test_times_have_the_zone_that_mlos_bench_compares_with(experiment: Any, storage: Any, tunables: Any) -> None:
    run(experiment, [tunables], repeats=1)
    data = storage.experiments["Test-001"]
    trial = data.trials[1]
    for time in (trial.ts_start, trial.ts_end, trial.telemetry_df["ts"][0], data.results_df["ts_end"][0]):
        assert time.tzinfo == pytz.UTC
    assert trial.ts_end == START + timedelta(seconds=30, microseconds=123456)


def test_what_the_store_itself_ran_is_shown(storage: Any) -> None:
    """An experiment of another tool, or of none, has the same frames."""
    import trialstore as ts

    made = storage.store.create_experiment("native", metrics=[ts.Metric("loss")])
    for rate in (0.1, 0.2, 0.1):
        made.register_trial({"rate": rate}, reserve=True).success(loss=rate)
    made.register_trial({"rate": 0.2}, reserve=True).crashed(ValueError("no"))
    made.register_trial({"rate": 0.3}, reserve=True).interrupt()
    data = storage.experiments["native"]
    frame = data.results_df
    assert frame["status"].tolist() == ["SUCCEEDED"] * 3 + ["FAILED", "PENDING"]
    assert frame["tunable_config_trial_group_id"].tolist() == [1, 2, 1, 2, 5]
    assert data.objectives == {"loss": "min"}
    assert len(data.trials) == 5
