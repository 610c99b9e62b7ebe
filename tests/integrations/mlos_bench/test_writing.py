"""What mlos_bench demands of a storage while experiments run."""

from __future__ import annotations

import multiprocessing
import pickle
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytz
from mlos_bench.environments.status import Status
from mlos_bench.storage.base_storage import Storage
from mlos_bench.storage.base_trial_data import TrialData

from tests.integrations.mlos_bench.experiments import START, opened, run, suggestions, tunable_groups
from trialstore.integrations.mlos_bench import TrialStoreStorage
from trialstore.model.errors import ReadOnlyError

HOUR = timedelta(hours=1)


def ids(trials: Any) -> list[int]:
    return [trial.trial_id for trial in trials]


def test_an_experiment_is_begun_once_and_then_gone_on_with(storage: Any, tunables: Any) -> None:
    experiment = opened(storage, tunables)
    with experiment as entered:
        assert entered is experiment
        assert entered.trial_id == 1
        assert [entered.new_trial(tunables).trial_id for _ in range(2)] == [1, 2]
        with pytest.raises(AssertionError), experiment:
            pass
    with opened(storage, tunables, description="another text", opt_targets={"score": "max"}) as again:
        assert again.trial_id == 3
        assert again.new_trial(tunables).trial_id == 3
    data = storage.experiments["Test-001"]
    assert data.description == "an experiment"
    assert data.objectives == {"score": "min"}  # those it was begun with


def test_the_first_trial_has_the_id_that_was_asked_for(storage: Any, tunables: Any) -> None:
    with opened(storage, tunables, trial_id=100) as experiment:
        assert experiment.trial_id == 100
        assert experiment.new_trial(tunables).trial_id == 100
        assert experiment.new_trial(tunables).trial_id == 101
    with opened(storage, tunables, trial_id=5) as experiment:
        assert experiment.new_trial(tunables).trial_id == 102
    assert list(storage.experiments["Test-001"].trials) == [100, 101, 102]


def test_two_writers_get_two_ids(tmp_path: Path, tunables: Any) -> None:
    config = {"url": str(tmp_path / "s"), "durability": "process"}
    one, two = TrialStoreStorage(config), TrialStoreStorage(config)
    with opened(one, tunables) as first, opened(two, tunables) as second:
        assert first.trial_id == second.trial_id == 1
        made = [each.new_trial(tunables) for _ in range(5) for each in (first, second)]
    assert ids(made) == list(range(1, 11))
    assert {trial.tunable_config_id for trial in made} == {1}


def _schedule(url: str, name: str, count: int) -> list[tuple[int, int]]:
    storage = TrialStoreStorage({"url": url, "durability": "process"})
    with opened(storage, tunable_groups(), name) as experiment:
        made = [experiment.new_trial(config) for config in suggestions(tunable_groups(), count)]
    return [(trial.trial_id, trial.tunable_config_id) for trial in made]


def test_processes_make_no_configuration_twice(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    names = ["one", "one", "two"]
    with context.Pool(3) as pool:
        made = pool.starmap(_schedule, [(str(tmp_path / "s"), name, 8) for name in names])
    first, second, third = made
    assert sorted(ids_ for ids_, _ in first + second) == list(range(1, 17))
    assert [number for number, _ in third] == list(range(1, 9))
    # The three had the same eight configurations, which have the ids 1 to 8 in the whole store.
    assert [c for _, c in first] == [c for _, c in second] == [c for _, c in third]
    assert {c for _, c in first} == set(range(1, 9))


def test_trials_are_due_at_their_time(experiment: Any, tunables: Any) -> None:
    config = {"location": "westus2", "num_repeats": 100}
    now = datetime.now(pytz.UTC)
    at_once = experiment.new_trial(tunables, config=config)
    also = experiment.new_trial(tunables, now, config)
    in_1h = experiment.new_trial(tunables, now + HOUR, config)
    in_2h = experiment.new_trial(tunables, now + 2 * HOUR, config)

    def pending(after: timedelta, **which: Any) -> list[int]:
        return ids(experiment.pending_trials(now + after, **{"running": False, **which}))

    minute = timedelta(minutes=1)
    assert pending(minute) == ids([at_once, also])
    assert pending(HOUR - timedelta(microseconds=1)) == ids([at_once, also])
    assert pending(HOUR) == ids([at_once, also, in_1h])
    assert pending(3 * HOUR) == ids([at_once, also, in_1h, in_2h])
    assert experiment.load() == ([], [], [], [])
    at_once.update(Status.RUNNING, now + minute)
    also.update(Status.RUNNING, now + minute)
    assert experiment.load() == ([], [], [], [])
    assert pending(3 * HOUR) == ids([in_1h, in_2h])
    assert pending(3 * HOUR, running=True) == ids([at_once, also, in_1h, in_2h])
    at_once.update(Status.SUCCEEDED, now + 2 * minute, {"score": 1.0})
    also.update(Status.FAILED, now + 2 * minute)
    in_1h.update(Status.SUCCEEDED, now + 2 * HOUR, {"score": 1.0})
    assert pending(3 * HOUR, running=True) == ids([in_2h])
    assert experiment.load()[0] == ids([at_once, also, in_1h])
    assert experiment.load()[3] == [Status.SUCCEEDED, Status.FAILED, Status.SUCCEEDED]
    assert experiment.load(also.trial_id)[0] == [in_1h.trial_id]


def test_a_pending_trial_comes_back_as_text_that_tunables_take(experiment: Any) -> None:
    config = suggestions(experiment.tunables, 2)[1]
    made = experiment.new_trial(config.copy(), config={"num_repeats": 100, "note": None, "ratio": 0.1 + 0.2})
    (found,) = experiment.pending_trials(datetime.now(pytz.UTC), running=False)
    assert found.tunables == config
    assert not found.tunables.is_updated()
    assert found.tunable_config_id == made.tunable_config_id == 1
    assert found.config() == {
        "num_repeats": "100",
        "note": None,
        "ratio": "0.30000000000000004",
        "experiment_id": "Test-001",
        "trial_id": 1,
    }
    assert found.config({"note": "global"})["note"] == "global"
    assert found.status is Status.PENDING


def test_values_are_text_where_mlos_bench_wants_text(experiment: Any, tunables: Any) -> None:
    values = {"score": 99.9, "benchmark": "test", "nothing": None, "count": 7, "ok": True, "sum": 0.1 + 0.2}
    values |= {"nan": float("nan"), "inf": float("-inf"), "large": 2**70}
    trial = experiment.new_trial(tunables)
    assert trial.update(Status.SUCCEEDED, datetime.now(pytz.UTC), values) == values
    shown = {name: None if value is None else str(value) for name, value in values.items()}
    config = {
        "idle": "halt",
        "latency_ns": "2000000",
        "migration_cost_ns": "-1",
        "share": "0.1",
        "vmSize": "B4ms",
    }
    assert experiment.load() == ([1], [config], [shown], [Status.SUCCEEDED])
    assert experiment.load_tunable_config(trial.tunable_config_id) == config
    assert experiment.load_tunable_config(77) == {}


def test_sql_sees_values_with_their_types(experiment: Any, storage: Any, tunables: Any) -> None:
    experiment.new_trial(tunables, config={"repeat_i": 1}).update(
        Status.SUCCEEDED, datetime.now(pytz.UTC), {"score": 1.5, "unit": "ms", "ops": 10}
    )
    row = storage.store.sql("""
        SELECT trial, params.latency_ns + 1, params.share * 2, params.vmSize, metrics.score, metrics.ops, summary.unit,
               attributes ->> '$.repeat_i'
        FROM trials
    """).fetchone()
    assert row == (0, 2000001, 0.2, "B4ms", 1.5, 10, "ms", "1")
    assert storage.store["Test-001"].best().number == 0


def test_only_those_that_ended_are_loaded(experiment: Any, tunables: Any) -> None:
    now = datetime.now(pytz.UTC)
    ended = [Status.SUCCEEDED, Status.FAILED, Status.TIMED_OUT, Status.CANCELED]
    for status in ended:
        experiment.new_trial(tunables).update(status, now, {"score": 1.0})
    experiment.new_trial(tunables).update(Status.RUNNING, now)
    experiment.new_trial(tunables)
    numbers, configs, scores, statuses = experiment.load()
    assert numbers == [1, 2, 3]
    assert statuses == ended[:3]
    assert scores == [{"score": "1.0"}, None, None]
    assert len(configs) == 3
    assert experiment.load(3) == ([], [], [], [])


def test_a_trial_ends_once(experiment: Any, storage: Any, tunables: Any) -> None:
    now = datetime.now(pytz.UTC)
    trial = experiment.new_trial(tunables)
    other = experiment.get_trial_by_id(trial.trial_id)
    trial.update(Status.SUCCEEDED, now, {"score": 1.0})
    for late in (trial, other):
        with pytest.raises(RuntimeError):
            late.update(Status.FAILED, now, {"score": 2.0})
        assert late.status is Status.SUCCEEDED
        late.update(Status.RUNNING, now)  # told in the log, and no error
    assert experiment.load()[2:] == ([{"score": "1.0"}], [Status.SUCCEEDED])
    storage.store["Test-001"].flush()
    with pytest.raises(RuntimeError):
        other.update(Status.FAILED, now)
    with pytest.raises(RuntimeError):
        experiment.get_trial_by_id(trial.trial_id).update(Status.CANCELED, now)
    assert experiment.load()[2:] == ([{"score": "1.0"}], [Status.SUCCEEDED])


def test_metrics_belong_to_an_end(experiment: Any, tunables: Any) -> None:
    trial = experiment.new_trial(tunables)
    with pytest.raises(AssertionError):
        trial.update(Status.RUNNING, datetime.now(pytz.UTC), {"score": 1.0})
    with pytest.raises(AssertionError):
        trial.update(Status.SUCCEEDED, datetime.now(pytz.UTC))
    trial.update(Status.SUCCEEDED, datetime.now(pytz.UTC), {"other": 1.0})  # a missing target is no error
    assert experiment.load()[2] == [{"other": "1.0"}]


def test_a_later_start_is_the_start(experiment: Any, storage: Any, tunables: Any) -> None:
    trial = experiment.new_trial(tunables, START)
    data = storage.experiments["Test-001"]
    assert data.trials[1].ts_start == START
    for minutes, status in enumerate((Status.READY, Status.RUNNING), start=1):
        trial.update(status, START + timedelta(minutes=minutes))
        assert data.trials[1].ts_start == START + timedelta(minutes=minutes)
        assert data.trials[1].status is status
    trial.update(Status.RUNNING, START + HOUR)  # it runs already: nothing changes
    assert data.trials[1].ts_start == START + timedelta(minutes=2)
    trial.update(Status.TIMED_OUT, START + HOUR)
    assert data.trials[1].ts_end == START + HOUR
    never_run = experiment.new_trial(tunables, START)
    never_run.update(Status.FAILED, START + HOUR)
    assert (data.trials[2].ts_start, data.trials[2].ts_end) == (START, START + HOUR)


def test_a_ready_trial_may_become_pending_again(experiment: Any, storage: Any, tunables: Any) -> None:
    trial = experiment.new_trial(tunables, START)
    trial.update(Status.READY, START + HOUR)
    trial.update(Status.PENDING, START + 2 * HOUR)
    assert ids(experiment.pending_trials(START + HOUR, running=True)) == []
    assert ids(experiment.pending_trials(START + 2 * HOUR, running=False)) == [1]
    assert storage.experiments["Test-001"].trials[1].ts_start == START + 2 * HOUR


def test_one_runner_gets_a_trial(experiment: Any, storage: Any, tunables: Any) -> None:
    first, second = (experiment.new_trial(tunables) for _ in range(2))
    assert first.trial_runner_id is None
    now = datetime.now(pytz.UTC)
    assert first.set_trial_runner(1) == 1
    assert first.set_trial_runner(2) == 2  # it is pending, and may be another's
    assert ids(experiment.pending_trials(now, running=False, trial_runner_assigned=True)) == [1]
    assert ids(experiment.pending_trials(now, running=False, trial_runner_assigned=False)) == [2]
    assert ids(experiment.pending_trials(now, running=False)) == [1, 2]
    other = experiment.get_trial_by_id(1)
    assert other.trial_runner_id == 2
    late = next(experiment.pending_trials(now, running=False, trial_runner_assigned=False))
    assert second.set_trial_runner(7) == 7
    assert late.set_trial_runner(8) == 7  # it was nobody's when this handle looked: another one was quicker
    assert second.set_trial_runner(4) == 4
    first.update(Status.RUNNING, now)
    assert other.set_trial_runner(3) == 2  # it runs
    assert other.trial_runner_id == 2
    first.update(Status.FAILED, now)
    assert other.set_trial_runner(3) == 2
    second.update(Status.RUNNING, now)
    assert second.set_trial_runner(5) == 4
    third = experiment.new_trial(tunables)
    third.update(Status.RUNNING, now)
    assert third.set_trial_runner(5) == 5  # it runs, and nobody said where
    assert [trial.trial_runner_id for trial in storage.experiments["Test-001"].trials.values()] == [2, 4, 5]


def test_config_data_is_added_and_never_replaced(experiment: Any, storage: Any, tunables: Any) -> None:
    trial = experiment.new_trial(tunables, config={"a": 1})
    trial.add_new_config_data({"b": 2, "c": None})
    assert trial.config()["b"] == 2
    for again in (trial, experiment.get_trial_by_id(1)):
        with pytest.raises(ValueError, match="a"):
            again.add_new_config_data({"d": 4, "a": 9})
    rows = storage.experiments["Test-001"].trials[1].metadata_df
    assert dict(rows.itertuples(index=False)) == {"a": "1", "b": "2", "c": None}


@pytest.mark.parametrize("ill", [object(), lambda: 1, {"nested": {"call": lambda: 1}}])
def test_config_data_must_be_plain(experiment: Any, tunables: Any, ill: Any) -> None:
    with pytest.raises(ValueError, match=r"object|lambda"):
        experiment.new_trial(tunables, config={"a": 1, "ill": ill})
    assert list(experiment.pending_trials(datetime.now(pytz.UTC), running=True)) == []


def test_experiments_and_trials_are_found_by_id(storage: Any, experiment: Any, tunables: Any) -> None:
    assert storage.get_experiment_by_id("none", tunables, {"score": "min"}) is None
    made = experiment.new_trial(tunables, config={"a": 1})
    found = storage.get_experiment_by_id("Test-001", tunables, {"score": "min"})
    assert (found.experiment_id, found.description, found.trial_id) == ("Test-001", "an experiment", 2)
    assert found.root_env_config == experiment.root_env_config
    with found:
        trial = found.get_trial_by_id(1)
        assert (trial.trial_id, trial.tunable_config_id, trial.tunables) == (1, made.tunable_config_id, tunables)
        assert trial.status is Status.PENDING
        assert trial.config()["a"] == "1"
        assert [found.get_trial_by_id(number) for number in (0, 2, -1)] == [None, None, None]
        assert found.new_trial(tunables).trial_id == 2


def test_telemetry_is_kept_once(experiment: Any, tunables: Any) -> None:
    trial = experiment.new_trial(tunables)
    samples = [
        (START + timedelta(seconds=second, microseconds=second), name, value)
        for second, (name, value) in enumerate([("b", 1), ("a", 0.1 + 0.2), ("a", "text"), ("c", None), ("d", True)])
    ]
    samples.append((START, "a", float("nan")))
    shown = sorted((at, name, None if value is None else str(value)) for at, name, value in samples)
    trial.update_telemetry(Status.RUNNING, START, samples)
    assert experiment.load_telemetry(1) == shown
    for repeated in (samples, [(at, name, "another") for at, name, _ in samples]):
        trial.update_telemetry(Status.RUNNING, START, repeated)
        assert experiment.load_telemetry(1) == shown
    many = [(START + timedelta(milliseconds=number), "cpu", number / 7) for number in range(3000)]
    for _ in range(2):
        trial.update_telemetry(Status.RUNNING, START, many)
    assert len(experiment.load_telemetry(1)) == 3000 + len(samples)
    assert all(at.tzinfo is pytz.UTC for at, _, _ in experiment.load_telemetry(1))
    assert experiment.load_telemetry(2) == []
    assert trial.status is Status.PENDING  # telemetry says nothing of the trial itself


def test_merged_experiments_warm_up_the_optimizer(storage: Any, tunables: Any) -> None:
    with opened(storage, tunables, "old") as old:
        run(old, suggestions(tunables, 2), repeats=1)
        for ill in (["none"], ["old"]):
            with pytest.raises(ValueError, match="cannot be merged"):
                old.merge(ill)
    with opened(storage, tunables, "other way", opt_targets={"score": "max"}):
        pass
    with opened(storage, tunables, "new") as new:
        with pytest.raises(ValueError, match="objectives"):
            new.merge(["other way"])
        assert new.load() == ([], [], [], [])
        new.merge(["old"])
        new.merge(["old"])
        assert new.load()[1:] == old.load()[1:]
        assert new.load()[0] == [0, 0]
        assert new.load(max(new.load()[0])) == ([], [], [], [])
        new.new_trial(tunables).update(Status.FAILED, START)
        assert new.load()[0] == [0, 0, 1]
        assert new.load(0)[0] == [1]
    with opened(storage, tunables, "new") as again:
        assert again.load()[0] == [0, 0, 1]


def test_a_pickled_storage_opens_the_same_data(storage: Any, experiment: Any, tunables: Any) -> None:
    run(experiment, suggestions(tunables, 2))
    restored = pickle.loads(pickle.dumps(storage))
    assert type(restored) is TrialStoreStorage
    assert restored is not storage
    assert list(restored.experiments) == ["Test-001"]
    assert restored.experiments["Test-001"].results_df.equals(storage.experiments["Test-001"].results_df)
    assert restored.experiments["Test-001"].trials == storage.experiments["Test-001"].trials
    with opened(restored, tunables) as again:
        assert again.new_trial(tunables).trial_id == 7
    assert experiment.new_trial(tunables).trial_id == 8


def test_a_store_that_is_read_refuses_to_write(storage: Any, experiment: Any, tunables: Any) -> None:
    experiment.new_trial(tunables)
    reading = TrialStoreStorage({"url": storage.store.url, "mode": "r"})
    assert len(reading.experiments["Test-001"].trials) == 1
    with pytest.raises(ReadOnlyError), opened(reading, tunables) as entered:
        entered.new_trial(tunables)


def test_what_only_the_main_branch_takes_is_passed(
    storage: Any, tunables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its base classes take the runner and the status; those of the released version do not."""
    told = []

    def wider(plain: Any) -> Any:
        def init(self: Any, *, trial_runner_id: int | None = None, **rest: Any) -> None:
            told.append(trial_runner_id)
            plain(self, **rest)

        return init

    for base in (Storage.Trial, TrialData):
        monkeypatch.setattr(base, "__init__", wider(base.__init__))
    with opened(storage, tunables) as experiment:
        experiment.new_trial(tunables).set_trial_runner(7)
        assert experiment.get_trial_by_id(1).trial_runner_id == 7
    assert storage.experiments["Test-001"].trials[1].trial_runner_id == 7
    assert told == [None, 7, 7]
