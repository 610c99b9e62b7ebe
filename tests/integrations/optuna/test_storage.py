"""What `TrialStoreStorage` promises beyond Optuna's own suites."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

import trialstore as ts
from tests.support.flushes import Flushes
from trialstore.integrations.optuna import TrialStoreStorage, reports_frame, trials_frame
from trialstore.integrations.optuna.naming import split_id, trial_id
from trialstore.journal.journal import Draft
from trialstore.model.errors import ConflictError, StoreUnavailableError
from trialstore.model.times import now_text

MINIMIZE = [StudyDirection.MINIMIZE]
UNIT = FloatDistribution(0, 1)
SPAWN = multiprocessing.get_context("spawn")
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def storage(place: str) -> Iterator[TrialStoreStorage]:
    opened = TrialStoreStorage(place, durability="process")
    yield opened
    opened.close()


@pytest.fixture
def hurried() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def again(storage: TrialStoreStorage) -> TrialStoreStorage:
    """Another process's storage, as far as the store can tell."""
    return TrialStoreStorage(storage.url, durability="process")


# Values


NAN, INF = float("nan"), float("inf")
CHOICES = (True, 1, "1", None, NAN, 1.0, -0.0, "", "é\n", 2**53)
ATTRS = {
    "": [1, {"a": [None, True, 1.5, "x"]}],
    "$int": {"$float": "nan"},
    "big": 2**70,
    "inf": [INF, -INF],
    "text": "x" * 100_000 + "\0",
    "none": None,
    "empty": {},
}


def wide_trial() -> optuna.trial.FrozenTrial:
    params: dict[str, Any] = {f"c{index}": choice for index, choice in enumerate(CHOICES)}
    distributions: dict[str, Any] = {name: CategoricalDistribution((value,)) for name, value in params.items()}
    params |= {"z": 0.1 + 0.2, "a": 7, "_": 1.0}
    distributions |= {"z": FloatDistribution(0, 1, step=None), "a": IntDistribution(1, 9, log=True)}
    distributions["_"] = FloatDistribution(0, 2, step=0.5)
    return create_trial(
        params=params,
        distributions=distributions,
        value=-INF,
        user_attrs=ATTRS,
        system_attrs=ATTRS,
        intermediate_values={3: 1.0, -1: NAN, 2**40: INF, 0: 0.1},
    )


def same(one: optuna.trial.FrozenTrial, other: optuna.trial.FrozenTrial) -> None:
    assert repr(one.params) == repr(other.params)
    assert list(one.distributions.items()) == list(other.distributions.items()) or repr(one) == repr(other)
    assert repr(sorted(one.intermediate_values.items())) == repr(sorted(other.intermediate_values.items()))
    for member in ("state", "values", "datetime_start", "datetime_complete", "user_attrs", "system_attrs"):
        assert getattr(one, member) == getattr(other, member), member


@pytest.mark.parametrize("flushed", [False, True])
def test_a_trial_comes_back_exactly(storage: TrialStoreStorage, flushed: bool) -> None:
    study_id = storage.create_new_study(MINIMIZE, "wide")
    told = wide_trial()
    storage.create_new_trial(study_id, told)
    storage.create_new_trial(study_id, create_trial(value=1.0))
    if flushed:
        assert storage.experiment(study_id).flush() == 2
    for reader in (storage, again(storage)):
        first, second = reader.get_all_trials(study_id)
        same(first, told)
        assert (first.number, second.number, second.params) == (0, 1, {})
        assert [type(value) for value in first.params.values()] == [type(value) for value in told.params.values()]


def test_what_is_set_piece_by_piece_is_what_comes_at_once(storage: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE, "pieces")
    told = wide_trial()
    number = storage.create_new_trial(study_id)
    for name, value in told.params.items():
        distribution = told.distributions[name]
        storage.set_trial_param(number, name, distribution.to_internal_repr(value), distribution)
    for key, value in ATTRS.items():
        storage.set_trial_user_attr(number, key, value)
        storage.set_trial_system_attr(number, key, value)
    for step, value in told.intermediate_values.items():
        storage.set_trial_intermediate_value(number, step, 17.0)
        storage.set_trial_intermediate_value(number, step, value)
    before = storage.get_trial(number)
    assert storage.set_trial_state_values(number, TrialState.COMPLETE, [-INF])
    for reader in (storage, again(storage)):
        found = reader.get_trial(number)
        assert found.datetime_start == before.datetime_start
        assert found.datetime_complete is not None
        for trial in (found, told):
            trial.datetime_start = trial.datetime_complete = datetime(2026, 1, 1)
        same(found, told)


def test_json_makes_of_attributes_what_it_makes(storage: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE, "json")
    number = storage.create_new_trial(study_id)
    for put in (storage.set_trial_user_attr, storage.set_trial_system_attr):
        put(number, "k", {1: (1, 2)})
        for value in ({1}, datetime.now(), b"x"):
            with pytest.raises(TypeError):
                put(number, "k", value)
    for put in (storage.set_study_user_attr, storage.set_study_system_attr):
        put(study_id, "k", {1: (1, 2)})
        put(study_id, "n", None)
        with pytest.raises(TypeError):
            put(study_id, "k", {1})
    trial = storage.get_trial(number)
    assert trial.user_attrs == trial.system_attrs == {"k": {"1": [1, 2]}}
    assert storage.get_study_user_attrs(study_id) == {"k": {"1": [1, 2]}, "n": None}


@pytest.mark.parametrize("name", ["", "x" * 2000, "a/b%..", "lone \ud800", "no\0thing", " ", "x (version 2)"])
def test_a_study_has_any_name(storage: TrialStoreStorage, name: str) -> None:
    study_id = storage.create_new_study(MINIMIZE, name)
    with pytest.raises(DuplicatedStudyError):
        storage.create_new_study(MINIMIZE, name)
    for reader in (storage, again(storage)):
        assert reader.get_study_id_from_name(name) == study_id
        assert reader.get_study_name_from_id(study_id) == name
    storage.delete_study(study_id)
    assert storage.create_new_study(MINIMIZE, name) == study_id + 1


@pytest.mark.parametrize("study", [1, 2, 2**25 - 1])
@pytest.mark.parametrize("number", [0, 1, 2**28 - 1])
def test_ids_go_both_ways_and_fit_javascript(study: int, number: int) -> None:
    assert split_id(trial_id(study, number)) == (study, number)
    assert trial_id(study, number) < 2**53


# Who sees what, when


def test_what_was_set_before_tell_is_in_the_same_commit(storage: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE, "commits")
    ledger = storage.experiment(study_id)._ledger
    for expected in (0, 3):  # the first to have a parameter takes a commit for it
        number = storage.create_new_trial(study_id)
        with ledger.journal.view() as state:
            assert state.seq == expected
        storage.set_trial_param(number, "x", 0.5, UNIT)
        storage.set_trial_user_attr(number, "k", 1)
        storage.set_trial_intermediate_value(number, 1, 0.5)
        assert again(storage).get_trial(number).params == {}
        storage.set_trial_state_values(number, TrialState.COMPLETE, [0.5])
        trial = again(storage).get_trial(number)
        assert (trial.params, trial.user_attrs, trial.intermediate_values) == ({"x": 0.5}, {"k": 1}, {1: 0.5})


def test_any_durable_call_takes_along_what_was_set_of_other_trials(storage: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE, "along")
    number = storage.create_new_trial(study_id)
    storage.set_trial_user_attr(number, "k", 1)
    storage.create_new_trial(study_id)
    for reader in (storage, again(storage)):
        assert reader.get_trial(number).user_attrs == {"k": 1}
    storage.set_trial_user_attr(number, "k", 2)
    storage.set_study_user_attr(study_id, "s", 1)
    for reader in (storage, again(storage)):
        assert reader.get_trial(number).user_attrs == {"k": 2}


def test_strict_waits_for_each(place: str) -> None:
    storage = TrialStoreStorage(place, durability="strict")
    number = storage.create_new_trial(storage.create_new_study(MINIMIZE, "strict"))
    storage.set_trial_param(number, "x", 0.5, UNIT)
    other = again(storage)
    assert other.get_trial(number).params == {"x": 0.5}
    assert other.set_trial_state_values(number, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_user_attr(number, "k", 1)


def test_what_lingers_is_committed_in_the_background(place: str) -> None:
    storage = TrialStoreStorage(place, linger_s=0.05)
    study_id = storage.create_new_study(MINIMIZE, "linger")
    number = storage.create_new_trial(study_id)
    storage.set_trial_user_attr(number, "k", 1)
    study = storage._studies[study_id]
    tick = threading.Event()
    for _ in range(2000):
        if not study.has_waiting:
            break
        tick.wait(0.01)
    assert again(storage).get_trial(number).user_attrs == {"k": 1}


@pytest.mark.parametrize("end", ["flush", "close", "pickle", "collect"])
def test_what_waits_is_not_lost(place: str, end: str) -> None:
    storage: Any = TrialStoreStorage(place, linger_s=3600)
    number = storage.create_new_trial(storage.create_new_study(MINIMIZE, "end"))
    storage.set_trial_param(number, "x", 0.5, UNIT)
    if end == "pickle":
        reader = pickle.loads(pickle.dumps(storage))
    else:
        if end == "collect":
            storage = None
        else:
            getattr(storage, end)()
        reader = TrialStoreStorage(place)
    assert reader.get_trial(number).params == {"x": 0.5}


@pytest.mark.parametrize("durability", ["machine", "strict"])
def test_a_trial_is_forced_to_the_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any) -> None:
    flushes = Flushes(monkeypatch)
    strict = durability == "strict"
    storage = TrialStoreStorage(str(tmp_path / "forced"), durability=durability, maintenance=False, linger_s=1000.0)
    study_id = storage.create_new_study(MINIMIZE, "forced")
    first = storage.create_new_trial(study_id)
    storage.set_trial_param(first, "x", 0.5, UNIT)
    storage.set_trial_state_values(first, TrialState.COMPLETE, [1.0])
    begun: list[int] = []
    assert flushes.of(lambda: begun.append(storage.create_new_trial(study_id))) == strict
    assert flushes.of(lambda: storage.set_trial_param(begun[0], "x", 0.5, UNIT)) == strict
    assert flushes.of(lambda: storage.set_trial_state_values(begun[0], TrialState.COMPLETE, [1.0])) == 1
    storage.create_new_trial(study_id)
    assert flushes.of(storage.close) == (not strict)


def test_a_failed_commit_loses_nothing(storage: TrialStoreStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    study_id = storage.create_new_study(MINIMIZE, "failing")
    first, number = storage.create_new_trial(study_id), storage.create_new_trial(study_id)
    storage.set_trial_param(first, "y", 0.5, UNIT)
    storage.set_trial_param(number, "x", 0.5, UNIT)
    ledger = storage._studies[study_id].ledger

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("the disk is away")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "execute", fail)
        with pytest.raises(StoreUnavailableError):
            storage.set_trial_state_values(number, TrialState.COMPLETE, [1.0])
        storage.set_trial_param(number, "y", 0.25, UNIT)
        assert storage.get_trial(number).params == {"x": 0.5, "y": 0.25}
    assert storage.set_trial_state_values(number, TrialState.COMPLETE, [2.0])
    trial = again(storage).get_trial(number)
    assert (trial.params, trial.values) == ({"x": 0.5, "y": 0.25}, [2.0])


def test_a_trial_that_another_process_ended_is_ended(storage: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE, "ended")
    number = storage.create_new_trial(study_id)
    storage.set_trial_user_attr(number, "late", 1)
    other = again(storage)
    assert other.set_trial_state_values(number, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(number, TrialState.COMPLETE, [1.0])
    for reader in (storage, other):
        trial = reader.get_trial(number)
        assert (trial.state, trial.values, trial.user_attrs) == (TrialState.FAIL, None, {})


def test_a_finished_trial_is_decoded_once(storage: TrialStoreStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    study_id = storage.create_new_study(MINIMIZE, "once")
    for value in range(5):
        storage.create_new_trial(study_id, create_trial(value=value))
    first = storage.get_all_trials(study_id, deepcopy=False)
    import trialstore.integrations.optuna.view as view

    monkeypatch.setattr(view, "frozen_of", None)
    monkeypatch.setattr(view, "read_records", None)
    second = storage.get_all_trials(study_id, deepcopy=False)
    assert [id(trial) for trial in first] == [id(trial) for trial in second]
    assert first is not second


def test_others_trials_are_seen_after_a_flush_too(storage: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE, "flushed")
    reader = again(storage)
    running = storage.create_new_trial(study_id)
    storage.set_trial_intermediate_value(running, 0, 0.5)
    storage.flush()
    assert len(reader.get_all_trials(study_id)) == 1
    for value in range(3):
        told = create_trial(value=value, intermediate_values={value: 0.5})
        storage.create_new_trial(study_id, told)
    storage.set_trial_intermediate_value(running, 1, 0.75)
    storage.flush()
    storage.experiment(study_id).flush()
    trials = reader.get_all_trials(study_id)
    assert [trial.intermediate_values for trial in trials] == [{0: 0.5, 1: 0.75}, {0: 0.5}, {1: 0.5}, {2: 0.5}]
    storage.set_trial_state_values(running, TrialState.COMPLETE, [1.0])
    assert reader.get_trial(running).intermediate_values == {0: 0.5, 1: 0.75}
    assert reader.get_best_trial(study_id).number == 1


# Races


def test_one_thread_starts_a_waiting_trial(storage: TrialStoreStorage, hurried: None) -> None:
    study_id = storage.create_new_study(MINIMIZE, "race")
    storages = [storage, *(again(storage) for _ in range(3))]
    for _ in range(10):
        number = storage.create_new_trial(study_id, create_trial(state=TrialState.WAITING))
        barrier, wins = threading.Barrier(8), []

        def start(mine: TrialStoreStorage, number: int = number, barrier: Any = barrier, wins: Any = wins) -> None:
            barrier.wait()
            wins.append(mine.set_trial_state_values(number, TrialState.RUNNING))

        threads = [threading.Thread(target=start, args=(storages[index % 4],)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(wins) == [False] * 7 + [True]


def work(storage: TrialStoreStorage, count: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=storage, study_name="many", load_if_exists=True)

    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", -1, 1)
        trial.report(x, trial.number)
        trial.set_user_attr("number", trial.number)
        return float(x * x)

    study.optimize(objective, n_trials=count)


@pytest.mark.parametrize("context", [SPAWN, FORK], ids=["spawn", "fork"])
def test_many_processes_lose_nothing(storage: TrialStoreStorage, context: Any) -> None:
    storage.get_all_studies()
    workers = [context.Process(target=work, args=(storage, 15)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    trials = optuna.load_study(study_name="many", storage=storage).trials
    assert [trial.number for trial in trials] == list(range(60))
    for trial in trials:
        assert trial.state is TrialState.COMPLETE
        assert trial.user_attrs == {"number": trial.number}
        assert trial.intermediate_values == {trial.number: trial.params["x"]}
        assert trial.value == trial.params["x"] * trial.params["x"]


def look(storage: TrialStoreStorage) -> None:
    assert len(storage.get_all_trials(1)) == 1


def test_what_a_parent_set_is_not_a_forked_childs_to_commit(place: str) -> None:
    storage = TrialStoreStorage(place, linger_s=3600)
    number = storage.create_new_trial(storage.create_new_study(MINIMIZE, "parent"))
    storage.set_trial_user_attr(number, "k", 1)
    child = FORK.Process(target=look, args=(storage,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert again(storage).get_trial(number).user_attrs == {}
    storage.close()
    assert again(storage).get_trial(number).user_attrs == {"k": 1}


def tell(storage: TrialStoreStorage, told: Any) -> None:
    """Go on until killed, and say which trials are told."""
    study = optuna.load_study(study_name="killed", storage=storage)
    while True:
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        trial.report(x, 1)
        study.tell(trial, x)
        told.put((trial.number, x))


def test_killed_processes_lose_nothing_that_was_told(place: str) -> None:
    storage = TrialStoreStorage(place)
    study = optuna.create_study(storage=storage, study_name="killed")
    queues = [SPAWN.SimpleQueue() for _ in range(4)]
    workers = [SPAWN.Process(target=tell, args=(storage, queue)) for queue in queues]
    for worker in workers:
        worker.start()
    told = {}
    for index, (worker, queue) in enumerate(zip(workers, queues, strict=True)):
        for _ in range(5 + index):
            number, x = queue.get()
            told[number] = x
        worker.kill()
    for worker in workers:
        worker.join()
    assert len(told) == 5 + 6 + 7 + 8
    trials = study.trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    for number, x in told.items():
        trial = trials[number]
        assert (trial.state, trial.value, trial.params) == (TrialState.COMPLETE, x, {"x": x})
        assert trial.intermediate_values == {1: x}
    assert sum(trial.state is TrialState.RUNNING for trial in trials) <= 4
    study.tell(study.ask({"x": UNIT}), 0.5)  # whoever comes next goes on


def test_a_session_that_was_forgotten_goes_on(storage: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE, "silent")
    number = storage.create_new_trial(study_id)
    storage.set_trial_param(number, "x", 0.5, UNIT)
    others = again(storage).experiment(study_id)._ledger
    others.execute(Draft("retire_sessions", {"before": now_text()}))
    assert storage.set_trial_state_values(number, TrialState.COMPLETE, [1.0])


# One store, both faces


def test_a_study_is_an_experiment(storage: TrialStoreStorage) -> None:
    study = optuna.create_study(storage=storage, study_name="faces", directions=["minimize", "maximize"])
    study.set_metric_names(["loss", "speed"])
    for index in range(3):
        trial = study.ask({"lr": FloatDistribution(0, 1), "kind": CategoricalDistribution(("a", None, True))})
        storage.set_trial_intermediate_value(trial._trial_id, index, float(index))
        study.tell(trial, [float(index), 1.0])
    experiment = storage.store.experiment("faces")
    assert [(metric.name, metric.minimize) for metric in experiment.declared_metrics] == [
        ("loss", True),
        ("speed", False),
    ]
    rows = storage.store.sql("select trial, status, params.lr lr, metrics.loss loss from trials order by 1").pl().rows()
    params = [trial.params["lr"] for trial in study.trials]
    assert rows == [(index, "SUCCEEDED", params[index], float(index)) for index in range(3)]
    assert [trial.params for trial in experiment.trials()] == [trial.params for trial in study.trials]
    assert [trial.values for trial in study.trials] == [[float(index), 1.0] for index in range(3)]
    assert experiment.metrics().select("trial", "name", "step", "value").collect().rows() == [
        (0, "loss", 0, 0.0),
        (1, "loss", 1, 1.0),
        (2, "loss", 2, 2.0),
    ]


def test_metrics_may_get_names_late(storage: TrialStoreStorage) -> None:
    study = optuna.create_study(storage=storage, study_name="late")
    study.optimize(lambda trial: trial.report(2.0, 1) or 1.0, n_trials=1)
    study.set_metric_names(["loss"])
    study.optimize(lambda trial: trial.report(3.0, 1) or 0.5, n_trials=1)
    for reader in (storage, again(storage)):
        trials = optuna.load_study(study_name="late", storage=reader).trials
        assert [(trial.value, trial.intermediate_values) for trial in trials] == [(1.0, {1: 2.0}), (0.5, {1: 3.0})]


def test_an_experiment_is_a_study(storage: TrialStoreStorage) -> None:
    experiment = storage.store.create_experiment(
        "native",
        metrics=[ts.Metric("acc", minimize=False)],
        space={"lr": ts.Real(0.001, 1, log=True), "n": ts.Integer(1, 8), "opt": ts.Categorical(["adam", None, 1])},
    )
    trial = experiment.register_trial({"lr": 0.1, "n": 3, "opt": None}, reserve=True)
    trial.report({"acc": 0.25}, step=1)
    trial.annotate(note="x")
    trial.success(acc=0.5)
    experiment.register_trial({"lr": 0.2, "n": 4, "opt": 1})
    study = optuna.load_study(study_name="native", storage=storage)
    assert study.direction is StudyDirection.MAXIMIZE
    done, waiting = study.trials
    assert (done.state, done.values, done.params) == (TrialState.COMPLETE, [0.5], {"lr": 0.1, "n": 3, "opt": None})
    assert (done.intermediate_values, done.user_attrs) == ({1: 0.25}, {"note": "x"})
    assert waiting.state is TrialState.WAITING
    assert done.distributions == {
        "lr": FloatDistribution(0.001, 1, log=True),
        "n": IntDistribution(1, 8),
        "opt": CategoricalDistribution(("adam", None, 1)),
    }
    done._validate()
    trial = study.ask(done.distributions)
    assert trial.params == waiting.params  # the one that waited
    study.tell(trial, 0.75)
    study.optimize(lambda trial: trial.suggest_float("lr", 0.001, 1, log=True), n_trials=2)
    assert len(experiment) == 4
    assert study.best_value == max(trial.metrics["acc"] for trial in experiment.trials("succeeded"))
    with pytest.raises(ValueError, match="must be"):
        study.ask().suggest_float("lr", 2.0, 3.0, log=True)


def test_a_second_version_is_another_study(storage: TrialStoreStorage) -> None:
    first = storage.store.create_experiment("twice", metrics=[ts.Metric("m")])
    second = storage.store.create_experiment("twice", metrics=[ts.Metric("m")], version=None)
    assert storage.get_study_id_from_name("twice") == first.id
    assert storage.get_study_id_from_name("twice (version 2)") == second.id
    assert optuna.get_all_study_names(storage) == ["twice", "twice (version 2)"]


def test_a_workers_trial_is_its_own(storage: TrialStoreStorage) -> None:
    study = optuna.create_study(storage=storage, study_name="owned")
    study.enqueue_trial({"x": 0.5})
    experiment = ts.open(storage.url).experiment("owned")
    trial = experiment.reserve_trial()
    assert trial is not None
    number = trial_id(experiment.id, trial.number)
    assert not storage.set_trial_state_values(number, TrialState.RUNNING)
    with pytest.raises(ConflictError):
        storage.set_trial_state_values(number, TrialState.FAIL)
    trial.success(value=1.0)
    assert study.best_value == 1.0


def test_no_lease_takes_a_trial_from_optuna(place: str) -> None:
    storage = TrialStoreStorage(place, lease_s=0.001)
    number = storage.create_new_trial(storage.create_new_study(MINIMIZE, "leases"))
    experiment = ts.open(place, lease_s=0.001).experiment("leases")
    assert experiment.fetch_lost_trials() == experiment.fix_lost_trials() == []
    assert experiment.reserve_trial() is None
    assert storage.set_trial_state_values(number, TrialState.COMPLETE, [1.0])


def test_a_removed_trial_is_gone(storage: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE, "removed")
    for value in range(3):
        storage.create_new_trial(study_id, create_trial(value=value))
    reader = again(storage)
    assert reader.get_best_trial(study_id).number == 0
    experiment = storage.experiment(study_id)
    experiment.delete_trials([0])
    assert [trial.number for trial in reader.get_all_trials(study_id)] == [1, 2]
    assert reader.get_best_trial(study_id).number == 1
    assert [trial.number for trial in again(storage).get_all_trials(study_id)] == [1, 2]


def test_frames_have_what_was_reported(storage: TrialStoreStorage) -> None:
    study = optuna.create_study(storage=storage, study_name="frames")
    for index in range(2):
        trial = study.ask({"x": UNIT})
        for step in (5, 1)[: index + 1]:
            trial.report(step / 2, step)
        study.tell(trial, 1.0)
    study.ask()
    frame = trials_frame(study)
    assert frame["trial"].to_list() == [0, 1, 2]
    assert frame["reports"].to_list() == [
        [{"step": 5, "value": 2.5}],
        [{"step": 1, "value": 0.5}, {"step": 5, "value": 2.5}],
        None,
    ]
    assert frame["params"].struct.field("x").to_list()[:2] == [trial.params["x"] for trial in study.trials[:2]]
    assert reports_frame(study).select("trial", "step", "value").rows() == [(0, 5, 2.5), (1, 1, 0.5), (1, 5, 2.5)]
    with pytest.raises(TypeError, match="InMemoryStorage"):
        trials_frame(optuna.create_study(storage=optuna.storages.InMemoryStorage()))


# Heartbeats


def test_a_vacuum_leaves_the_heartbeats_of_running_trials(place: str) -> None:
    with pytest.warns(Warning, match="heartbeat_interval"):
        storage = TrialStoreStorage(place, heartbeat_interval=1)
    study_id = storage.create_new_study(MINIMIZE, "beats")
    numbers = [storage.create_new_trial(study_id) for _ in range(3)]
    for number in numbers[:2]:
        storage.record_heartbeat(number)
    storage.set_trial_state_values(numbers[1], TrialState.COMPLETE, [1.0])
    leases = list(Path(place).glob("leases/*/trial-*.json"))
    assert [lease.name for lease in leases] == ["trial-0.json"]  # the other one has ended
    os.utime(leases[0], (1, 1))
    storage.store.vacuum(grace=timedelta(seconds=1))
    assert leases[0].exists()
    assert storage._get_stale_trial_ids(study_id) == [numbers[0]]
    storage.record_heartbeat(numbers[0])
    assert storage._get_stale_trial_ids(study_id) == []
    assert math.isfinite(storage._grace_s())


# Distributions of one name


def test_of_two_processes_with_other_distributions_of_a_name_one_is_refused(storage: TrialStoreStorage) -> None:
    """Nothing of either trial is committed yet: what they suggested rides along with later calls."""
    study_id = storage.create_new_study(MINIMIZE, "tune")
    other = again(storage)
    mine, theirs = storage.create_new_trial(study_id), other.create_new_trial(study_id)

    storage.set_trial_param(mine, "x", 0.5, UNIT)
    with pytest.raises(ValueError, match="different distribution kind"):
        other.set_trial_param(theirs, "x", 1, CategoricalDistribution(("a", "b")))
    storage.set_trial_param(mine, "k", 0, CategoricalDistribution(("a", "b")))
    with pytest.raises(ValueError, match="dynamic value space"):
        other.set_trial_param(theirs, "k", 0, CategoricalDistribution(("b", "a")))
    other.set_trial_param(theirs, "x", 7.5, FloatDistribution(0, 10))  # another range may follow

    storage.set_trial_state_values(mine, TrialState.COMPLETE, [1.0])
    other.set_trial_state_values(theirs, TrialState.COMPLETE, [1.0])
    trials = again(storage).get_all_trials(study_id)
    assert [trial.params for trial in trials] == [{"x": 0.5, "k": "a"}, {"x": 7.5}]
    other.close()


def test_who_asks_at_once_for_other_distributions_is_told_the_same(storage: TrialStoreStorage, hurried: None) -> None:
    study_id = storage.create_new_study(MINIMIZE, "tune")
    kinds: list[Any] = [UNIT, IntDistribution(0, 1), CategoricalDistribution((0, 1)), CategoricalDistribution((1, 0))]
    others = [again(storage) for _ in kinds]
    numbers = [other.create_new_trial(study_id) for other in others]
    gate = threading.Barrier(len(kinds))
    taken: list[tuple[str, int]] = []

    def suggest(index: int) -> None:
        for name in map(str, range(10)):
            gate.wait()
            try:
                others[index].set_trial_param(numbers[index], name, 1, kinds[index])
            except ValueError:
                continue
            taken.append((name, index))

    threads = [threading.Thread(target=suggest, args=(index,)) for index in range(len(kinds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()

    assert sorted(name for name, _ in taken) == sorted(map(str, range(10))), "of each name one kind is taken"
    trials = again(storage).get_all_trials(study_id)
    assert {(name, index) for index, trial in enumerate(trials) for name in trial.params} == set(taken)


def test_a_distribution_costs_a_commit_once_in_a_study(storage: TrialStoreStorage) -> None:
    study = optuna.create_study(storage=storage)
    journal = storage._study(study._study_id).ledger.journal

    def commits(used: Any, trials: int) -> int:
        with journal.view() as state:
            before = state.seq
        used.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_int("n", 0, 9), n_trials=trials)
        with journal.view() as state:
            return state.seq - before

    assert commits(study, 1) == 4
    assert commits(study, 5) == 10
    other = again(storage)
    assert commits(optuna.load_study(study_name=study.study_name, storage=other), 3) == 6
    other.close()
