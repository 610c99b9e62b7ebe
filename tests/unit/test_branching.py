"""Experiments in versions: what differs, which adapter stands in between, and whose trials each of them sees."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trialstore as ts
from trialstore.evc.adapters import (
    Adapter,
    AlgorithmChange,
    CodeChange,
    CommandLineChange,
    CompositeAdapter,
    DimensionAddition,
    DimensionDeletion,
    DimensionPriorChange,
    DimensionRenaming,
    ScriptConfigChange,
    adapter_of,
)
from trialstore.model.codec import encode
from trialstore.model.errors import BranchingError, DamagedError, ExperimentNotFoundError, UsageError
from trialstore.provenance import capture, vcs_facts

SPACE: dict[str, ts.Dimension] = {"lr": ts.Real(0, 1), "act": ts.Categorical(["relu", "tanh"])}


@pytest.fixture
def store(tmp_path: Path) -> ts.Store:
    return ts.open(tmp_path / "store")


def build(store: ts.Store, **options: Any) -> ts.Experiment:
    return store.build_experiment("tune", **{"space": SPACE, "metrics": [ts.Metric("loss")], **options})


def tried(experiment: ts.Experiment, **params: Any) -> ts.Trial:
    trial = experiment.register_trial(params, reserve=True)
    trial.success(loss=params.get("lr", 0.0))
    return trial


def seen(experiment: ts.Experiment) -> list[dict[str, Any]]:
    return [dict(trial.params) for trial in experiment.fetch_trials(with_evc_tree=True)]


# Adapters

TRIAL = {"lr": 0.5, "act": "relu"}


@pytest.mark.parametrize(
    ("adapter", "forward", "backward"),
    [
        (DimensionAddition("depth", 3), {**TRIAL, "depth": 3}, None),
        (DimensionAddition("lr", 0.5), None, {"act": "relu"}),
        (DimensionAddition("lr", 0.4), None, None),
        (DimensionAddition("depth", has_default=False), None, None),
        (DimensionDeletion("lr", 0.5), {"act": "relu"}, None),
        (DimensionDeletion("depth", 3), None, {**TRIAL, "depth": 3}),
        (DimensionRenaming("lr", "rate"), {"rate": 0.5, "act": "relu"}, None),
        (DimensionRenaming("rate", "lr"), None, {"rate": 0.5, "act": "relu"}),
        (DimensionPriorChange("lr", ts.Real(0, 1), ts.Real(0, 0.1)), None, TRIAL),
        (DimensionPriorChange("lr", ts.Real(0.6, 1), ts.Real(0, 1)), TRIAL, None),
        (AlgorithmChange(), TRIAL, TRIAL),
        (CodeChange("noeffect"), TRIAL, TRIAL),
        (CodeChange("unsure"), TRIAL, None),
        (CodeChange("break"), None, None),
        (CommandLineChange("unsure"), TRIAL, None),
        (ScriptConfigChange("break"), None, None),
    ],
    ids=repr,
)
def test_an_adapter_adapts_both_ways_and_comes_back(adapter: Adapter, forward: Any, backward: Any) -> None:
    for one in (adapter, adapter_of(adapter.configuration)):
        assert one.forward(TRIAL) == forward
        assert one.backward(TRIAL) == backward
        assert one == adapter
        assert hash(one) == hash(adapter)


def test_adapters_are_applied_in_order_and_backwards() -> None:
    both = CompositeAdapter(DimensionRenaming("lr", "rate"), DimensionAddition("depth", 3))
    assert both.forward(TRIAL) == {"rate": 0.5, "act": "relu", "depth": 3}
    assert both.backward({"rate": 0.5, "act": "relu", "depth": 3}) == TRIAL
    assert adapter_of(both.configuration) == both
    assert adapter_of([]).forward(TRIAL) == TRIAL


VALUES = st.sampled_from([0, 1, 0.5, True, None, "relu", (1, 2), b"x"])
NAMES = st.sampled_from(["lr", "act", "depth", "rate"])
ONE = st.one_of(
    st.builds(DimensionAddition, NAMES, VALUES, st.booleans()),
    st.builds(DimensionDeletion, NAMES, VALUES, st.booleans()),
    st.builds(DimensionRenaming, NAMES, NAMES),
    st.builds(CodeChange, st.sampled_from(["noeffect", "unsure", "break"])),
    st.just(AlgorithmChange()),
)


@given(st.lists(ONE, max_size=4), st.dictionaries(NAMES, VALUES))
def test_what_comes_back_is_what_went(adapters: list[Adapter], params: dict[str, Any]) -> None:
    adapter = CompositeAdapter(*adapters)
    assert adapter_of(adapter.configuration) == adapter
    there = adapter.forward(params)
    back = None if there is None else adapter.backward(there)
    assert back is None or encode(dict(sorted(back.items()))) == encode(dict(sorted(params.items())))


@pytest.mark.parametrize("wrong", [{"of_type": "moo"}, {}, {"of_type": "dimensionrenaming"}])
def test_an_unknown_adapter_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="not an adapter"):
        adapter_of([wrong])
    with pytest.raises(UsageError, match="must be text"):
        adapter_of([{"of_type": "dimensionrenaming", "old_name": ["lr"], "new_name": "rate"}])
    with pytest.raises(UsageError, match="no kind of change"):
        CodeChange("moo")


# Building


def test_what_does_not_differ_is_the_same_experiment(store: ts.Store) -> None:
    first = build(store, max_trials=3, algorithms={"random": {}})
    assert build(store) == first
    assert store.build_experiment("tune") == first
    assert build(store, max_trials=9, max_broken=2, algorithms={"random": {}}) == first
    assert (first.max_trials, store.experiment("tune").max_broken) == (9, 2)
    assert len(store) == 1
    assert first.refers == {"parent_id": None, "root_id": first.id, "adapter": []}


def test_it_remembers_who_built_it(store: ts.Store) -> None:
    metadata = build(store, metadata={"note": "mine"}, command=["train.py", "--lr", "0.1"]).metadata
    assert {"user", "datetime", "host", "python", "VCS"} <= metadata.keys()
    assert (metadata["user_script"], metadata["user_args"]) == ("train.py", ["--lr", "0.1"])
    assert metadata["note"] == "mine"


def test_all_differences_are_told_at_once(store: ts.Store) -> None:
    first = build(store, algorithms={"random": {}}, command=["train.py"], script_config={"a": 1})
    with pytest.raises(BranchingError) as refusal:
        build(
            store,
            space={"rate": ts.Real(0, 1), "act": ts.Categorical(["relu"])},
            algorithms={"tpe": {}},
            command=["train.py", "--fast"],
            script_config={"a": 2},
            branching=ts.Branching(enable=False),
        )
    for kind in ("missing dimension: 'lr'", "changed dimension: 'act'", "new dimension: 'rate'"):
        assert kind in str(refusal.value)
    for kind in ("algorithm:", "command line:", "script:"):
        assert kind in str(refusal.value)
    assert store.experiments() == [first]


def test_in_manual_mode_each_change_of_the_program_is_said(store: ts.Store) -> None:
    build(store, command=["train.py"], script_config=1)
    changed: dict[str, Any] = {"command": ["train.py", "-v"], "script_config": 2}
    with pytest.raises(BranchingError, match=r"command line: .* \(not resolved\)"):
        build(store, **changed, branching=ts.Branching(manual=True, script="noeffect"))
    second = build(store, **changed, branching=ts.Branching(manual=True, script="noeffect", command_line="unsure"))
    assert [body["of_type"] for body in second.refers["adapter"]] == ["commandlinechange", "scriptconfigchange"]


def test_a_new_version_sees_its_parents_trials_and_they_its_own(store: ts.Store) -> None:
    first = build(store)
    tried(first, lr=0.5, act="relu")
    tried(first, lr=0.7, act="tanh")
    space = {"rate": ts.Real(0, 1), "act": ts.Categorical(["relu", "elu"]), "depth": ts.Integer(1, 9, default=3)}
    second = build(store, space=space, branching=ts.Branching(renames={"lr": "rate"}))
    assert (second.version, second.refers["parent_id"], second.refers["root_id"]) == (2, first.id, first.id)
    assert second.declared_metrics == first.declared_metrics
    tried(second, rate=0.1, act="relu", depth=3)
    tried(second, rate=0.2, act="relu", depth=4)
    tried(second, rate=0.3, act="elu", depth=3)
    assert seen(second)[0] == {"rate": 0.5, "act": "relu", "depth": 3}
    assert len(seen(second)) == 4
    assert seen(first) == [TRIAL, {"lr": 0.7, "act": "tanh"}, {"lr": 0.1, "act": "relu"}]
    assert len(second.fetch_trials()) == 3
    assert len(second.fetch_trials_by_status("completed", with_evc_tree=True)) == 4
    assert second.to_polars(with_evc_tree=True)["experiment_id"].to_list() == [first.id, *[second.id] * 3]


def test_every_list_has_the_tree_where_it_is_asked_for(store: ts.Store) -> None:
    words = ("completed", "new", "reserved", "suspended", "interrupted", "broken")
    generations = [build(store), build(store, algorithms={"b": {}}), build(store, algorithms={"c": {}})]
    for turn, word in enumerate(words):
        for place, one in enumerate(generations):
            params = {"lr": (3 * turn + place) / 20, "act": "relu"}
            trial = one.register_trial(params, "reserved" if word in ("completed", "broken") else word)
            if word == "completed":
                trial.success(loss=0.5)
            elif word == "broken":
                trial.crashed()
    first, second, third = generations
    first.flush()
    second.compact()
    lists: dict[str, tuple[str, ...]] = {
        "fetch_trials": words,
        "fetch_pending_trials": ("new", "suspended", "interrupted"),
        "fetch_noncompleted_trials": words[1:],
        **dict.fromkeys(words, ()),
    }
    for one in generations:
        for name, wanted in lists.items():
            fetch = getattr(one, name, None) or partial(one.fetch_trials_by_status, name)
            mine, all_ = fetch(), fetch(with_evc_tree=True)
            expected = wanted or (name,)
            assert sorted(trial.status.orion for trial in mine) == sorted(expected)
            assert sorted(trial.status.orion for trial in all_) == sorted(expected * 3)
            for found in (mine, all_):
                assert [t.submit_time for t in found] == sorted(t.submit_time for t in found)
        assert len(one.to_polars(with_evc_tree=True)) == len(one.to_pandas(with_evc_tree=True)) == 18
        assert len(one.to_polars()) == len(one.to_pandas(with_evc_tree=False)) == 6
        assert one.fetch_lost_trials(with_evc_tree=True) == []
    other = ts.open(store.url).experiment("tune", version=2)
    old = time.time() - 86400
    for lease in Path(store.url.removeprefix("file://"), "leases").rglob("*.json"):
        os.utime(lease, (old, old))
    assert len(other.fetch_lost_trials()) == 1
    assert len(other.fetch_lost_trials(with_evc_tree=True)) == 3
    assert len(other.fix_lost_trials(with_evc_tree=False)) == 1
    assert len(other.fetch_lost_trials(with_evc_tree=True)) == 2
    other.fix_lost_trials()
    assert other.fetch_lost_trials(with_evc_tree=True) == []
    assert third.counts[ts.Status.INTERRUPTED] == first.counts[ts.Status.INTERRUPTED] == 2


def test_what_counts_towards_the_end_is_the_experiments_own(store: ts.Store) -> None:
    first = build(store, max_trials=1, max_broken=1)
    tried(first, lr=0.5, act="relu")
    first.register_trial({"lr": 0.6, "act": "relu"}, reserve=True).crashed()
    second = build(store, algorithms={"b": {}}, max_trials=1, max_broken=1)
    assert (first.is_done, first.is_broken) == (True, True)
    assert (second.is_done, second.is_broken) == (False, False)


def test_a_trial_of_a_relative_is_a_handle_on_the_relative(store: ts.Store) -> None:
    first = build(store)
    tried(first, lr=0.5, act="relu")
    second = build(store, algorithms={"tpe": {}})
    (trial,) = second.fetch_trials(with_evc_tree=True)
    assert (trial.number, trial.metrics["loss"]) == (0, 0.5)
    assert trial == first.trial(0)


def test_what_is_here_already_is_not_seen_again(store: ts.Store) -> None:
    first = build(store)
    tried(first, lr=0.5, act="relu")
    second = build(store, algorithms={"tpe": {}})
    tried(second, lr=0.5, act="relu")
    assert len(seen(first)) == len(seen(second)) == 1
    assert second.fetch_trials(with_evc_tree=True) == second.fetch_trials()


def test_the_tree_reaches_over_generations_and_not_to_siblings(store: ts.Store) -> None:
    first = build(store)
    second = build(store, algorithms={"b": {}})
    third = build(store, algorithms={"c": {}})
    sibling = build(store, version=1, algorithms={"d": {}})
    for number, one in enumerate((first, second, third, sibling)):
        tried(one, lr=number / 10, act="relu")
    assert [trial["lr"] for trial in seen(third)] == [0.0, 0.1, 0.2]
    assert [trial["lr"] for trial in seen(sibling)] == [0.0, 0.3]
    assert [trial["lr"] for trial in seen(first)] == [0.0, 0.1, 0.2, 0.3]
    node = third.node
    assert node is not None
    assert node.item == third
    assert node.parent is not None
    assert node.parent.item == second
    assert node.root.item == first
    assert [one.tree_name for one in node.root] == ["tune-v1", "tune-v2", "tune-v3", "tune-v4"]
    assert [child.item for child in node.root.children] == [second, sibling]
    assert {one.refers["root_id"] for one in (first, second, third, sibling)} == {first.id}
    assert node.adapter == CompositeAdapter(AlgorithmChange())


def test_a_dropped_parent_leaves_a_root(store: ts.Store) -> None:
    build(store)
    second = build(store, algorithms={"b": {}})
    store.drop_experiment("tune", 1)
    assert second.node is None
    assert seen(second) == []


def test_fidelities_are_adapted_too(store: ts.Store) -> None:
    first = build(store)
    tried(first, lr=0.5, act="relu")
    second = build(store, space={**SPACE, "epochs": ts.Fidelity(1, 100, default=10)})
    (trial,) = second.fetch_trials(with_evc_tree=True)
    assert trial.fidelity == {"epochs": 10}
    assert dict(trial.params) == TRIAL


def test_pending_trials_are_duplicated_once_and_run_here(store: ts.Store) -> None:
    first = build(store)
    first.register_trial({"lr": 0.5, "act": "relu"})
    first.register_trial({"lr": 0.9, "act": "tanh"})
    tried(first, lr=0.1, act="relu")
    second = build(store, space={**SPACE, "act": ts.Categorical(["relu"])})
    (copy,) = second.duplicate_pending_trials()
    assert second.duplicate_pending_trials() == []
    assert dict(copy.params) == TRIAL
    assert copy.attributes["duplicate_of"] == [first.id, 0]
    assert second.fetch_pending_trials(with_evc_tree=True) == [copy]
    running = second.reserve_trial()
    assert running == copy
    assert first.trial(0).status is ts.Status.PENDING
    assert len(first.fetch_pending_trials(with_evc_tree=True)) == 2


def test_who_created_an_experiment_is_remembered_unless_something_else_is(store: ts.Store) -> None:
    facts = store.create_experiment("default").metadata
    assert facts.keys() >= {"user", "host", "datetime", "user_script", "user_args", "VCS"}
    assert facts["user_args"] == sys.argv[1:]
    assert store.create_experiment("other").metadata["datetime"] >= facts["datetime"]
    assert store.create_experiment("given", metadata={"team": "db"}).metadata == {"team": "db"}
    assert store.create_experiment("nothing", metadata={}).metadata == {}


def test_git_is_asked_once_by_a_process_and_not_where_the_experiment_exists(
    store: ts.Store, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "tune.py").write_text("")
    monkeypatch.setattr(sys, "argv", [str(repository / "tune.py")])
    store.create_experiment("there", metadata={})
    asked = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *words, **more: asked.append(words) or run(*words, **more))
    assert store.create_experiment("there", exist_ok=True).metadata == {}
    assert asked == []
    for name in "abc":
        facts = store.create_experiment(name).metadata["VCS"]
        assert facts["HEAD_sha"] is not None
    assert 1 <= len(asked) <= 3


def test_branching_to_another_name(store: ts.Store) -> None:
    first = build(store)
    other = build(store, algorithms={"b": {}}, branching=ts.Branching(branch_to="tune-b"))
    assert (other.name, other.version, other.refers["parent_id"]) == ("tune-b", 1, first.id)


def test_what_cannot_be_asked_for(store: ts.Store) -> None:
    build(store)
    with pytest.raises(UsageError, match="metrics of an experiment"):
        build(store, metrics=[ts.Metric("other")])
    with pytest.raises(UsageError, match="renaming"):
        build(store, branching=ts.Branching(renames={"moo": "rate"}))
    with pytest.raises(UsageError, match="default of 'depth'"):
        build(store, space={**SPACE, "depth": ts.Integer(1, 3)}, branching=ts.Branching(defaults={"depth": 9}))
    with pytest.raises(UsageError, match="no kind of change"):
        ts.Branching(code="moo")
    with pytest.raises(ExperimentNotFoundError):
        build(store, version=7)


def test_defaults_of_a_call_stand_in_for_those_of_the_space(store: ts.Store) -> None:
    first = build(store)
    tried(first, lr=0.5, act="relu")
    space = {**SPACE, "depth": ts.Integer(1, 9)}
    assert seen(build(store, space=space)) == []
    second = build(store, version=1, space=space, branching=ts.Branching(defaults={"depth": 2}))
    assert seen(second) == [{**TRIAL, "depth": 2}]


def test_adapters_that_are_none_are_damage(store: ts.Store) -> None:
    first = build(store)
    refers = {"parent_id": first.id, "root_id": first.id, "adapter": [{"of_type": "moo"}]}
    second = store.create_experiment("bad", refers=refers)
    with pytest.raises((DamagedError, UsageError)):
        second.fetch_trials(with_evc_tree=True)


# Where a program comes from


def git(folder: Path, *words: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    call = ["git", "-C", str(folder), *words]
    return subprocess.run(call, capture_output=True, text=True, check=True, env={**os.environ, **who}).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "program"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text("print(1)")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    git(folder, "remote", "add", "origin", "https://me:secret@example.org/program.git")
    return folder


def test_a_repository_is_described(repository: Path) -> None:
    clean = vcs_facts(repository)
    assert clean is not None
    assert clean["HEAD_sha"] == git(repository, "rev-parse", "HEAD")
    assert (clean["type"], clean["active_branch"], clean["is_dirty"]) == ("git", "main", False)
    assert clean["url"] == "https://example.org/program.git"
    (repository / "train.py").write_text("print(2)")
    dirty = vcs_facts(repository)
    assert dirty is not None
    assert dirty["is_dirty"]
    assert dirty["diff_sha"] != clean["diff_sha"]
    git(repository, "checkout", "-q", "--detach")
    assert vcs_facts(repository) == {**dirty, "active_branch": None}


def test_nothing_fails_without_a_repository_or_git(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vcs_facts(tmp_path) is None
    assert vcs_facts(tmp_path / "none" / "there") is None
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    facts = vcs_facts(empty)
    assert facts is not None
    assert (facts["HEAD_sha"], facts["url"], facts["diff_sha"]) == (None, None, None)
    (tmp_path / "broken" / ".git").mkdir(parents=True)
    assert vcs_facts(tmp_path / "broken") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vcs_facts(repository) is None
    assert capture(["train.py"], repository)["VCS"] is None
    assert capture([])["user_script"] == ""


def test_other_code_is_a_difference(store: ts.Store, repository: Path) -> None:
    command = [str(repository / "train.py")]
    first = build(store, command=command)
    assert build(store, command=command) == first
    (repository / "train.py").write_text("print(2)")
    assert build(store, command=command, branching=ts.Branching(ignore_code_changes=True)) == first
    tried(first, lr=0.5, act="relu")
    second = build(store, command=command, branching=ts.Branching(code="unsure"))
    assert second.refers["adapter"] == [{"of_type": "codechange", "change_type": "unsure"}]
    tried(second, lr=0.6, act="relu")
    assert (len(seen(first)), len(seen(second))) == (1, 2)
