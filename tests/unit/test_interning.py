"""Parameter sets that get their integers without anybody waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from trialstore.interning import Interning, interning_of
from trialstore.ledger import catalog_of
from trialstore.model.identity import params_hash


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ts.Store]:
    with ts.open(tmp_path / "store") as store:
        yield store


@pytest.fixture
def other(store: ts.Store, tmp_path: Path) -> Iterator[ts.Store]:
    """The store as another process has it."""
    with ts.open(tmp_path / "store") as other:
        yield other


def interning(store: ts.Store) -> Interning:
    return interning_of(store._session)


def ask(store: ts.Store, *params: dict[str, Any]) -> None:
    for one in params:
        interning(store).later(params_hash(one), one)


def commits(store: ts.Store) -> int:
    with catalog_of(store._session).view() as state:
        return state.seq


def test_they_go_out_together_with_what_is_waited_for(store: ts.Store, other: ts.Store) -> None:
    before = commits(store)
    ask(store, {"a": 1}, {"a": 2}, {"a": 1})
    assert len(catalog_of(store._session)._queue) == 2
    assert (commits(store), interning(store).known(params_hash({"a": 1}))) == (before, None)
    assert store.intern({"a": 2}) == 2
    assert commits(store) == before + 1
    ask(store, {"a": 1}, {"a": 2})
    assert not interning(store).has_waiting
    assert [interning(store).known(params_hash({"a": n})) for n in (1, 2)] == [1, 2]
    assert other.configuration(1) == {"a": 1}


def test_or_after_the_linger(store: ts.Store) -> None:
    ask(store, {"a": 1})
    store._session._beat()
    assert not interning(store).has_waiting
    assert store.configuration(1) == {"a": 1}


def test_or_when_the_store_is_flushed(store: ts.Store, other: ts.Store) -> None:
    ask(store, {"a": 1})
    store.flush()
    assert other.configuration(1) == {"a": 1}


def test_two_processes_that_ask_for_one_get_one(store: ts.Store, other: ts.Store) -> None:
    ask(store, {"a": 1}, {"b": 1})
    ask(other, {"b": 1}, {"c": 1})
    assert other.intern_many([{"b": 1}, {"c": 1}]) == [1, 2]
    assert store.intern_many([{"a": 1}, {"b": 1}, {"c": 1}]) == [3, 1, 2]
