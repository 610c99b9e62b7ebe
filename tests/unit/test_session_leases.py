"""Heartbeats of a process whose session the store forgot: no trial is held without one, and none is lost for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import trialstore as ts
import trialstore.session as session_module
from trialstore.journal.journal import Draft
from trialstore.ledger import catalog_of
from trialstore.model.errors import SessionExpiredError, StoreUnavailableError
from trialstore.model.times import now_text

LEASE_S = 300.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results"


def opened(folder: Path) -> ts.Store:
    return ts.open(str(folder), maintenance=False, lease_s=LEASE_S)


def leases(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("leases/*/*.json") if not path.name.startswith("clock-")}


def holders(experiment: ts.Experiment) -> set[str | None]:
    with experiment._ledger.journal.view() as state:
        return {state.trials[number].session for number in state.active}


def forget_sessions(folder: Path) -> None:
    """As a cleaning-up does after a week of silence."""
    with opened(folder) as other:
        other.experiment("tune")._ledger.execute(Draft("retire_sessions", {"before": now_text()}))


def after_the_lease_is_written(monkeypatch: pytest.MonkeyPatch, store: ts.Store, act: Callable[[], None]) -> None:
    """Let another thread do something when this one has written its next heartbeat, and has not claimed yet."""
    renew = store._session.leases.renew

    def renew_once(key: str, session: str | None = None) -> None:
        monkeypatch.setattr(store._session.leases, "renew", renew)
        renew(key, session)
        act()

    monkeypatch.setattr(store._session.leases, "renew", renew_once)


@pytest.mark.parametrize("leased_before", [False, True])
def test_a_claim_has_a_lease_though_another_thread_took_a_new_session(
    folder: Path, monkeypatch: pytest.MonkeyPatch, leased_before: bool
) -> None:
    store = opened(folder)
    experiment = store.create_experiment("tune")
    experiment.register_trials([{"x": 1}, {"x": 2}])
    if leased_before:
        experiment.reserve_trial().success()
    first = store._session.id.current()

    def find_out() -> None:
        forget_sessions(folder)
        with pytest.raises(SessionExpiredError):
            experiment.register_trial({"x": 3})
        experiment.register_trial({"x": 3})  # under a session that no heartbeat was noted before

    monkeypatch.setattr(session_module, "time", SimpleNamespace(monotonic=lambda: 1e9))  # whatever was written is old
    after_the_lease_is_written(monkeypatch, store, find_out)
    assert experiment.reserve_trial() is not None
    assert store._session.id.current() != first
    assert holders(experiment) == {store._session.id.current()}
    assert holders(experiment) <= leases(folder)
    store.close()


def test_a_claim_in_flight_when_another_thread_takes_a_new_session_has_a_lease(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeat was written and noted; what the claim commits under is known only when it is sent."""
    store = opened(folder)
    experiment = store.create_experiment("tune")
    experiment.register_trial({"x": 1})
    lease = store._session.lease

    def lease_then_another_thread(key: str) -> None:
        lease(key)
        forget_sessions(folder)
        with pytest.raises(SessionExpiredError):
            experiment.register_trial({"x": 2})

    monkeypatch.setattr(store._session, "lease", lease_then_another_thread)
    assert experiment.reserve_trial() is not None
    monkeypatch.undo()
    assert holders(experiment) == {store._session.id.current()}
    assert holders(experiment) <= leases(folder)
    store.close()


def test_a_lease_that_cannot_be_written_keeps_the_claim_from_being_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(folder)
    experiment = store.create_experiment("tune")
    experiment.register_trials([{"x": 1}, {"x": 2}])
    experiment.reserve_trial().success()
    store._session.id.renew()

    def away(key: str, session: str) -> None:
        raise StoreUnavailableError("no answer", key=key)

    monkeypatch.setattr(store._session.leases, "renew", away)
    with pytest.raises(StoreUnavailableError):
        experiment.reserve_trial()
    with pytest.raises(StoreUnavailableError):
        experiment.register_trial({"x": 3})
    monkeypatch.undo()
    assert experiment.reserve_trial().number == 1
    assert len(experiment) == 2
    store.close()


def test_a_trial_is_kept_though_the_catalog_forgot_its_session(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One identity is for all journals: what one of them forgot another one still knows as the holder of a trial."""
    store = opened(folder)
    experiment = store.create_experiment("tune")
    experiment.register_trial({"x": 1})
    trial = experiment.reserve_trial()
    (holder,) = holders(experiment)
    with opened(folder) as other:
        catalog_of(other._session).execute(Draft("retire_sessions", {"before": now_text()}))
    with pytest.raises(SessionExpiredError):
        store.create_experiment("another")
    assert store._session.id.current() != holder

    for lease in folder.glob("leases/*/*.json"):
        os.utime(lease, (0, 0))
    clock = session_module.time.monotonic() + LEASE_S
    monkeypatch.setattr(session_module, "time", SimpleNamespace(monotonic=lambda: clock))
    store._session._beat()
    with opened(folder) as other:
        assert other.experiment("tune").fix_lost_trials() == []
    trial.success()
    assert experiment.trial(0).attempt == 1
    store.close()
    assert not leases(folder) & {holder, store._session.id.current()}
