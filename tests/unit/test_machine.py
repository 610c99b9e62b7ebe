from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.script import Script, second, trial_body
from trialstore.journal.catalog import Catalog
from trialstore.journal.checkpoint import decode_checkpoint, encode_checkpoint
from trialstore.journal.commit import Commit, decode_commit
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.machine import ALREADY, Machine, Outcome
from trialstore.model.status import Status

SESSIONS = st.sampled_from("ABC")
TIMES = st.integers(0, 40)
NUMBERS = st.integers(0, 5)
ATTEMPTS = st.integers(0, 3)
STATUSES = st.sampled_from([status.value for status in Status])
FINAL = st.sampled_from([status.value for status in Status if status.is_final])
METRICS = st.dictionaries(st.sampled_from("mn"), st.integers() | st.just({"$float": "nan"}), max_size=2)

BODIES = st.builds(
    lambda name, extra: trial_body(name, **extra),
    st.sampled_from("pqr"),
    st.fixed_dictionaries(
        {}, optional={"seed": st.integers(), "ready_at": TIMES.map(second), "fidelity": st.just({"epochs": 3})}
    ),
)


CONFIG = {"metrics": [], "space": {}, "max_trials": None, "max_broken": None, "metadata": {}, "repeats": True}


def kind(name: str, /, **fields: Any) -> Any:
    return st.tuples(st.just(name), st.fixed_dictionaries(fields))


COMMANDS = st.one_of(
    kind("register", trials=st.lists(BODIES, max_size=3)),
    kind("register", trials=st.lists(BODIES, min_size=1, max_size=2)),
    kind("allocate", count=st.integers(0, 3)),
    kind("claim", worker=st.sampled_from("xy")),
    kind("claim", worker=st.sampled_from("xy")),
    kind("claim", trial=NUMBERS),
    kind("finish", trial=NUMBERS, attempt=ATTEMPTS, status=FINAL, metrics=METRICS),
    kind("finish", trial=NUMBERS, attempt=ATTEMPTS, status=FINAL, metrics=METRICS, exception=st.just("E")),
    kind("status", trial=NUMBERS, status=STATUSES, worker=st.just("z")),
    kind("status", trial=NUMBERS, status=STATUSES, was=STATUSES, attempt=ATTEMPTS),
    kind("expire", trial=NUMBERS, attempt=ATTEMPTS),
    kind("annotate", trial=NUMBERS, attributes=st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2)),
    kind("amend", trial=NUMBERS, status=STATUSES, metrics=METRICS, ended_at=TIMES.map(second)),
    kind("amend", trial=NUMBERS, status=STATUSES, was=STATUSES),
    kind("advance", trial=NUMBERS, status=STATUSES, metrics=METRICS, worker=st.just("u")),
    kind("advance", trial=NUMBERS, params=st.just({"a": 3}), reports=st.lists(st.just(["m", 1, second(0), 0.5]))),
    kind("remove", trials=st.lists(NUMBERS, max_size=2)),
    kind("amend", trial=NUMBERS, params=st.just({"a": 2}), extras=st.just({"e": 1})),
    kind("rows", table=st.just("metrics"), rows=st.lists(st.just([0, 1, "m", 0, second(0), 1]))),
    kind("rows", table=st.just("telemetry"), rows=st.lists(st.just([0, 1, second(0), "m", 1]))),
    kind(
        "document",
        name=st.sampled_from("de"),
        value=st.none() | st.integers(),
        revision=st.none() | st.integers(0, 3),
    ),
    kind("retire_sessions", before=TIMES.map(second)),
)
SCRIPTS = st.lists(st.tuples(SESSIONS, TIMES, COMMANDS), max_size=40)

CATALOG_COMMANDS = st.one_of(
    kind(
        "create_experiment",
        name=st.sampled_from(["a", "A", "b/c", "../x"]),
        version=st.none() | st.integers(1, 3),
        config=st.just(CONFIG),
    ),
    kind("update_experiment", id=st.integers(1, 5), revision=st.none() | st.integers(1, 3), config=st.just({"x": 1})),
    kind("drop_experiment", id=st.integers(1, 5)),
    kind("intern", hashes=st.just(["h1", "h2", "h1"]), params=st.just([{"a": 1}, {"a": 2}, {"a": 1}])),
    kind("intern", hashes=st.just(["h3"]), params=st.just([{"a": 3}])),
    kind("retire_sessions", before=TIMES.map(second)),
)


def play(machine: Any, steps: Any, sizes: random.Random) -> tuple[Script[Any], list[Outcome]]:
    """Fold the steps in commits of one to three commands."""
    script: Script[Any] = Script(machine)
    outcomes: list[Outcome] = []
    waiting = []
    for session, at, (name, fields) in steps:
        waiting.append(script.command(name, session, at, **fields))
        if len(waiting) >= sizes.randint(1, 3):
            outcomes += script.commit(*waiting)
            waiting = []
    outcomes += script.commit(*waiting)
    return script, outcomes


def fold_from(machine: Any, blobs: list[bytes]) -> list[Outcome]:
    outcomes = []
    for data in blobs:
        outcomes += machine.fold(decode_commit(data, "blob"), "blob")
    return outcomes


@settings(max_examples=150, deadline=None)
@given(SCRIPTS, st.booleans(), st.integers(0, 2**32))
def test_a_checkpoint_anywhere_changes_nothing_that_follows(steps: Any, repeats: bool, seed: int) -> None:
    rng = random.Random(seed)
    script, outcomes = play(ExperimentState(repeats), steps, rng)
    half_way = ExperimentState(repeats)
    cut = rng.randint(0, len(script.blobs))
    before = fold_from(half_way, script.blobs[:cut])
    loaded = decode_checkpoint(encode_checkpoint(half_way), ExperimentState(repeats), "checkpoint")
    after = fold_from(loaded, script.blobs[cut:])
    assert before + after == outcomes
    assert loaded.dump() == script.machine.dump()
    assert encode_checkpoint(loaded) == encode_checkpoint(script.machine)
    # What a checkpoint does not say decides nothing either: a last round of claims ends alike.
    for state in (loaded, script.machine):
        state.sessions.clear()
    last = [play_claims(state) for state in (loaded, script.machine)]
    assert last[0] == last[1]


def play_claims(state: ExperimentState) -> list[Outcome]:
    script = Script(state)
    return [script.do("claim", "Z", at) for at in (0, 20, 10, 41, 41, 0, 41, 41, 41, 41)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(SESSIONS, TIMES, CATALOG_COMMANDS), max_size=25), st.integers(0, 2**32))
def test_the_catalog_too(steps: Any, seed: int) -> None:
    rng = random.Random(seed)
    script, outcomes = play(Catalog(), steps, rng)
    half_way = Catalog()
    cut = rng.randint(0, len(script.blobs))
    before = fold_from(half_way, script.blobs[:cut])
    loaded = decode_checkpoint(encode_checkpoint(half_way), Catalog(), "checkpoint")
    assert before + fold_from(loaded, script.blobs[cut:]) == outcomes
    assert loaded.dump() == script.machine.dump()
    entries = list(script.machine.experiments.values())
    assert len({entry.key.casefold() for entry in entries}) == len(entries)
    assert len({(entry.name, entry.version) for entry in entries}) == len(entries)


@settings(max_examples=100, deadline=None)
@given(SCRIPTS, st.integers(0, 2**32))
def test_repeated_commands_count_once(steps: Any, seed: int) -> None:
    """Every command is handed in again, at once and later: nothing changes but the bytes of the commits."""
    steps = [step for step in steps if step[2][0] != "retire_sessions"]
    rng = random.Random(seed)
    once, _ = play(ExperimentState(), steps, rng)
    twice: Script[ExperimentState] = Script(ExperimentState())
    sent: list[Any] = []
    for data in once.blobs:
        commands = decode_commit(data, "blob").commands
        sent += commands
        again = twice.commit(*commands, *commands, *rng.sample(sent, min(3, len(sent))))
        assert again[len(commands) :] == [ALREADY] * (len(again) - len(commands))
    assert twice.machine.changed[0] == once.machine.changed[0]
    twice.machine.changed = once.machine.changed  # names the commit's checksum as well, and its bytes are others
    assert twice.machine.dump() == once.machine.dump()


def test_a_repeated_claim_gives_no_second_trial() -> None:
    script = Script(ExperimentState())
    script.do("register", trials=[trial_body(), trial_body()])
    claim = script.command("claim", "B")
    assert script.commit(claim)[0].value == [0, 1]
    assert script.commit(claim) == [ALREADY]
    assert script.machine.active == {0}


# Sessions


def test_a_session_that_never_opened_is_refused() -> None:
    script = Script(ExperimentState())
    script.do("register", trials=[trial_body()])
    command = script.command("claim", "B")
    del command["opens"]
    assert script.commit(command)[0].reason == "session expired"
    assert script.machine.active == set()


def test_a_retired_session_is_refused_even_with_an_old_opening() -> None:
    script = Script(ExperimentState())
    opening = script.command("register", "B", at=1, trials=[trial_body()])
    script.commit(opening)
    assert script.do("retire_sessions", at=100, before=second(50)).value == 1
    late = script.command("register", "B", at=60, trials=[trial_body()])
    assert script.commit(opening)[0].reason == "session expired"
    del late["opens"]
    assert script.commit(late)[0].reason == "session expired"
    assert script.machine.next_number == 1


def test_who_retires_and_who_holds_a_trial_stay() -> None:
    script = Script(ExperimentState())
    script.do("register", "A", at=1, trials=[trial_body()])
    script.do("claim", "B", at=2)
    script.do("document", "C", at=60, name="d", value=1, revision=None)
    assert script.do("retire_sessions", "A", at=3, before=second(50)).value == 0
    assert set(script.machine.sessions) == {"A", "B", "C"}
    assert script.do("finish", "B", at=4, trial=0, attempt=1, status="SUCCEEDED").reason is None
    assert script.do("retire_sessions", "A", at=5, before=second(50)).value == 1
    assert set(script.machine.sessions) == {"A", "C"}


# Documents


def test_documents_change_by_compare_and_set() -> None:
    script = Script(Machine())
    assert script.do("document", name="d", value=[1], revision=0) == Outcome(None, 1)
    stale = script.do("document", "B", name="d", value=[2], revision=0)
    assert stale.reason == "stale revision"
    assert stale.value == {"document": "d", "revision": 1, "expected": 0}
    assert script.machine.documents["d"] == (1, [1])
    assert script.do("document", "B", name="d", value=[2], revision=1) == Outcome(None, 2)
    assert script.do("document", "B", name="d", value=[3], revision=None) == Outcome(None, 3)


def test_a_revision_is_never_used_again() -> None:
    script = Script(Machine())
    script.do("document", name="d", value=1, revision=0)
    assert script.do("document", name="d", value=None, revision=1) == Outcome(None, 2)
    assert script.machine.documents["d"] == (2, None)
    assert script.do("document", name="d", value=1, revision=0).reason == "stale revision"
    assert script.do("document", name="d", value=1, revision=2) == Outcome(None, 3)


# The catalog


def create(script: Script[Catalog], name: str, version: int | None = 1) -> Outcome:
    return script.do("create_experiment", name=name, version=version, config=CONFIG)


def test_ids_and_folders_are_never_used_again() -> None:
    script = Script(Catalog())
    assert create(script, "a").value == 1
    assert create(script, "a").reason == "exists"
    assert script.do("drop_experiment", id=1).reason is None
    assert script.do("drop_experiment", id=1).reason == "no experiment"
    assert create(script, "a").value == 2
    assert create(script, "A").value == 3
    assert [entry.key for entry in script.machine.experiments.values()] == ["a~2", "A~3"]


def test_versions_count_up() -> None:
    script = Script(Catalog())
    for expected in (1, 2, 3):
        create(script, "a", None)
        entry = script.machine.find("a")
        assert entry is not None
        assert entry.version == expected
    assert create(script, "a", 2).reason == "exists"
    assert script.machine.versions("a") == [1, 2, 3]
    assert script.machine.find("a", 4) is None
    assert script.machine.find("b") is None


def test_a_name_that_looks_like_the_folder_of_another_gets_its_own() -> None:
    script = Script(Catalog())
    create(script, "a", 1)
    create(script, "a", 2)
    create(script, "a~v2", 1)
    create(script, "../a", 1)
    keys = [entry.key for entry in script.machine.experiments.values()]
    assert len(set(keys)) == 4
    assert all("/" not in key for key in keys)


def test_an_update_is_a_compare_and_set() -> None:
    script = Script(Catalog())
    create(script, "a")
    assert script.do("update_experiment", id=1, revision=1, config={"x": 1}).value == 2
    assert script.do("update_experiment", id=1, revision=1, config={"x": 2}).reason == "stale revision"
    assert script.do("update_experiment", id=1, revision=None, config={"y": 3}).value == 3
    assert script.machine.experiments[1].config == {**CONFIG, "x": 1, "y": 3}


@pytest.mark.parametrize("first", [["h1", "h2"], ["h2", "h1"]])
def test_equal_configurations_share_an_id(first: list[str]) -> None:
    script = Script(Catalog())
    assert script.do("intern", hashes=first, params=[{}, {}]).value == [1, 2]
    assert script.do("intern", "B", hashes=["h3", *first, "h3"], params=[{}, {}, {}, {}]).value == [3, 1, 2, 3]


def test_a_claim_may_say_when_the_trial_started() -> None:
    state = ExperimentState()
    commands = [
        {"kind": "register", "trials": [{"id": "0" * 32, "params": {}}], "opens": True},
        {"kind": "claim", "worker": "w", "when": "2020-01-01T00:00:00.000000Z"},
    ]
    for seq, command in enumerate(commands):
        whole = {"session": "s", "counter": seq + 1, "at": "2026-01-01T00:00:00.000000Z", **command}
        state.fold(Commit(seq, state.crc32, seq + 1, [whole]), "blob")
    assert state.trials[0].started_at == "2020-01-01T00:00:00.000000Z"
