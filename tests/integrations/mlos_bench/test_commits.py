"""How many commits a trial takes, and what is lost and seen when some of its steps are not waited for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytz
from mlos_bench.environments.status import Status

import trialstore as ts
from tests.integrations.mlos_bench.experiments import START, opened, suggestions, tunable_groups
from tests.support.flushes import Flushes
from trialstore.integrations.mlos_bench import TrialStoreStorage
from trialstore.ledger import catalog_of


def test_a_trial_is_forced_to_the_disk_once(tmp_path: Path, tunables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes = Flushes(monkeypatch)
    storage = TrialStoreStorage({"url": str(tmp_path / "forced"), "linger_s": 60.0})
    with opened(storage, tunables) as experiment:
        experiment.new_trial(tunables).update(Status.FAILED, now())
        trials: list[Any] = []
        assert flushes.of(lambda: trials.append(experiment.new_trial(tunables))) == 0
        assert flushes.of(lambda: trials[0].update(Status.RUNNING, now())) == 0
        assert flushes.of(lambda: trials[0].update(Status.SUCCEEDED, now(), {"score": 1.0})) == 1
        experiment.new_trial(tunables)
        assert flushes.of(experiment.experiment._ledger.commit_buffered) == 1
    storage.store.close()


@pytest.fixture
def elsewhere(storage: Any, experiment: Any, tunables: Any) -> Iterator[Any]:
    """The experiment as another process has it: nothing of the first one's memory is here."""
    other = TrialStoreStorage({"url": storage.store.url, "durability": "process"})
    with opened(other, tunables) as entered:
        yield entered
    other.store.close()


def now() -> datetime:
    return datetime.now(pytz.UTC)


def commits(storage: Any, step: Callable[[], object]) -> int:
    """How many commits of the experiment and of the catalog a step makes."""

    def count() -> int:
        ledger = storage.store["Test-001"]._ledger
        with ledger.journal.view() as state, catalog_of(ledger.session).view() as catalog:
            return int(state.seq + catalog.seq)

    before = count()
    step()
    return count() - before


def other_values(tunables: Any, number: int) -> Any:
    return tunables.copy().assign({"latency_ns": number})


def test_a_configuration_is_given_its_id_with_others_or_when_somebody_asks(
    storage: Any, experiment: Any, tunables: Any
) -> None:
    experiment.new_trial(tunables).update(Status.FAILED, now())
    trials: list[Any] = []

    def scheduled() -> None:
        for number in (1, 2, 3, 1, 2, 3):
            trials.append(experiment.new_trial(other_values(tunables, number)))
            trials[-1].update(Status.SUCCEEDED, now(), {"score": float(number)})

    assert commits(storage, scheduled) == 12
    asked: list[int] = []
    assert commits(storage, lambda: asked.extend(trial.tunable_config_id for trial in trials)) == 1
    assert asked == [2, 3, 4, 2, 3, 4]
    assert [repr(trial) for trial in trials[:2]] == ["Test-001:2:2", "Test-001:3:3"]
    assert [experiment.load_tunable_config(number)["latency_ns"] for number in (2, 3, 4)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "read",
    [
        lambda storage: storage.experiments["Test-001"].results_df["tunable_config_id"].tolist(),
        lambda storage: [row[0] for row in storage.sql("SELECT config_id FROM trial ORDER BY trial_id").fetchall()],
        lambda storage: [trial.tunable_config_id for trial in storage.experiments["Test-001"].trials.values()],
    ],
)
def test_whatever_reads_in_this_process_sees_the_ids(storage: Any, experiment: Any, tunables: Any, read: Any) -> None:
    for number in (5, 6, 5):
        experiment.new_trial(other_values(tunables, number))
    assert read(storage) == [1, 2, 1]
    assert storage.sql("SELECT config_id, config_hash FROM config ORDER BY 1").fetchall() == [
        (1, storage.store["Test-001"].trial(0).id),
        (2, storage.store["Test-001"].trial(1).id),
    ]


def test_the_ids_are_there_for_all_when_the_context_ends(tmp_path: Path, tunables: Any) -> None:
    storage = TrialStoreStorage({"url": str(tmp_path / "store"), "linger_s": 60.0})
    with opened(storage, tunables) as experiment:
        for number in (5, 6, 5):
            experiment.new_trial(other_values(tunables, number))
    reader = TrialStoreStorage({"url": str(tmp_path / "store"), "mode": "r"})
    data = reader.experiments["Test-001"]
    assert data.results_df["tunable_config_id"].tolist() == [1, 2, 1]
    assert list(data.tunable_configs) == [1, 2]
    storage.store.close()


def test_a_trial_is_two_commits(storage: Any, experiment: Any, tunables: Any) -> None:
    first = experiment.new_trial(tunables)

    def scheduled() -> None:
        trial = experiment.new_trial(tunables, None, {"repeat_i": 2})
        trial.update(Status.RUNNING, now())
        trial.update_telemetry(Status.RUNNING, now(), [(now(), "cpu", 0.5)])
        trial.update(Status.SUCCEEDED, now(), {"score": 1.0})

    assert commits(storage, scheduled) == 2
    assert commits(storage, lambda: first.update(Status.RUNNING, now())) == 0
    assert commits(storage, lambda: first.update(Status.FAILED, now())) == 1
    steps = storage.experiments["Test-001"].trials[2].status_df["status"].tolist()
    assert list(dict.fromkeys(steps)) == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert experiment.load()[3] == [Status.FAILED, Status.SUCCEEDED]


@pytest.mark.parametrize(
    "look",
    [
        lambda storage, experiment: [t.status for t in experiment.pending_trials(now(), running=True)],
        lambda storage, experiment: [experiment.get_trial_by_id(1).status],
        lambda storage, experiment: [storage.experiments["Test-001"].trials[1].status],
        lambda storage, experiment: [Status[storage.experiments["Test-001"].results_df["status"][0]]],
        lambda storage, experiment: [Status[storage.sql("SELECT status FROM trial").fetchone()[0]]],
    ],
)
def test_whatever_reads_in_this_process_sees_a_trial_run(
    storage: Any, experiment: Any, tunables: Any, look: Any
) -> None:
    experiment.new_trial(tunables).update(Status.RUNNING, now())
    assert look(storage, experiment) == [Status.RUNNING]


def test_others_see_a_trial_run_once_its_process_commits_anything(
    experiment: Any, elsewhere: Any, tunables: Any
) -> None:
    trial = experiment.new_trial(tunables)
    trial.update(Status.RUNNING, now())
    assert [one.status for one in elsewhere.pending_trials(now(), running=True)] == [Status.PENDING]
    experiment.new_trial(tunables)
    assert [one.status for one in elsewhere.pending_trials(now(), running=True)] == [Status.RUNNING, Status.PENDING]


def test_a_trial_that_two_begin_ends_once(storage: Any, experiment: Any, elsewhere: Any, tunables: Any) -> None:
    trial = experiment.new_trial(tunables)
    other = elsewhere.get_trial_by_id(1)
    for one in (trial, other):
        one.update(Status.RUNNING, START)
    other.update(Status.SUCCEEDED, now(), {"score": 2.0})
    with pytest.raises(RuntimeError):
        trial.update(Status.SUCCEEDED, now(), {"score": 1.0})
    assert trial.status is Status.SUCCEEDED
    assert experiment.load()[2] == [{"score": "2.0"}]
    steps = storage.experiments["Test-001"].trials[1].status_df["status"].tolist()
    assert steps == ["RUNNING", "PENDING", "SUCCEEDED"]  # they were told of the past, and one began it


def test_a_trial_that_another_one_ends_before_it_is_known_to_run(
    experiment: Any, elsewhere: Any, tunables: Any
) -> None:
    trial = experiment.new_trial(tunables)
    trial.update(Status.RUNNING, now())
    elsewhere.get_trial_by_id(1).update(Status.CANCELED, now())
    trial.update_telemetry(Status.RUNNING, now(), [(now(), "cpu", 0.5)])
    with pytest.raises(RuntimeError):
        trial.update(Status.SUCCEEDED, now(), {"score": 1.0})
    assert trial.status is Status.CANCELED
    assert list(experiment.pending_trials(now(), running=True)) == []


def told(storage: Any) -> list[tuple[str, str | None]]:
    """What the history of the first trial says after it was registered: each status, and why it was noted."""
    history = storage.store["Test-001"].status_history().sort("at").select("trial", "status", "reason").collect()
    return [(status, reason) for trial, status, reason in history.iter_rows() if trial == 0 and status != "PENDING"]


def test_what_telemetry_told_of_an_end_is_stored_once(storage: Any, experiment: Any, tunables: Any) -> None:
    trial, at = experiment.new_trial(tunables, START), now()
    trial.update_telemetry(Status.SUCCEEDED, at, [(at, "cpu", 0.5)])
    trial.update(Status.SUCCEEDED, at, {"score": 1.0})
    assert told(storage) == [("RUNNING", None), ("SUCCEEDED", None)]
    assert experiment.load_telemetry(1) == [(at, "cpu", "0.5")]
    assert storage.experiments["Test-001"].trials[1].ts_end == at


@pytest.mark.parametrize(("status", "later"), [(Status.RUNNING, 0), (Status.SUCCEEDED, 1), (Status.FAILED, 0)])
def test_what_telemetry_told_and_no_end_did_is_kept(
    storage: Any, experiment: Any, tunables: Any, status: Status, later: int
) -> None:
    trial, at = experiment.new_trial(tunables, START), now()
    trial.update_telemetry(status, at, [])
    trial.update(Status.SUCCEEDED, at + timedelta(seconds=later), {"score": 1.0})
    assert (status.name, "telemetry") in told(storage)
    assert ("SUCCEEDED", None) in told(storage)


def test_what_telemetry_told_is_kept_where_the_end_is_refused(
    storage: Any, experiment: Any, elsewhere: Any, tunables: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, at = experiment.new_trial(tunables, START), now()
    trial.update_telemetry(Status.SUCCEEDED, at, [])
    with monkeypatch.context() as patch:
        patch.setattr(type(experiment.experiment._ledger), "execute", unavailable)
        with pytest.raises(ts.errors.StoreUnavailableError):
            trial.update(Status.SUCCEEDED, at, {"score": 1.0})
    elsewhere.get_trial_by_id(1).update(Status.FAILED, at)
    with pytest.raises(RuntimeError):
        trial.update(Status.SUCCEEDED, at, {"score": 1.0})
    assert ("SUCCEEDED", "telemetry") in told(storage)
    assert ("FAILED", None) in told(storage)


def unavailable(*_: Any, **__: Any) -> Any:
    raise ts.errors.StoreUnavailableError("the disk is away")


def test_the_handle_of_a_trial_knows_how_it_ended(experiment: Any, tunables: Any) -> None:
    trial, at = experiment.new_trial(tunables, START), now()
    trial.update(Status.SUCCEEDED, at, {"score": 1.0, "unit": "ms"})
    assert trial._held.record == experiment.get_trial_by_id(1)._held.record


_KILLED = """
import os, sys
from datetime import datetime
import pytz
from mlos_bench.environments.status import Status
from tests.integrations.mlos_bench.experiments import opened, tunable_groups
from trialstore.integrations.mlos_bench import TrialStoreStorage

now = lambda: datetime.now(pytz.UTC)
with opened(TrialStoreStorage({"url": sys.argv[1]}), tunable_groups()) as experiment:
    ended, begun, fresh = (experiment.new_trial(tunable_groups()) for _ in range(3))
    for trial in (ended, begun):
        trial.update(Status.RUNNING, now())
        trial.update_telemetry(Status.RUNNING, now(), [(now(), "cpu", 0.5)])
        if trial is ended:
            trial.update(Status.SUCCEEDED, now(), {"score": 1.0})
    os._exit(9)
"""


def test_a_process_that_dies_loses_only_that_a_trial_ran(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    assert subprocess.run([sys.executable, "-c", _KILLED, url], check=False).returncode == 9
    storage = TrialStoreStorage({"url": url})
    with opened(storage, tunable_groups()) as experiment:
        assert experiment.load()[:1] == ([1],)
        assert len(experiment.load_telemetry(1)) == 1
        again = list(experiment.pending_trials(now(), running=False))
        assert [trial.trial_id for trial in again] == [2, 3]
        for trial in again:
            trial.update(Status.RUNNING, now())
            trial.update(Status.SUCCEEDED, now(), {"score": 2.0})
        assert experiment.new_trial(suggestions(tunable_groups(), 2)[1]).trial_id == 4
    assert storage.store["Test-001"].counts == {ts.Status.SUCCEEDED: 3, ts.Status.PENDING: 1}


_UNASKED = """
import os, sys
from datetime import datetime
import pytz
from mlos_bench.environments.status import Status
from tests.integrations.mlos_bench.experiments import opened, tunable_groups
from trialstore.integrations.mlos_bench import TrialStoreStorage

with opened(TrialStoreStorage({"url": sys.argv[1], "linger_s": 3600.0}), tunable_groups()) as experiment:
    for number in (5, 6, 5):
        trial = experiment.new_trial(tunable_groups().assign({"latency_ns": number}))
        trial.update(Status.SUCCEEDED, datetime.now(pytz.UTC), {"score": 1.0})
    os._exit(9)
"""


def test_who_was_killed_before_leaves_them_to_whoever_reads(tmp_path: Path, tunables: Any) -> None:
    url = str(tmp_path / "store")
    assert subprocess.run([sys.executable, "-c", _UNASKED, url], check=False).returncode == 9
    reader = TrialStoreStorage({"url": url, "mode": "r"})
    assert reader.experiments["Test-001"].results_df["tunable_config_id"].tolist() == [-1, -2, -1]
    assert reader.experiments["Test-001"].tunable_configs[-2].config_dict["latency_ns"] == 6
    storage = TrialStoreStorage({"url": url})
    assert storage.experiments["Test-001"].results_df["tunable_config_id"].tolist() == [1, 2, 1]
    assert reader.experiments["Test-001"].results_df["tunable_config_id"].tolist() == [1, 2, 1]
    with opened(storage, tunables) as experiment:
        assert experiment.new_trial(other_values(tunables, 6)).tunable_config_id == 2
    storage.store.close()
