"""What a store promises of opening it: what is refused, and what is never written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import trialstore
from trialstore.model.errors import (
    DuplicateExperimentError,
    ExperimentNotFoundError,
    FormatTooNewError,
    ReadOnlyError,
    StoreNotFoundError,
    TrialNotFoundError,
    UsageError,
)
from trialstore.testing.place import Place
from trialstore.testing.store_base import OnStore, claim, new_experiment, rows_by_frames, rows_by_sql, run_trial

__all__ = ["Access"]


class Access(OnStore):
    """Opening, reading only, and the errors on the way."""

    def test_the_program(self, place: Place) -> None:
        """A tuning job from its first line to its last: a space, workers, reports, results, SQL."""
        store = place.open()
        experiment = store.create_experiment(
            "tune-redis",
            metrics=[
                trialstore.Metric("latency_ms", bounds=(0, float("inf"))),
                trialstore.Metric("ops", minimize=False),
            ],
            space={
                "maxmemory_mb": trialstore.Integer(64, 4096, log=True),
                "policy": trialstore.Categorical(["lru", "lfu"]),
                "hz": trialstore.Real(1, 500),
            },
            max_trials=2,
        )
        experiment.register_trial({"maxmemory_mb": 256, "policy": "lru", "hz": 10.0}, seed=0, fidelity={"seconds": 30})
        experiment.register_trials([{"maxmemory_mb": 2**k, "policy": "lfu", "hz": 1.5} for k in range(6, 9)])
        worker = place.open()
        for latency_ms in (0.3, 0.2):
            trial = claim(worker.experiment("tune-redis"))
            with trial.begin():
                for step in range(3):
                    trial.report(step=step, latency_ms=latency_ms / (step + 1))
                trial.store({"config.json": dict(trial.params), "notes.txt": "first run"})
            trial.success(latency_ms=latency_ms, ops=12000.0)
        worker.close()
        assert experiment.is_done
        assert experiment.stats.trials_completed == 2
        best = experiment.best()
        assert best is not None
        assert (best.number, best.retrieve("notes.txt")) == (1, "first run")
        assert experiment.history().collect().height == 4
        assert experiment.metrics(trial=0).collect().height == 3
        found = store.sql(
            "SELECT experiment, trial, params.hz, metrics.latency_ms FROM trials "
            "WHERE status = 'SUCCEEDED' ORDER BY metrics.latency_ms LIMIT 5"
        )
        assert found.pl().rows() == [("tune-redis", 1, 1.5, 0.2), ("tune-redis", 0, 10.0, 0.3)]
        store.close()

    def test_reading_writes_nothing(self, place: Place) -> None:
        """With ``mode="r"`` everything can be read, and no blob is made, changed or deleted."""
        with place.open() as store:
            experiment = new_experiment(store)
            run_trial(experiment, {"x": 1}, loss=1.0)
            experiment.flush()
            run_trial(experiment, {"x": 2}, loss=2.0)
            experiment.register_trial({"x": 3})
            rows = rows_by_sql(store.snapshot())
        before = place.contents()
        with place.open(mode="r") as reader:
            experiment = reader.experiment("tune")
            assert rows_by_sql(reader.snapshot()) == rows_by_frames(reader.snapshot()) == rows
            best = experiment.best()
            assert best is not None
            assert best.retrieve("config.json") == {"x": 1}
            assert (len(experiment), experiment.stats.trials_completed, len(list(experiment.trials()))) == (3, 2, 3)
            assert experiment.snapshot(as_of=0) is not None
        assert place.contents() == before

    def test_a_reader_refuses_to_write(self, place: Place) -> None:
        """With ``mode="r"`` each call that would write is an error, and no blob is made, changed or deleted."""
        with place.open() as store:
            run_trial(new_experiment(store), {"x": 1}, loss=1.0)
            store.experiment("tune").register_trial({"x": 2})
        before = place.contents()
        with place.open(mode="r") as reader:
            experiment = reader.experiment("tune")
            done, pending = experiment.trial(0), experiment.trial(1)
            calls: list[Callable[[], object]] = [
                lambda: new_experiment(reader, "other"),
                lambda: reader.update_experiment("tune", max_trials=1),
                lambda: reader.drop_experiment("tune"),
                lambda: reader.intern({"x": 9}),
                lambda: reader.set_document("state", 1),
                lambda: reader.compact(),
                lambda: experiment.register_trial({"x": 3}),
                lambda: experiment.register_trials([{"x": 3}]),
                lambda: experiment.import_trials([{"params": {"x": 3}, "metrics": {"loss": 1.0}}]),
                experiment.reserve_trial,
                experiment.fix_lost_trials,
                lambda: experiment.set_document("state", 1),
                experiment.flush,
                experiment.compact,
                lambda: done.annotate(tag=1),
                lambda: done.store({"new": b"1"}),
                lambda: done.delete_from_storage(["config.json"]),
                lambda: pending.report(loss=1.0),
                lambda: pending.set_status("RUNNING"),
                lambda: pending.cancel(),
            ]
            for call in calls:
                with pytest.raises(ReadOnlyError):
                    call()
        assert place.contents() == before

    def test_a_reader_finds_no_store(self, place: Place) -> None:
        """With ``mode="r"`` an empty place stays empty."""
        with pytest.raises(StoreNotFoundError):
            place.open(mode="r")
        assert place.contents() == {}

    def test_no_store_is_made_among_other_things(self, place: Place) -> None:
        """A place that holds something else is refused and left as it is."""
        place.blobs().write("somebody/else", b"1")
        before = place.contents()
        with pytest.raises(UsageError, match="something else"):
            place.open()
        assert place.contents() == before

    def test_a_newer_format_is_refused(self, place: Place) -> None:
        """A store of a format to come is refused for reading too, and left as it is."""
        place.blobs().write(
            "trialstore.json", b'{"format":1000,"store":"x","created_at":"2026-01-01T00:00:00.000000Z"}\n'
        )
        before = place.contents()
        for mode in ("r", "rw"):
            with pytest.raises(FormatTooNewError, match="1000"):
                place.open(mode=mode)
        assert place.contents() == before

    def test_what_is_not_there(self, place: Place) -> None:
        """Unknown experiments and trials, and a name that is taken, are errors that change nothing."""
        with place.open() as store:
            experiment = new_experiment(store)
            before = place.contents()
            with pytest.raises(DuplicateExperimentError):
                new_experiment(store)
            with pytest.raises(ExperimentNotFoundError, match="tune"):
                store.experiment("tnue")
            with pytest.raises(TrialNotFoundError):
                experiment.trial(0)
            assert experiment.reserve_trial() is None
            assert experiment.best() is None
            assert {key for key in place.contents() if not key.startswith(("leases/", "journal/"))} == {
                key for key in before if not key.startswith("journal/")
            }
            assert rows_by_sql(store.snapshot())["trials"] == []
