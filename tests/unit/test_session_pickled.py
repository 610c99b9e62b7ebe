"""Handles that came out of pickles: however many there are, none repeats the number of another's command."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import trialstore as ts
from trialstore.blobs.resolve import BlobsSpec
from trialstore.model.identity import new_ulid
from trialstore.session import Options, Session


@pytest.fixture
def store() -> ts.Store:
    return ts.open(f"memory://tests/{new_ulid()}", maintenance=False)


def copy(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def test_a_claim_and_its_result_may_come_from_two_pickles(store: ts.Store) -> None:
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
    experiment.register_trials([{"x": 1}, {"x": 2}])
    trial = copy(experiment).reserve_trial()
    copy(trial).success(loss=2.0)
    copy(store).experiment("tune").reserve_trial().success(loss=3.0)
    found = store.sql("SELECT trial, status, metrics.loss FROM trials ORDER BY trial")
    assert found.fetchall() == [(0, "SUCCEEDED", 2.0), (1, "SUCCEEDED", 3.0)]


def test_each_of_two_pickled_stores_changes_the_catalog(store: ts.Store) -> None:
    first, second = copy(store), copy(store)
    for number, one in enumerate((first, second, copy(store))):
        one.create_experiment(f"e{number}")
        one.set_document("last", number)
    assert [experiment.name for experiment in store] == ["e0", "e1", "e2"]
    assert store.document("last") == (3, 2)


def test_what_was_dropped_by_the_collector_is_not_numbered_anew(store: ts.Store) -> None:
    keeper = copy(store)
    store.create_experiment("tune")
    for number in range(3):
        copy(store.experiment("tune")).set_document("last", number)
    assert store.experiment("tune").document("last") == (3, 2)
    keeper.close()


def test_a_session_that_was_closed_is_not_given_out_again(store: ts.Store) -> None:
    first = copy(store)
    identity = first._session.id.current()
    first.close()
    assert copy(store)._session.id.current() != identity


def test_places_with_other_storage_options_have_other_sessions() -> None:
    specs = [BlobsSpec("s3://bucket/x", "machine", {"endpoint_url": f"http://127.0.0.1:{port}"}) for port in (1, 2)]
    first, second = (copy(Session(spec, spec.open(), Options())) for spec in specs)
    assert first is not second
    assert (first.place, second.place) == tuple(specs)
