"""Databases of mlos_bench's own storage come into a store: all of it, typed again, once."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas
import polars as pl
import pytest
from sqlalchemy import create_engine, text

import trialstore as ts
from tests.integrations.mlos_bench.written import BEGAN, fill, go_on, own_storage
from trialstore.integrations.mlos_bench import TrialStoreStorage, import_database
from trialstore.integrations.mlos_bench.migration import database, rows, taking
from trialstore.ledger import Ledger
from trialstore.model.errors import (
    ConflictError,
    DuplicateExperimentError,
    ExperimentNotFoundError,
    MissingExtraError,
    StoreNotFoundError,
    StoreUnavailableError,
    UsageError,
)

pytestmark = pytest.mark.usefixtures("repository")


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with ts.open(tmp_path / "store", durability="process") as opened:
        yield opened


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/bench.sqlite"
    fill(own_storage(url))
    return url


def test_every_kind_of_database_comes_in_whole(address: str, store: ts.Store) -> None:
    theirs = own_storage(address)
    fill(theirs)
    fill(theirs, name="other", trials=30, samples=50)
    other, tune = import_database(store, address)
    assert (tune.experiment, other.experiment) == ("tune redis/ä", "other")
    assert {name: tally.rows for name, tally in other.tables.items()} == {
        "experiment": 3, "trial": 30, "config_param": 90, "trial_param": 120, "trial_result": 80, "trial_status": 78,
        "trial_telemetry": 1300,
    }  # fmt: skip
    assert tune.kept_configurations
    # What mlos_bench reads of the one it reads of the other.
    ours = TrialStoreStorage({"url": store.url}).experiments
    for name, experiment in theirs.experiments.items():
        expected = experiment.results_df
        pandas.testing.assert_frame_equal(ours[name].results_df[list(expected.columns)], expected, check_dtype=False)
        assert ours[name].objectives == experiment.objectives
        assert ours[name].root_env_config == experiment.root_env_config
        assert ours[name].description == experiment.description
        for number, trial in experiment.trials.items():
            copy = ours[name].trials[number]
            absent = {name: None for name, value in trial.metadata_dict.items() if value != value}  # lost on its way
            assert copy.metadata_dict == trial.metadata_dict | absent
            assert copy.results_dict.keys() == trial.results_dict.keys()
            assert copy.telemetry_df.values.tolist() == trial.telemetry_df.values.tolist()
            assert copy.tunable_config_id == trial.tunable_config_id
            assert copy.tunable_config.config_dict == trial.tunable_config.config_dict
    assert store.verify().problems == []


def test_values_are_what_their_texts_say(store: ts.Store, sqlite: str) -> None:
    import_database(store, sqlite)
    experiment = store["tune redis/ä"]
    first, second, third = (experiment.trial(number) for number in range(3))
    assert dict(second.params) == {"idle": "mwait", "latency_ns": 1, "swappiness": 1 / 7}
    assert (type(second.params["latency_ns"]), type(second.params["swappiness"])) == (int, float)
    assert first.metrics == {"latency": 99.9, "throughput": 0, "size": 1000.0}
    assert first.summary == {"latency": "99.90", "plan": "a, b", "size": "1e3"}
    assert math.isnan(second.metrics["latency"])
    assert math.isinf(third.metrics["latency"])
    assert first.attributes == {"is_defaults": "True", "repeat_i": 1, "note": None, "start": "007"}
    telemetry = experiment.telemetry(0).sort("at").collect()
    assert telemetry["type"].to_list() == ["float", "int", "str", "str", "float"]
    assert telemetry["value"].to_list()[:2] == [0.1 + 0.2, 5.0]
    best = experiment.best("latency")
    assert best is not None
    assert best.number == 4


def test_trials_that_have_not_ended_go_on(store: ts.Store, sqlite: str) -> None:
    import_database(store, sqlite)
    experiment = store["tune redis/ä"]
    assert experiment.counts == {"SUCCEEDED": 7, "FAILED": 1, "TIMED_OUT": 1, "CANCELED": 1, "PENDING": 1, "RUNNING": 1}
    assert experiment.trial(11).status is ts.Status.RUNNING
    claimed = experiment.reserve_trial()
    assert claimed is not None
    assert claimed.number == 10
    claimed.success(latency=1.0, throughput=2.0)
    assert experiment.register_trial({"x": 1}).number == 12
    experiment.compact()
    assert store.verify().problems == []
    assert experiment.counts["SUCCEEDED"] == 8


def test_ids_with_gaps_stay(store: ts.Store, sqlite: str) -> None:
    engine = create_engine(sqlite)
    with engine.begin() as connection:
        for table in ("trial_telemetry", "trial_status", "trial_result", "trial_param", "trial"):
            connection.execute(text(f"DELETE FROM {table} WHERE trial_id IN (1, 4)"))
    import_database(store, sqlite)
    experiment = store["tune redis/ä"]
    assert [trial.number for trial in experiment.trials()] == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]


def test_a_second_import_brings_what_is_new(store: ts.Store, sqlite: str) -> None:
    first = import_database(store, sqlite)
    assert import_database(store, sqlite) == first
    fill(own_storage(sqlite), trials=12, samples=9)
    (second,) = import_database(store, sqlite)
    assert second.tables["trial"].rows == 24
    assert second.tables["trial_telemetry"].rows == 50 + 90
    assert len(store["tune redis/ä"]) == 24
    store["tune redis/ä"].register_trial({})
    fill(own_storage(sqlite), trials=1)
    with pytest.raises(ConflictError, match="both got further trials"):
        import_database(store, sqlite)


def test_a_second_import_brings_what_became_of_open_trials(store: ts.Store, sqlite: str) -> None:
    import_database(store, sqlite)
    go_on(own_storage(sqlite))
    (second,) = import_database(store, sqlite)
    experiment = store["tune redis/ä"]
    ended, running = experiment.trial(11), experiment.trial(10)
    assert (ended.status, running.status) == (ts.Status.SUCCEEDED, ts.Status.RUNNING)
    assert (ended.metrics, ended.summary) == ({"latency": 1.5, "throughput": 3}, {"latency": "1.50", "plan": "c"})
    assert ended.ended_at == BEGAN + timedelta(hours=12)
    assert running.started_at == BEGAN + timedelta(hours=11)
    assert second.tables["trial"].rows == len(experiment) == 12
    assert experiment.telemetry(11).select(pl.len()).collect().item() == 5 + 2
    assert experiment.telemetry(10).select(pl.len()).collect().item() == 2
    with experiment._ledger.journal.view() as state:
        seq = state.seq
    assert import_database(store, sqlite) == [second]
    with experiment._ledger.journal.view() as state:
        assert state.seq == seq  # nothing was written
    go_on(own_storage(sqlite))
    fill(own_storage(sqlite), trials=3)
    (third,) = import_database(store, sqlite)
    assert third.tables["trial"].rows == 15
    experiment.compact()
    assert store.verify().problems == []
    assert import_database(store, sqlite) == [third]


def test_a_trial_that_went_on_on_both_sides_is_a_conflict(store: ts.Store, sqlite: str) -> None:
    import_database(store, sqlite)
    claimed = store["tune redis/ä"].reserve_trial()
    assert claimed is not None
    claimed.success(latency=1.0, throughput=2.0)
    go_on(own_storage(sqlite))
    with pytest.raises(ConflictError, match="does not hold what it was made from"):
        import_database(store, sqlite)
    assert claimed.status is ts.Status.SUCCEEDED


class BrokenOff(BaseException):
    pass


def stopping_after(steps: int, stop: Callable[[], None]) -> Callable[[str, int, int], None]:
    """What is told of progress, and stops the import when it was told of so many steps."""
    left = steps

    def tell(what: str, done: int, total: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            stop()

    return tell


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_AT_ONCE", 4)
    monkeypatch.setattr(rows, "SAMPLES_AT_ONCE", 20)


@pytest.mark.usefixtures("small_batches")
def test_an_import_that_was_broken_off_goes_on(tmp_path: Path, sqlite: str) -> None:
    def stop() -> None:
        raise BrokenOff

    finished: list[Any] = []
    for steps in range(1, 30):
        with ts.open(tmp_path / f"store{steps}", durability="process") as store:
            try:
                import_database(store, sqlite, progress=stopping_after(steps, stop))
            except BrokenOff:
                stopped = True
            else:
                stopped = False
            finished.append(import_database(store, sqlite))
            assert len(store["tune redis/ä"]) == 12
            assert store["tune redis/ä"].status_history().select(pl.len()).collect().item() == 30 + 2
        if not stopped:
            break
    assert steps > 8
    assert all(each == finished[0] for each in finished)


@pytest.mark.usefixtures("small_batches")
def test_what_became_of_open_trials_comes_in_however_it_is_broken_off(
    tmp_path: Path, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each commit of the second import once."""
    commit = Ledger.execute
    left = 0

    def execute(ledger: Ledger, *drafts: Any, force: bool = True) -> Any:
        nonlocal left
        outcomes = commit(ledger, *drafts, force=force)
        left -= 1
        if left == 0:
            raise BrokenOff
        return outcomes

    places = [str(tmp_path / f"store{steps}") for steps in range(1, 6)]
    for place in places:
        with ts.open(place, durability="process") as store:
            import_database(store, sqlite)
    go_on(own_storage(sqlite))
    finished: list[Any] = []
    stops = 0
    for steps, place in enumerate(places, start=1):
        left = steps
        with ts.open(place, durability="process") as store:
            monkeypatch.setattr(Ledger, "execute", execute)
            try:
                import_database(store, sqlite)
            except BrokenOff:
                stops += 1
            monkeypatch.setattr(Ledger, "execute", commit)
            finished.append(import_database(store, sqlite))
            assert store["tune redis/ä"].telemetry(11).select(pl.len()).collect().item() == 5 + 2
    assert 1 < stops < len(places)
    assert all(each == finished[0] for each in finished)


def _killed_import(place: str, url: str) -> None:
    tell = stopping_after(4, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with ts.open(place, durability="process") as store:
        import_database(store, url, progress=tell)


def test_an_import_that_was_killed_goes_on(tmp_path: Path, sqlite: str) -> None:
    place = str(tmp_path / "store")
    process = multiprocessing.get_context("spawn").Process(target=_killed_import, args=(place, sqlite))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with ts.open(place, durability="process") as store:
        (done,) = import_database(store, sqlite)
        assert done.tables["trial"].rows == len(store["tune redis/ä"]) == 12
        assert store.verify().problems == []


def test_a_trial_comes_in_once_however_often_it_is_handed_in(store: ts.Store, sqlite: str) -> None:
    """Two imports that run at once hand in the same trials; the fold takes the first."""
    import_database(store, sqlite)
    experiment = store["tune redis/ä"]
    _, state = experiment.document(taking.PROGRESS)
    experiment.set_document(taking.PROGRESS, {**state, "trials": 0})
    with pytest.raises(ts.TrialStoreError):
        import_database(store, sqlite)
    assert experiment.history().select(pl.len()).collect().item() == 12
    assert store.verify().problems == []


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("UPDATE trial SET ts_end = '2026-03-01 12:00:31.000000' WHERE trial_id = 1", "trial"),
        ("UPDATE trial_result SET metric_value = '99.9' WHERE trial_id = 1 AND metric_id = 'latency'", "trial_result"),
        ("DELETE FROM trial_param WHERE trial_id = 3 AND param_id = 'note'", "trial_param"),
        ("UPDATE config_param SET param_value = '0.2' WHERE config_id = 1 AND param_id = 'swappiness'", "config_param"),
        ("UPDATE trial_status SET status = 'READY' WHERE trial_id = 2 AND status = 'RUNNING'", "trial_status"),
        ("UPDATE trial_telemetry SET metric_value = '8' WHERE trial_id = 2", "trial_telemetry"),
        ("UPDATE experiment SET git_commit = 'another'", "experiment"),
    ],
)
def test_a_difference_is_found(store: ts.Store, sqlite: str, change: str, table: str) -> None:
    import_database(store, sqlite)
    with create_engine(sqlite).begin() as connection:
        connection.execute(text(change))
    with pytest.raises(ConflictError, match="does not hold") as error:
        import_database(store, sqlite)
    assert list(error.value.facts["tables"]) == [table]


def test_a_wrong_address(store: ts.Store, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="no such database"):
        import_database(store, tmp_path / "absent.sqlite")
    assert not (tmp_path / "absent.sqlite").exists()
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(StoreNotFoundError, match="no tables of mlos_bench"):
        import_database(store, tmp_path / "empty.sqlite")
    with pytest.raises(UsageError, match="not the address"):
        import_database(store, "postgresql://me:secret@host:port/name")
    with pytest.raises(MissingExtraError, match="driver"):
        import_database(store, "nonesuch://host/name")
    with pytest.raises(StoreUnavailableError, match="cannot be read") as error:
        import_database(store, f"postgresql+psycopg://me:secret@/x?host={tmp_path}")
    assert "secret" not in str(error.value)


def test_experiments_from_elsewhere_are_left_alone(store: ts.Store, sqlite: str) -> None:
    store.create_experiment("tune redis/ä").register_trial({})
    with pytest.raises(DuplicateExperimentError, match="not from this database"):
        import_database(store, sqlite)
    assert len(store["tune redis/ä"]) == 1
    with pytest.raises(ExperimentNotFoundError, match="tune redis"):
        import_database(store, sqlite, experiments=["tune redis"])
    assert import_database(store, sqlite, experiments=[]) == []


def test_times_of_a_session_that_was_not_in_utc(store: ts.Store, database_servers: Any) -> None:
    """PostgreSQL wrote them in the zone of its session, and mlos_bench reads them as UTC: 12:00 became 06:00."""
    from zoneinfo import ZoneInfo

    url = database_servers.database("postgresql")
    fill(own_storage(url), trials=1)
    import_database(store, url, zone=ZoneInfo("America/Chicago"))
    (row,) = store["tune redis/ä"].history().select("started_at", "ended_at").collect().rows()
    assert [time.isoformat()[:19] for time in row] == ["2026-03-01T12:00:00", "2026-03-01T12:00:30"]
