"""What a process knows of a study's trials: when they are decoded, and that what it hands out stays as it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

import trialstore.integrations.optuna.view as view
from trialstore.integrations.optuna import TrialStoreStorage, naming
from trialstore.integrations.optuna.trials import DISTRIBUTION
from trialstore.journal.journal import Draft
from trialstore.model.errors import StoreUnavailableError
from trialstore.model.identity import params_hash
from trialstore.model.metric import Metric

MINIMIZE = [StudyDirection.MINIMIZE]
UNIT = FloatDistribution(0, 1)


@pytest.fixture
def storage(place: str) -> Iterator[TrialStoreStorage]:
    opened = TrialStoreStorage(place, durability="process", linger_s=3600)
    yield opened
    opened.close()


@pytest.fixture
def other(storage: TrialStoreStorage) -> Iterator[TrialStoreStorage]:
    """Another process's storage, as far as the store can tell."""
    opened = TrialStoreStorage(storage.url, durability="process")
    yield opened
    opened.close()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, TrialState]]:
    """Number and state of each trial that is decoded."""
    made: list[tuple[int, TrialState]] = []
    frozen_of = view.frozen_of

    def noted(*arguments: Any) -> Any:
        trial = frozen_of(*arguments)
        made.append((trial.number, trial.state))
        return trial

    monkeypatch.setattr(view, "frozen_of", noted)
    return made


def test_a_trial_that_has_ended_is_decoded_once_when_it_is_read(
    storage: TrialStoreStorage, decoded: list[tuple[int, TrialState]]
) -> None:
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)  # asks all which distribution "x" has
    decoded.clear()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=4)
    study.get_trials(states=(TrialState.RUNNING,))
    assert decoded == [(number, TrialState.RUNNING) for number in range(1, 5)]

    decoded.clear()
    assert storage.get_trial(study.trials[3]._trial_id).state is TrialState.COMPLETE
    assert study.best_value == min(trial.value for trial in study.trials)
    assert decoded == [(number, TrialState.COMPLETE) for number in range(5)]


def test_one_trial_that_is_read_is_decoded_alone(
    storage: TrialStoreStorage, other: TrialStoreStorage, decoded: list[tuple[int, TrialState]]
) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    ids = [storage.create_new_trial(study_id, create_trial(value=value)) for value in range(5)]
    assert other.get_trial(ids[2]).values == [2.0]
    assert decoded == [(2, TrialState.COMPLETE)]


def test_what_was_handed_out_stays_as_it_is(storage: TrialStoreStorage, other: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    first, second = storage.create_new_trial(study_id), other.create_new_trial(study_id)
    held = [storage.get_all_trials(study_id, deepcopy=False)]
    before = [repr(trial) for trial in held[0]]

    for owner, trial_id in ((storage, first), (other, second)):
        owner.set_trial_param(trial_id, "x", 0.5, UNIT)
        owner.set_trial_user_attr(trial_id, "k", [1])
        owner.set_trial_intermediate_value(trial_id, 1, 2.0)
        owner.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
    again = storage.get_all_trials(study_id, deepcopy=False)
    assert [repr(trial) for trial in held[0]] == before
    assert [(trial.state, trial.params, trial.intermediate_values) for trial in again] == [
        (TrialState.COMPLETE, {"x": 0.5}, {1: 2.0})
    ] * 2
    for one, two in zip(again, storage.get_all_trials(study_id, deepcopy=False), strict=True):
        assert one is two


def test_a_copy_is_the_callers_with_all_that_is_in_it(storage: TrialStoreStorage) -> None:
    trial_id = storage.create_new_trial(storage.create_new_study(MINIMIZE))
    storage.set_trial_user_attr(trial_id, "k", [1])
    storage.set_trial_system_attr(trial_id, "k", [1])
    for committed in (False, True):
        if committed:
            storage.flush()
        mine = storage.get_trial(trial_id)
        mine.user_attrs["k"].append(2)
        mine.system_attrs["k"].append(2)
        mine.params["x"] = mine.distributions["x"] = mine.intermediate_values[0] = None
        trial = storage.get_trial(trial_id)
        assert trial.user_attrs == trial.system_attrs == {"k": [1]}
        assert trial.params == trial.distributions == trial.intermediate_values == {}


def test_what_is_committed_bit_by_bit_is_one_trial(storage: TrialStoreStorage, other: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    trial_id = storage.create_new_trial(study_id)
    params = {name: index / 10 for index, name in enumerate("abc")}
    for name, value in params.items():
        storage.set_trial_param(trial_id, name, value, UNIT)
        storage.flush()
        storage.set_trial_intermediate_value(trial_id, len(name), value)
    assert storage.get_trial(trial_id).params == params
    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
    for reader in (storage, other):
        trial = reader.get_trial(trial_id)
        assert (trial.params, trial.intermediate_values) == (params, {1: 0.2})
    assert storage.experiment(study_id).get_trial(uid=0).id == params_hash(params)


@pytest.mark.parametrize("direction", [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE])
def test_the_best_is_the_first_of_the_best_whoever_read_what_before(
    storage: TrialStoreStorage, other: TrialStoreStorage, direction: StudyDirection
) -> None:
    sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
    study_id = storage.create_new_study([direction])
    ids = []
    for value, best in ((3.0, 0), (math.inf, 0), (1.0, 2), (1.0, 2), (2.0, 2), (-math.inf, 5), (-5.0, 5)):
        writer = (storage, other)[len(ids) % 2]
        ids.append(writer.create_new_trial(study_id, create_trial(value=sign * value)))
        if len(ids) % 3 == 0:
            storage.get_trial(ids[-1])
        running = writer.create_new_trial(study_id)
        writer.set_trial_state_values(running, TrialState.FAIL)
        for reader in (storage, other):
            assert reader.get_best_trial(study_id)._trial_id == ids[best]

    storage.experiment(study_id).delete_trials([naming.split_id(ids[5])[1]])
    for reader in (storage, other):
        assert reader.get_best_trial(study_id)._trial_id == ids[6]


@pytest.mark.parametrize("is_read", [False, True])
def test_what_is_said_of_an_ended_trial_later_is_seen(storage: TrialStoreStorage, is_read: bool) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    trial_id = storage.create_new_trial(study_id)
    storage.set_trial_intermediate_value(trial_id, 1, 0.5)
    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
    storage.get_all_trials(study_id, states=(TrialState.WAITING,))
    before = storage.get_best_trial(study_id) if is_read else None
    told = storage.experiment(study_id).get_trial(uid=0)
    assert told is not None
    told.annotate(note="later")
    for found in (storage.get_best_trial(study_id), storage.get_all_trials(study_id)[0]):
        assert (found.value, found.intermediate_values, found.user_attrs) == (1.0, {1: 0.5}, {"note": "later"})
    assert before is None or before.user_attrs == {}


@pytest.mark.parametrize("is_read", [False, True])
def test_an_ended_trial_may_be_taken_out_or_made_to_run_again(storage: TrialStoreStorage, is_read: bool) -> None:
    """Not by Optuna, but by other tools that have the store."""
    study_id = storage.create_new_study(MINIMIZE)
    for value in range(3):
        storage.create_new_trial(study_id, create_trial(value=value))
    storage.get_all_trials(study_id, states=None if is_read else (TrialState.WAITING,))
    experiment = storage.experiment(study_id)
    experiment.delete_trials([0])
    experiment._ledger.execute(Draft("amend", {"trial": 1, "status": "RUNNING"}))
    found = [(trial.number, trial.state) for trial in storage.get_all_trials(study_id)]
    assert found == [(1, TrialState.RUNNING), (2, TrialState.COMPLETE)]
    assert storage.get_best_trial(study_id).number == 2


@pytest.mark.parametrize("repeats", [False, True])
def test_a_new_trial_is_at_once_what_others_find(
    storage: TrialStoreStorage, other: TrialStoreStorage, repeats: bool
) -> None:
    study_id = storage.store.create_experiment("native", metrics=[Metric("m")], repeats=repeats).id
    for number in range(2):
        other.create_new_trial(study_id)
        trial_id = storage.create_new_trial(study_id)
        mine = storage.get_trial(trial_id)
        assert (mine.number, mine.state, mine.params) == (2 * number + 1, TrialState.RUNNING, {})
        assert repr(mine) == repr(other.get_trial(trial_id))
        assert repr(storage.get_all_trials(study_id)) == repr(other.get_all_trials(study_id))


@pytest.mark.parametrize("end", ["failed", "removed"])
def test_a_new_trial_that_another_thread_saw_end_has_ended(
    storage: TrialStoreStorage, other: TrialStoreStorage, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    study = storage._study(study_id)
    commit = study._commit

    def overtaken(*drafts: Draft, **how: Any) -> Any:
        outcome = commit(*drafts, **how)
        if end == "failed":
            other.set_trial_state_values(naming.trial_id(study_id, 0), TrialState.FAIL)
        else:
            other.experiment(study_id).delete_trials([0])
        storage.get_all_trials(study_id, states=(TrialState.WAITING,))
        return outcome

    monkeypatch.setattr(study, "_commit", overtaken)
    trial_id = storage.create_new_trial(study_id)
    if end == "failed":
        assert storage.get_trial(trial_id).state is TrialState.FAIL
    assert storage.get_all_trials(study_id, states=(TrialState.RUNNING,)) == []
    states = [trial.state for trial in storage.get_all_trials(study_id)]
    assert states == ([TrialState.FAIL] if end == "failed" else [])
    assert study.running() == []


def test_who_starts_a_trial_sees_that_it_runs(storage: TrialStoreStorage) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    trial_id = storage.create_new_trial(study_id, create_trial(state=TrialState.WAITING))
    assert storage.get_trial(trial_id).state is TrialState.WAITING
    assert storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    assert storage.get_trial(trial_id).state is TrialState.RUNNING
    assert not storage.set_trial_state_values(trial_id, TrialState.RUNNING)


def test_who_was_told_that_a_trial_has_ended_cannot_set_more(
    storage: TrialStoreStorage, other: TrialStoreStorage
) -> None:
    trial_id = storage.create_new_trial(storage.create_new_study(MINIMIZE))
    storage.set_trial_user_attr(trial_id, "k", 1)
    other.set_trial_state_values(trial_id, TrialState.FAIL)
    for _ in range(2):
        with pytest.raises(UpdateFinishedTrialError):
            storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
        with pytest.raises(UpdateFinishedTrialError):
            storage.set_trial_user_attr(trial_id, "k", 1)


def test_what_could_not_be_taken_in_is_taken_in_later(
    storage: TrialStoreStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_id = storage.create_new_trial(storage.create_new_study(MINIMIZE))
    storage.set_trial_user_attr(trial_id, "k", 1)
    storage.flush()
    with monkeypatch.context() as patch:
        patch.setattr(view, "frozen_of", None)
        with pytest.raises(TypeError):
            storage.get_trial(trial_id)
    assert storage.get_trial(trial_id).user_attrs == {"k": 1}


def test_much_that_waits_is_committed_at_once(
    storage: TrialStoreStorage, other: TrialStoreStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    first, second = storage.create_new_trial(study_id), storage.create_new_trial(study_id)

    def seen() -> list[dict[str, Any]]:
        return [other.get_trial(trial_id).user_attrs for trial_id in (first, second)]

    half = "x" * (5 << 19)
    storage.set_trial_user_attr(first, "half", half)
    assert seen() == [{}, {}]
    storage.set_trial_user_attr(second, "half", half)
    assert seen() == [{"half": half}] * 2
    storage.set_trial_user_attr(first, "k", 1)
    assert seen() == [{"half": half}] * 2

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("the disk is away")

    with monkeypatch.context() as patch:
        patch.setattr(storage._study(study_id).ledger, "execute", fail)
        storage.set_trial_user_attr(first, "half", half + "x")
        with pytest.raises(StoreUnavailableError):
            storage.set_trial_user_attr(second, "half", half + "x")
    storage.set_trial_user_attr(second, "k", 1)
    assert seen() == [{"half": half + "x", "k": 1}] * 2


def test_a_trial_that_cannot_be_decoded_is_in_the_way_of_who_reads_it_alone(storage: TrialStoreStorage) -> None:
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    told: Any = storage._study(study._study_id)
    strange = {DISTRIBUTION + "x": '{"name": "FromAnotherWorld", "attributes": {}}'}
    fields = {"trial": 2, "status": "SUCCEEDED", "params": {"x": 1.0}, "extras": strange, "metrics": {"value": 0.0}}
    storage.create_new_trial(study._study_id)
    told.execute(Draft("advance", fields))

    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert study._storage.get_trial(study.ask()._trial_id).number == 5
    for _ in range(2):
        for read in (lambda: study.trials, lambda: study.best_trial, lambda: told.trial(2)):
            with pytest.raises(ValueError, match="FromAnotherWorld"):
                read()
    assert [told.trial(number).state for number in (1, 3, 4)] == [TrialState.COMPLETE] * 3


def test_a_parameter_is_known_from_trials_that_nobody_read(
    storage: TrialStoreStorage, other: TrialStoreStorage
) -> None:
    study_id = storage.create_new_study(MINIMIZE)
    kind = CategoricalDistribution(("a", "b"))
    storage.create_new_trial(study_id, create_trial(value=1.0, params={"x": "a"}, distributions={"x": kind}))
    trial_id = other.create_new_trial(study_id)
    other.get_all_trials(study_id, states=(TrialState.WAITING,))
    with pytest.raises(ValueError, match="different distribution kind"):
        other.set_trial_param(trial_id, "x", 0.5, UNIT)
    other.set_trial_param(trial_id, "x", 1, kind)
    with pytest.raises(ValueError, match="dynamic value space"):
        other.set_trial_param(trial_id, "x", 1, CategoricalDistribution(("b", "a")))
    assert other.get_trial(trial_id).params == {"x": "b"}
