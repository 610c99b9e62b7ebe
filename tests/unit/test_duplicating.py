"""Pending trials of relatives are run in the experiment that asks for work, once each."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from trialstore.model.errors import StaleRevisionError
from trialstore.registering import register, trial_body
from trialstore.testing.races import at_once

SPACE: dict[str, ts.Dimension] = {"lr": ts.Real(0, 1)}
DEEPER: dict[str, ts.Dimension] = {**SPACE, "depth": ts.Integer(1, 9, default=3)}


@pytest.fixture
def store(tmp_path: Path) -> ts.Store:
    return ts.open(tmp_path / "store")


def family(store: ts.Store, repeats: bool = True) -> tuple[ts.Experiment, ts.Experiment]:
    first = store.build_experiment("tune", space=SPACE, repeats=repeats)
    return first, store.build_experiment("tune", space=DEEPER, repeats=repeats)


def commits(experiment: ts.Experiment) -> int:
    with experiment._ledger.journal.view() as state:
        return state.seq


def taken(experiment: ts.Experiment) -> list[dict[str, Any]]:
    """The parameters of all trials that can be reserved, in order."""
    found = []
    while (trial := experiment.reserve_trial()) is not None:
        found.append(dict(trial.params))
    return found


def test_what_is_pending_in_a_parent_is_reserved_after_what_is_here(store: ts.Store) -> None:
    first, second = family(store)
    first.register_trial({"lr": 0.5}, seed=7, name="a", info=[1])
    first.register_trial({"lr": 0.6}, reserve=True)
    second.register_trial({"lr": 0.1})
    assert second.reserve_trial().params["lr"] == 0.1  # type: ignore[union-attr]
    copy = second.reserve_trial()
    assert copy is not None
    assert (dict(copy.params), copy.seed, copy.name, copy.info) == ({"lr": 0.5, "depth": 3}, 7, "a", [1])
    assert copy.attributes["duplicate_of"] == [first.id, 0]
    assert first.trial(0).status is ts.Status.PENDING
    assert second.reserve_trial() is None


def test_a_parent_takes_what_a_child_of_another_process_has_pending(store: ts.Store) -> None:
    first, _ = family(store)
    assert first.reserve_trial() is None
    other = ts.open(store.url).experiment("tune", 2)
    other.register_trial({"lr": 0.2, "depth": 3})
    other.register_trial({"lr": 0.3, "depth": 4})
    assert taken(first) == [{"lr": 0.2}]


def test_what_was_tried_here_is_not_copied(store: ts.Store) -> None:
    first, second = family(store)
    second.register_trial({"lr": 0.5}, reserve=True).fail()
    second.flush()
    first.register_trial({"lr": 0.5})
    assert taken(second) == []


def test_a_trial_that_comes_later_is_copied_later(store: ts.Store) -> None:
    first, second = family(store)
    for number in range(3):
        first.register_trial({"lr": number / 4})
        assert taken(second) == [{"lr": number / 4, "depth": 3}]


def test_scores_are_of_copies_as_well(store: ts.Store) -> None:
    first, second = family(store)
    second.register_trial({"lr": 0.1})
    first.register_trial({"lr": 0.9})
    best = second.reserve_trial(score_handle=lambda trial: float(trial.params["lr"]))
    assert best is not None
    assert best.params["lr"] == 0.9


def test_nothing_is_written_where_there_is_nothing_to_copy(store: ts.Store) -> None:
    first, second = family(store)
    alone = store.create_experiment("alone")
    first.register_trial({"lr": 0.5})
    taken(second)
    before = [commits(one) for one in (first, second, alone)]
    for one in (second, alone):
        assert one.reserve_trial() is None
        assert one.reserve_trial(score_handle=lambda _: 0.0) is None
    assert [commits(one) for one in (first, second, alone)] == before


def test_trials_that_a_dead_worker_of_a_parent_held_are_copied(store: ts.Store) -> None:
    first, second = family(store)
    first.register_trial({"lr": 0.5}, reserve=True)
    old = time.time() - 86400
    for lease in Path(store.url.removeprefix("file://"), "leases").rglob("*.json"):
        os.utime(lease, (old, old))
    other = ts.open(store.url).experiment("tune", second.version)
    assert taken(other) == [{"lr": 0.5, "depth": 3}]


@pytest.mark.parametrize("repeats", [True, False])
def test_workers_that_look_at_once_copy_each_trial_once(store: ts.Store, repeats: bool) -> None:
    first, second = family(store, repeats)
    first.register_trials([{"lr": number / 64} for number in range(32)])
    workers = [ts.open(store.url).experiment("tune", second.version) for _ in range(6)]
    found = at_once(taken, workers)
    assert sorted(params["lr"] for some in found for params in some) == [number / 64 for number in range(32)]
    assert len(second) == 32


def test_trials_are_registered_under_the_expected_number_or_not_at_all(store: ts.Store) -> None:
    one = store.create_experiment("one")
    one.register_trial({"x": 0})
    body = trial_body(one.space, {"x": 1})
    with pytest.raises(StaleRevisionError, match="somebody"):
        register(one._ledger, (), [body], first=0)
    assert len(one) == 1
    assert [trial.number for trial in register(one._ledger, (), [body], first=1)] == [1]
