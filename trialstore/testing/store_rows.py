"""What a store promises to those who read it."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest

from trialstore.experiment import Experiment
from trialstore.model.status import Status
from trialstore.store import Store
from trialstore.testing.place import Place
from trialstore.testing.store_base import (
    NOON,
    OnStore,
    claim,
    new_experiment,
    rows_by_frames,
    rows_by_sql,
    run_trial,
)

__all__ = ["Rows"]


class Rows(OnStore):
    """Rows are durable, in one place, and frozen in snapshots."""

    @pytest.mark.parametrize("samples", [3, 300], ids=["in the journal", "in parts"])
    def test_what_a_trial_logged_is_durable_when_it_ends(self, store: Store, place: Place, samples: int) -> None:
        """Who opens the store after `success` returned finds every report, sample and artifact; nobody closed it."""
        trial = run_trial(new_experiment(store), {"x": 1}, loss=0.5, samples=samples)
        with place.open(mode="r") as reader:
            experiment = reader.experiment("tune")
            reports = experiment.metrics(trial).collect().sort("step")
            assert reports.select("step", "value").rows() == [(step, 0.5 + step) for step in range(samples)]
            telemetry = experiment.telemetry(trial=0).collect().sort("at")
            expected = [(NOON + timedelta(seconds=second), "cpu", second / 2) for second in range(samples)]
            assert telemetry.select("at", "name", "value").rows() == expected
            found = experiment.trial(0)
            assert (found.status, dict(found.metrics)) == (Status.SUCCEEDED, {"loss": 0.5})
            assert found.retrieve("config.json") == {"x": 1}
            steps = experiment.status_history(0).collect().sort("at")["status"].to_list()
            assert steps == ["PENDING", "RUNNING", "SUCCEEDED"]

    def test_a_store_opens_again(self, place: Place) -> None:
        """A store that was closed is found as it was, and work goes on in it."""
        with place.open() as store:
            experiment = new_experiment(store, max_trials=2, metadata={"team": "db"})
            run_trial(experiment, {"x": 1}, loss=2.0)
            experiment.register_trial({"x": 2})
            identity, rows = (store.id, store.created_at), rows_by_sql(store.snapshot())
        with place.open() as store:
            assert ((store.id, store.created_at), rows_by_sql(store.snapshot())) == (identity, rows)
            experiment = store.experiment("tune")
            assert (experiment.max_trials, dict(experiment.metadata), experiment.is_done) == (2, {"team": "db"}, False)
            claim(experiment).success(loss=1.0)
            best = experiment.best()
            assert best is not None
            assert (best.number, experiment.is_done) == (1, True)

    def test_sql_and_polars_see_the_same_rows(self, store: Store) -> None:
        """Every table has the same rows by DuckDB and by Polars: in the journal, in parts, and in both."""
        experiment = new_experiment(store)
        for move in (lambda: None, experiment.flush, lambda: None, experiment.compact):
            number = len(experiment)
            # a parameter that becomes a float, one that becomes a text, and one that appears later
            params = {"x": number if number < 2 else 0.5, "y": [1, "auto", None, True][number % 4], f"only {number}": 1}
            run_trial(experiment, params, loss=[1.0, float("nan"), float("-inf"), 0.0][number % 4])
            move()
            snapshot = store.snapshot()
            assert rows_by_sql(snapshot) == rows_by_frames(snapshot)
        best = experiment.best()
        assert best is not None
        assert best.number == 2

    def test_a_flush_and_a_compaction_keep_every_row_once(self, store: Store, place: Place) -> None:
        """Whatever moves into parts, and comes back, each row is there once, in this session and in a new one."""
        experiment = new_experiment(store)
        for move in ("flush", "compact", "annotate", "flush", "compact", "again"):
            if move == "annotate":
                experiment.trial(0).annotate(tag="kept", note=None)
            else:
                number = len(experiment)
                run_trial(experiment, {"x": number}, loss=float(number))
            before = rows_by_sql(store.snapshot())
            assert len(before["trials"]) == len(experiment)
            assert [len(before[table]) for table in ("metrics", "telemetry")] == [2 * len(experiment)] * 2
            assert len(before["artifacts"]) == len(experiment)
            if move in ("flush", "compact"):
                assert getattr(experiment, move)() is not None
                assert rows_by_sql(store.snapshot()) == before
        with place.open(mode="r") as reader:
            assert rows_by_sql(reader.snapshot()) == before
            assert reader.experiment("tune").trial(0).attributes == {"tag": "kept", "note": None}

    def test_a_snapshot_never_changes(self, store: Store) -> None:
        """A snapshot shows the same rows for ever, whatever is written, flushed and compacted under it."""
        experiment = new_experiment(store)
        taken = []
        for number in range(3):
            run_trial(experiment, {"x": number, f"only {number}": 1}, loss=float(number))
            snapshot = store.snapshot()
            taken.append((snapshot, rows_by_sql(snapshot)))
            (experiment.flush, experiment.compact)[number % 2]()
            experiment.trial(0).annotate(number=number)
        experiment.compact()
        for snapshot, rows in taken:
            assert rows_by_sql(snapshot) == rows
            assert rows_by_frames(snapshot) == rows
        fresh = pickle.loads(pickle.dumps(taken[1][0]))  # reads the files anew
        assert rows_by_sql(fresh) == taken[1][1]
        fresh.close()

    def test_the_past_can_be_read(self, store: Store) -> None:
        """`as_of` a number or a time shows what was committed before it, also after a compaction."""
        experiment = new_experiment(store)
        past = []
        for number in range(2):
            run_trial(experiment, {"x": number}, loss=float(number))
            past.append((_seq(experiment), datetime.now(UTC), rows_by_sql(experiment.snapshot())))
            experiment.flush()
        experiment.compact()
        for seq, moment, rows in past:
            assert rows_by_sql(experiment.snapshot(as_of=seq)) == rows
            assert rows_by_sql(store.snapshot(as_of=moment)) == rows
        assert store.sql("SELECT count(*) FROM trials", as_of=past[0][1]).fetchone() == (1,)


def _seq(experiment: Experiment) -> int:
    return experiment.snapshot().experiments[0].seq
