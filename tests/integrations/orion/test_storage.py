"""What Oríon's storage promises, on a store."""

from __future__ import annotations

import datetime
import pickle
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from orion.core.io.database import DuplicateKeyError
from orion.core.worker.trial import Trial
from orion.storage.base import FailedUpdate, LockAcquisitionTimeout, setup_storage

import trialstore as ts
from tests.support.flushes import Flushes


def make_trial(uid: Any, value: Any, name: str = "/x", kind: str = "categorical") -> Trial:
    params = [{"name": name, "type": kind, "value": value}]
    return Trial(experiment=uid, params=params, submit_time=datetime.datetime(2026, 1, 2, 3, 4, 5, 678901))


@pytest.fixture
def experiment(storage: Any) -> Any:
    document = {"name": "tune", "version": 1, "max_trials": 10, "metadata": {"user": "me"}, "algorithm": {"random": {}}}
    storage.create_experiment(document)
    return SimpleNamespace(_id=document["_id"], id=document["_id"], document=document)


ODD_VALUES = [
    (1, "a", (2.5,)), [1, 2], 2**63, -(2**70), float("inf"), None, b"\x00\xff", True, 1, 1.0, "1", "", "é\x00",
    {"a": {"b": (1,)}}, Path("/here"), {1, 2}, Fraction(1, 3), datetime.datetime(2026, 5, 4, 3, 2, 1, 987654),
]  # fmt: skip


@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_a_value_keeps_its_type(storage: Any, experiment: Any, value: Any) -> None:
    trial = storage.register_trial(make_trial(experiment._id, value))
    found = storage.get_trial(trial)
    assert found.to_dict() == trial.to_dict()
    assert type(found.params["/x"]) is type(value)
    assert setup_storage({"type": "trialstore", "url": storage.store.url}).get_trial(trial).to_dict() == trial.to_dict()


def test_nan_is_nan(storage: Any, experiment: Any) -> None:
    storage.register_trial(make_trial(experiment._id, float("nan")))
    (found,) = storage.fetch_trials(experiment)
    assert found.params["/x"] != found.params["/x"]


def test_a_life_is_forced_to_the_disk_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes = Flushes(monkeypatch)
    storage = setup_storage({"type": "trialstore", "url": url, "maintenance": False, "linger_s": 1000.0})
    document = {"name": "tune", "version": 1}
    storage.create_experiment(document)
    experiment = SimpleNamespace(_id=document["_id"], id=document["_id"])

    def begun(value: float) -> Trial:
        storage.register_trial(make_trial(experiment._id, value, kind="real"))
        trial = storage.reserve_trial(experiment)
        trial.results = [Trial.Result(name="loss", type="objective", value=1.5)]
        storage.push_trial_results(trial)
        return trial

    storage.set_trial_status(begun(0.25), "completed")
    trials: list[Trial] = []
    assert flushes.of(lambda: trials.append(begun(0.5))) == 0
    assert flushes.of(lambda: storage.set_trial_status(trials[0], "completed")) == 1
    assert flushes.of(lambda: storage.update_trial(trials[0], worker="another")) == 1
    storage._db.close_connection()


def test_a_trial_goes_through_its_life(storage: Any, experiment: Any) -> None:
    storage.register_trial(make_trial(experiment._id, 0.5, kind="real"))
    trial = storage.reserve_trial(experiment)
    assert storage.reserve_trial(experiment) is None
    assert trial.status == "reserved"
    assert trial.start_time == trial.heartbeat
    trial.results = [
        Trial.Result(name="loss", type="objective", value=1.5),
        Trial.Result(name="slope", type="gradient", value=[1.0, 2.0]),
        Trial.Result(name="epochs", type="statistic", value=3),
    ]
    trial.end_time = datetime.datetime(2026, 1, 2, 4)
    storage.push_trial_results(trial)
    storage.set_trial_status(trial, "completed")
    found = storage.get_trial(trial)
    assert found.to_dict() == {**trial.to_dict(), "heartbeat": found.heartbeat}
    with pytest.raises(FailedUpdate):
        storage.push_trial_results(trial)
    with pytest.raises(FailedUpdate):
        storage.set_trial_status(trial, "broken", was="reserved")
    row = storage.store.sql("SELECT status, params, metrics FROM trials").fetchone()
    assert row == ("SUCCEEDED", {"/x": 0.5}, {"loss": 1.5, "epochs": 3})


def test_native_handles_see_the_same(storage: Any, experiment: Any) -> None:
    storage.register_trial(make_trial(experiment._id, 3, kind="integer"))
    with ts.open(storage.store.url) as store:
        native = store.experiment("tune")
        assert native.max_trials == 10
        claimed = native.reserve_trial()
        assert claimed is not None
        assert storage.reserve_trial(experiment) is None
        assert [trial.status for trial in storage.fetch_trials(experiment)] == ["reserved"]
        claimed.fail()
    assert storage.count_broken_trials(experiment) == 1


@pytest.mark.parametrize("where", ["live", "part"])
def test_trials_are_changed_and_deleted_wherever_they_are(storage: Any, experiment: Any, where: str) -> None:
    for index in range(4):
        trial = make_trial(experiment._id, index)
        trial.status = "completed" if index else "new"
        storage.register_trial(trial)
    if where == "part":
        assert storage.store.experiment("tune").flush() == 3
    assert storage.count_completed_trials(experiment) == 3
    assert len(storage.fetch_trials_by_status(experiment, "completed")) == 3
    assert storage.update_trials(experiment, where={"status": "completed"}, status="interrupted") == 3
    assert storage.delete_trials(experiment, where={"status": "new"}) == 1
    assert sorted(trial.params["/x"] for trial in storage.fetch_pending_trials(experiment)) == [1, 2, 3]
    assert storage.register_trial(make_trial(experiment._id, 0)).id  # the id is free again
    with pytest.raises(DuplicateKeyError):
        storage.register_trial(make_trial(experiment._id, 1))
    other = setup_storage({"type": "trialstore", "url": storage.store.url})
    assert [t.to_dict() for t in other.fetch_trials(experiment)] == [
        t.to_dict() for t in storage.fetch_trials(experiment)
    ]


def test_of_a_trial_in_two_parts_the_newer_row_counts(storage: Any, experiment: Any) -> None:
    for index in range(6):
        trial = make_trial(experiment._id, index)
        trial.status = "completed"
        storage.register_trial(trial)
    native = storage.store.experiment("tune")
    assert native.flush() == 6
    for trial in storage.fetch_trials(experiment)[1::2]:
        storage.update_trial(trial, worker="late")
    assert native.flush() == 3
    other = setup_storage({"type": "trialstore", "url": storage.store.url})
    for one in (storage, other):
        assert [trial.worker for trial in one.fetch_trials(experiment)] == [None, "late"] * 3
        assert [document["worker"] for document in one._db.read("trials", {"worker": "late"})] == ["late"] * 3


def test_two_fields_changed_at_once_are_both_changed(storage: Any, experiment: Any) -> None:
    trial = storage.register_trial(make_trial(experiment._id, 1))
    other = setup_storage({"type": "trialstore", "url": storage.store.url})
    storage.update_trial(trial, exp_working_dir="here")
    other.update_trial(trial, worker="me")
    storage.update_trial(trial, surprise={"a": (1,)})
    document = other._db.read("trials", {"id": trial.id})[0]
    assert (document["exp_working_dir"], document["worker"], document["surprise"]) == ("here", "me", {"a": (1,)})


def test_lost_trials_are_told_by_their_heartbeat(storage: Any, experiment: Any) -> None:
    storage.register_trial(make_trial(experiment._id, 1))
    trial = storage.reserve_trial(experiment)
    assert storage.fetch_lost_trials(experiment) == []
    storage.update_trial(trial, heartbeat=datetime.datetime.utcnow() - datetime.timedelta(hours=1))
    assert [lost.id for lost in storage.fetch_lost_trials(experiment)] == [trial.id]
    assert storage.update_heartbeat(trial) == 1
    assert storage.fetch_lost_trials(experiment) == []


class TestAlgorithm:
    @pytest.mark.parametrize("size", [10, 3_000_000])
    def test_the_state_is_the_last_one(self, storage: Any, experiment: Any, size: int) -> None:
        for step in range(3):
            with storage.acquire_algorithm_lock(experiment) as locked:
                assert locked.state == (None if step == 0 else {"step": step - 1, "bytes": bytes(size)})
                locked.set_state({"step": step, "bytes": bytes(size)})
        other = pickle.loads(pickle.dumps(storage))
        assert other.get_algorithm_lock_info(experiment).state["step"] == 2
        folder = f"artifacts/experiment={storage.store.experiment('tune')._ledger.key}/sha256/"
        states = [info.key for info in storage.store._blobs.list(folder)]
        assert len(states) == (size > 4096)  # of large states the last one is kept, and none is in the journal

    def test_an_exception_leaves_the_state_as_it_was(self, storage: Any, experiment: Any) -> None:
        with storage.acquire_algorithm_lock(experiment) as locked:
            locked.set_state([1])

        def fail() -> None:
            with storage.acquire_algorithm_lock(experiment) as locked:
                locked.set_state([2])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        info = storage.get_algorithm_lock_info(experiment)
        assert (info.state, info.locked) == ([1], 0)

    def test_one_has_it_at_a_time(self, storage: Any, experiment: Any) -> None:
        other = setup_storage({"type": "trialstore", "url": storage.store.url})
        waiting = other.acquire_algorithm_lock(experiment, timeout=0.05, retry_interval=0.01)
        with storage.acquire_algorithm_lock(experiment), pytest.raises(LockAcquisitionTimeout):
            waiting.__enter__()

    def test_who_lost_it_does_not_overwrite_the_state(
        self, storage: Any, experiment: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        other = setup_storage({"type": "trialstore", "url": storage.store.url})
        holding = storage.acquire_algorithm_lock(experiment)
        slow = holding.__enter__()
        assert other.release_algorithm_lock(experiment) == 1
        with other.acquire_algorithm_lock(experiment) as locked:
            locked.set_state("newer")
        slow.set_state("older")
        holding.__exit__(None, None, None)
        assert "lock was lost" in caplog.text
        assert storage.get_algorithm_lock_info(experiment).state == "newer"

    def test_a_holder_that_died_loses_it(self, url: str) -> None:
        config = {"type": "trialstore", "url": url, "lease_s": 0.01}
        storage, dead = setup_storage(config), setup_storage(config)
        document = {"name": "tune", "version": 1}
        storage.create_experiment(document)
        algorithm = dead._db.algorithm(document["_id"])
        assert algorithm.take(datetime.datetime.utcnow()) is not None
        dead.store._session.close()  # its heartbeats end
        with storage.acquire_algorithm_lock(uid=document["_id"], timeout=60, retry_interval=0.02) as locked:
            locked.set_state("taken over")


def test_experiments_are_unique_by_name_and_version(storage: Any, experiment: Any) -> None:
    other = setup_storage({"type": "trialstore", "url": storage.store.url})
    with pytest.raises(DuplicateKeyError):
        other.create_experiment({"name": "tune", "version": 1})
    other.create_experiment({"name": "tune", "version": 2})
    assert [found["version"] for found in storage.fetch_experiments({"name": "tune"})] == [1, 2]
    assert storage.update_experiment(uid=experiment._id, max_trials=20, **{"metadata.user": "you"}) == 1
    (found,) = other.fetch_experiments({"metadata.user": "you"}, selection={"max_trials": 1, "metadata.user": 1})
    assert found == {"_id": experiment._id, "max_trials": 20, "metadata": {"user": "you"}}
    assert other.store.experiment("tune", 1).max_trials == 20
    assert storage.delete_experiment(uid=experiment._id) == 1
    assert [e["version"] for e in other.fetch_experiments({})] == [2]


def test_benchmarks_are_unique_by_name(storage: Any) -> None:
    storage.create_benchmark({"name": "bench", "targets": [{"assess": {"A": (1,)}}]})
    with pytest.raises(DuplicateKeyError):
        storage.create_benchmark({"name": "bench"})
    assert storage.fetch_benchmark({"name": "bench"})[0]["targets"] == [{"assess": {"A": (1,)}}]


def test_a_host_from_the_configuration_is_the_url(url: str) -> None:
    storage = setup_storage({"type": "trialstore", "database": {"type": "pickleddb", "host": url, "name": "orion"}})
    assert storage.store.url == ts.open(url).url
    legacy = setup_storage({"type": "legacy", "database": {"type": "trialstoredb", "host": url}})
    document = {"name": "tune", "version": 1}
    legacy.create_experiment(document)
    assert storage.fetch_experiments({}) == [document]


SPACE = {
    "lr": "loguniform(1e-05, 1, precision=3)",
    "depth": "uniform(1, 4, discrete=True, default_value=2)",
    "wide": "loguniform(1, 100, discrete=True)",
    "half": "uniform(-1.5, 3.5, discrete=True)",
    "act": "choices(['relu', (1, 2), None])",
    "weighted": "choices({'a': 0.30, 'b': 0.70})",
    "epochs": "fidelity(1, 16, base=4)",
}
TYPED = {
    "lr": ts.Real(1e-5, 1, log=True, precision=3),
    "depth": ts.Integer(1, 4, default=2),
    "wide": ts.Integer(1, 100, log=True),
    "half": ts.Integer(-2, 4),
    "act": ts.Categorical(["relu", (1, 2), None]),
    "weighted": ts.Categorical(["a", "b"]),
    "epochs": ts.Fidelity(1, 16, base=4),
}


def test_a_space_is_a_typed_space(storage: Any) -> None:
    from orion.core.io.space_builder import SpaceBuilder

    space = SpaceBuilder().build(SPACE)
    document = {"name": "typed", "version": 1, "space": space.configuration}
    storage.create_experiment(document)
    assert dict(storage.store.experiment("typed").space) == TYPED
    for seed in range(20):
        trial = space.sample(1, seed=seed)[0]
        assert all(
            storage.store.experiment("typed").space[name].check(v)[1] is None for name, v in trial.params.items()
        )
    storage.update_experiment(uid=document["_id"], space={"lr": "uniform(0, 1)"})
    assert dict(storage.store.experiment("typed").space) == {"lr": ts.Real(0, 1, precision=4)}


@pytest.mark.parametrize(
    "prior",
    [
        "normal(0, 1)",
        "uniform(0, 1, shape=3)",
        "choices([1, ..., 9])",
        "uniform(0, __import__('os'))",
        "moo",
        "",
        3,
        None,
    ],
)
def test_a_space_that_the_store_has_no_form_for_is_open(storage: Any, prior: Any) -> None:
    storage.create_experiment({"name": "open", "version": 1, "space": {"x": "uniform(0, 1)", "y": prior}})
    assert dict(storage.store.experiment("open").space) == {}


def test_the_objective_becomes_the_metric(storage: Any, experiment: Any) -> None:
    other = setup_storage({"type": "trialstore", "url": storage.store.url})
    assert storage.store.experiment("tune").declared_metrics == ()
    for value, reporter in ((0.5, storage), (0.25, other)):
        storage.register_trial(make_trial(experiment._id, value, kind="real"))
        trial = reporter.reserve_trial(experiment)
        trial.results = [
            Trial.Result(name="seconds", type="statistic", value=1),
            Trial.Result(name="loss", type="objective", value=value),
        ]
        reporter.push_trial_results(trial)
        reporter.set_trial_status(trial, "completed")
    native = other.store.experiment("tune")
    assert native.declared_metrics == (ts.Metric("loss"),)
    best = native.best()
    assert best is not None
    assert best.metrics["loss"] == 0.25
    assert native.stats.best_evaluation == 0.25


def test_a_trial_that_was_registered_natively_keeps_its_fidelity(storage: Any) -> None:
    document = {"name": "typed", "version": 1, "space": {"lr": "uniform(0, 1)", "epochs": "fidelity(1, 16)"}}
    storage.create_experiment(document)
    storage.store.experiment("typed").register_trial({"lr": 0.5, "epochs": 4})
    (trial,) = storage.fetch_trials(uid=document["_id"])
    assert trial.params == {"lr": 0.5, "epochs": 4}
    assert trial.to_dict()["params"][1] == {"name": "epochs", "type": "fidelity", "value": 4}


def test_garbage_is_collected_after_a_list_as_before(storage: Any, experiment: Any) -> None:
    import gc

    storage.register_trial(make_trial(experiment._id, 1))
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            assert len(storage.fetch_trials(experiment)) == 1
            with pytest.raises(TypeError):
                storage._fetch_trials({"experiment": experiment._id, "status.$in": 3})
            assert gc.isenabled() is enabled
        finally:
            gc.enable()
