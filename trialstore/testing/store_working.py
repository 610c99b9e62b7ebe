"""What a store promises to those who work in it together."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time

import pytest

from trialstore.experiment import Experiment
from trialstore.model.errors import ConflictError, DuplicateExperimentError, LostTrialError
from trialstore.model.status import Status
from trialstore.session import Session
from trialstore.store import Store
from trialstore.testing.place import Place
from trialstore.testing.races import at_once, in_processes
from trialstore.testing.store_base import NOON, OnStore, claim, new_experiment

__all__ = ["Working"]

_PATIENCE_S = 60


class Working(OnStore):
    """Trials are claimed, lost, and finished by many at once."""

    @pytest.mark.parametrize("one_store", [True, False], ids=["one store", "a store each"])
    def test_threads_share_the_trials(self, place: Place, one_store: bool) -> None:
        """Of all threads exactly one gets each trial, whether they share a session or not; every result counts once."""
        with place.open() as store:
            new_experiment(store).register_trials([{"n": n} for n in range(self.trials)])
            others = [] if one_store else [place.open() for _ in range(self.workers - 1)]
            stores = [store] * self.workers if one_store else [store, *others]
            claimed = at_once(_work, [s.experiment("tune") for s in stores])
            for other in others:
                other.close()
        self._all_finished_once(place, claimed)

    def test_processes_share_the_trials(self, place: Place) -> None:
        """The same between processes that open the store for themselves."""
        self._needs_processes()
        with place.open() as store:
            new_experiment(store).register_trials([{"n": n} for n in range(self.trials)])
        claimed = in_processes(_work_in_process, [place] * self.workers)
        self._all_finished_once(place, claimed)

    def _all_finished_once(self, place: Place, claimed: list[list[int]]) -> None:
        assert sorted(number for numbers in claimed for number in numbers) == list(range(self.trials))
        with place.open(mode="r") as reader:
            found = reader.sql("SELECT trial, status, attempt, params.n, metrics.loss FROM trials ORDER BY trial")
            assert found.fetchall() == [(n, "SUCCEEDED", 1, n, n / 2) for n in range(self.trials)]
            assert reader.experiment("tune").counts == {Status.SUCCEEDED: self.trials}

    def test_numbers_are_given_once(self, place: Place) -> None:
        """Trials that many register at once have the numbers 0, 1, 2 … and the parameters they were given."""
        with place.open() as store:
            new_experiment(store)
        stores = [place.open() for _ in range(self.workers)]
        registered = at_once(lambda worker: _register(stores[worker], worker), list(range(self.workers)))
        params = {number: worker for worker, numbers in enumerate(registered) for number in numbers}
        assert sorted(params) == list(range(3 * self.workers))
        trials = stores[0].experiment("tune").trials()
        assert {trial.number: trial.params["worker"] for trial in trials} == params
        for store in stores:
            store.close()

    def test_one_creates_the_experiment(self, place: Place) -> None:
        """Of all that create a store and an experiment in it at once one does; the others are told, and can use it."""
        stores = at_once(lambda _: place.open(), list(range(self.workers)))
        assert len({store.id for store in stores}) == 1
        created = at_once(_create, stores)
        assert sum(created) == 1
        assert len({new_experiment(store, exist_ok=True).id for store in stores}) == 1
        assert [len(store) for store in stores] == [1] * self.workers
        for store in stores:
            store.close()

    def test_one_revision_wins(self, place: Place) -> None:
        """Of all that set a document at one revision one does; the others get a conflict and change nothing."""
        with place.open() as store:
            new_experiment(store).set_document("state", {"step": 0})
        stores = [place.open() for _ in range(self.workers)]
        results = at_once(lambda worker: _set(stores[worker], worker), list(range(self.workers)))
        (winner,) = [worker for worker, won in enumerate(results) if won]
        for store in stores:
            assert store.experiment("tune").document("state") == (2, {"step": winner})
            store.close()

    def test_a_lost_trial_is_finished_by_another(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A trial whose worker fell silent is claimed anew; what the first still sends is refused, and kept."""
        monkeypatch.setattr(Session, "hold", _without_heartbeat)
        with place.open(lease_s=0.01) as silent, place.open(lease_s=300) as other:
            new_experiment(silent).register_trial({"x": 1})
            lost = claim(silent.experiment("tune"))
            experiment = other.experiment("tune")
            give_up_at = time.monotonic() + _PATIENCE_S
            while not experiment.fix_lost_trials():  # clocks of object stores may tick only once a second
                assert time.monotonic() < give_up_at, "the lease never ran out"
            taken = claim(experiment)
            assert (taken.number, taken.attempt, lost.attempt) == (0, 2, 1)
            assert experiment.reserve_trial() is None
            with pytest.raises(LostTrialError):
                lost.success(loss=9.0)
            taken.success(loss=1.0)
            with pytest.raises(ConflictError):
                taken.refresh().success(loss=2.0)
            for _ in range(2):
                trial = experiment.trial(0)
                assert (trial.status, trial.attempt, dict(trial.metrics)) == (Status.SUCCEEDED, 2, {"loss": 1.0})
                (ended,) = trial.attempts
                assert (ended["attempt"], ended["late"]["metrics"]) == (1, {"loss": 9.0})
                experiment.flush()  # and so it is when the trial is in a part

    def test_a_pickle_is_the_same_store(self, store: Store) -> None:
        """Stores, experiments and trials can be pickled; what a pickle does is seen by the others."""
        experiment = new_experiment(store)
        experiment.register_trials([{"x": 1}, {"x": 2}])
        trial = claim(experiment)
        again: Store = pickle.loads(pickle.dumps(store))
        copy: Experiment = pickle.loads(pickle.dumps(experiment))
        assert (again.id, again.url, copy) == (store.id, store.url, experiment)
        other = claim(copy)
        assert (trial.number, other.number) == (0, 1)
        assert pickle.loads(pickle.dumps(trial)) == trial
        pickle.loads(pickle.dumps(other)).success(loss=2.0)
        trial.success(loss=1.0)
        for one in (store, again):
            assert one.sql("SELECT metrics.loss FROM trials ORDER BY trial").fetchall() == [(1.0,), (2.0,)]
        again.close()

    def test_a_forked_child_is_a_worker_of_its_own(self, store: Store) -> None:
        """A forked child claims and finishes for itself, and never commits what its parent has buffered."""
        self._needs_processes()
        if "fork" not in multiprocessing.get_all_start_methods():
            pytest.skip("this system does not fork")
        # In an interpreter of its own: a fork of one where engines run threads may crash whatever the store does.
        scene = multiprocessing.get_context("spawn").Process(target=_fork_and_work, args=(store,))
        scene.start()
        scene.join(_PATIENCE_S)
        if scene.exitcode is None:
            scene.kill()
        assert scene.exitcode == 0

    def _needs_processes(self) -> None:
        if not self.shared_by_processes:
            pytest.skip("this place is not shared between processes")


def _work(experiment: Experiment) -> list[int]:
    """Claim and finish until nothing is pending; the numbers of what was claimed."""
    numbers = []
    while (trial := experiment.reserve_trial()) is not None:
        numbers.append(trial.number)
        trial.success(loss=trial.number / 2)
    return numbers


def _fork_and_work(store: Store) -> None:
    """Buffer a report, fork, and finish on both sides."""
    experiment = new_experiment(store)
    experiment.register_trials([{"x": 1}, {"x": 2}])
    mine = claim(experiment)
    mine.report(step=0, at=NOON, loss=5.0)
    child = multiprocessing.get_context("fork").Process(target=_work, args=(experiment,))
    child.start()
    child.join(_PATIENCE_S)
    if child.exitcode is None:
        child.kill()
    assert child.exitcode == 0, child.exitcode
    mine.success(loss=1.0)
    trials = list(experiment.trials())
    assert [trial.status for trial in trials] == [Status.SUCCEEDED] * 2
    assert trials[0].worker != trials[1].worker
    assert str(os.getpid()) in str(trials[0].worker)
    reports = experiment.metrics().collect()
    assert reports.select("trial", "value").rows() == [(0, 5.0)]


def _work_in_process(place: Place) -> list[int]:
    with place.open() as store:
        return _work(store.experiment("tune"))


def _register(store: Store, worker: int) -> list[int]:
    experiment = store.experiment("tune")
    first = experiment.register_trial({"worker": worker})
    return [first.number, *(trial.number for trial in experiment.register_trials([{"worker": worker}] * 2))]


def _create(store: Store) -> bool:
    try:
        new_experiment(store)
    except DuplicateExperimentError:
        return False
    return True


def _set(store: Store, worker: int) -> bool:
    try:
        store.experiment("tune").set_document("state", {"step": worker}, revision=1)
    except ConflictError:
        return False
    return True


def _without_heartbeat(self: Session, key: str) -> None:
    """A worker that is suspended while it holds a trial."""
