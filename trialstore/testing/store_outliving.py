"""What a store promises beyond one worker: the algorithm's lock, deletion, versions, copies."""

from __future__ import annotations

from trialstore.algorithms import INLINE_BYTES
from trialstore.experiment import Experiment
from trialstore.merging import merge
from trialstore.model.errors import TrialNotFoundError
from trialstore.model.identity import new_ulid
from trialstore.model.space import Integer, Real
from trialstore.store import Store
from trialstore.store import open as open_at
from trialstore.testing.place import Place
from trialstore.testing.races import at_once
from trialstore.testing.store_base import OnStore, new_experiment, run_trial

__all__ = ["Outliving"]

_PATIENCE_S = 60
_TABLES = ("trials", "metrics", "telemetry", "status", "artifacts")


class Outliving(OnStore):
    """Experiments outlive their workers."""

    def test_one_has_the_algorithm(self, place: Place) -> None:
        """Of many that change the algorithm's state at once none loses a change, whether it is small or large."""
        with place.open() as store:
            new_experiment(store)
        stores = [place.open() for _ in range(self.workers)]
        at_once(_count, [store.experiment("tune") for store in stores])
        with stores[0].experiment("tune").acquire_algorithm_lock(_PATIENCE_S, 0.001) as algorithm:
            assert algorithm.state == bytes(2 * INLINE_BYTES + 2 * self.workers)
        for store in stores:
            store.close()

    def test_deleted_trials_are_gone(self, store: Store) -> None:
        """A deleted trial is in no table, before and after a compaction, and its number is not used again."""
        experiment = new_experiment(store)
        for number in range(3):
            run_trial(experiment, {"x": number}, float(number))
            if number == 1:
                experiment.flush()
        assert experiment.delete_trials([1, 2]) == 2
        for _ in range(2):
            for table in _TABLES:
                assert set(store.frame(table).collect()["trial"]) == {0}, table
                assert store.sql(f"SELECT DISTINCT trial FROM {table}").fetchall() == [(0,)], table
            experiment.compact()
        try:
            experiment.trial(1)
        except TrialNotFoundError:
            assert experiment.register_trial({"x": 9}).number == 3
        else:
            raise AssertionError("a deleted trial was found")

    def test_versions_see_each_other(self, store: Store) -> None:
        """A version of an experiment sees its parent's trials through the adapters, and the parent its own."""
        first = store.build_experiment("tune", space={"x": Real(0, 1)}, metrics=[])
        first.register_trial({"x": 0.5})
        second = store.build_experiment("tune", space={"x": Real(0, 1), "n": Integer(1, 9, default=3)})
        second.register_trial({"x": 0.25, "n": 3})
        assert [dict(t.params) for t in second.fetch_trials(with_evc_tree=True)] == [
            {"x": 0.5, "n": 3},
            {"x": 0.25, "n": 3},
        ]
        assert [dict(t.params) for t in first.fetch_trials(with_evc_tree=True)] == [{"x": 0.5}, {"x": 0.25}]

    def test_a_copy_has_all_rows(self, store: Store) -> None:
        """What is merged out of a store and into it again is there whole, and goes on."""
        experiment = new_experiment(store)
        run_trial(experiment, {"x": 1}, 1.0)
        experiment.flush()
        run_trial(experiment, {"x": 2}, 2.0)
        with open_at(f"memory://merged-{new_ulid()}") as other:
            merge(store, other)
            (done,) = merge(other, store, resolve="bump")
        assert (done.new_version, done.trials) == (2, 2)
        copy = store.experiment("tune", 2)
        for table in _TABLES:
            rows = [(trial, version) for trial in (0, 1) for version in (1, 2)]
            query = f"SELECT DISTINCT trial, version FROM {table} ORDER BY ALL"
            assert store.sql(query).fetchall() == rows, table
        assert copy.trial(1).retrieve("config.json") == {"x": 2}
        assert copy.register_trial({"x": 3}).number == 2
        assert store.verify().ok


def _count(experiment: Experiment) -> None:
    for _ in range(2):
        with experiment.acquire_algorithm_lock(_PATIENCE_S, 0.001) as algorithm:
            algorithm.state = (algorithm.state or bytes(2 * INLINE_BYTES)) + b"\0"
