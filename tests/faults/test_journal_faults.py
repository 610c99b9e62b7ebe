"""No acknowledged command is lost and none counts twice, wherever the storage fails or the process dies."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.faulty import FaultyBlobs, Killed
from trialstore.journal import journal as journal_module
from trialstore.journal import replica as replica_module
from trialstore.journal import sender as sender_module
from trialstore.journal.checkpoint import Checkpoints
from trialstore.journal.commit import encode_commands
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft, Journal
from trialstore.journal.log import Log
from trialstore.journal.session import SessionId
from trialstore.model.errors import (
    OutcomeUnknownError,
    SessionExpiredError,
    StorageFullError,
    StoreUnavailableError,
    TrialStoreError,
    UsageError,
)
from trialstore.model.times import now_text

FAULTS = ["full", "away", "unsent", "lost", "denied late"]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module.time, "sleep", lambda seconds: None)


@pytest.fixture(params=["folder", "bucket"])
def blobs(request: pytest.FixtureRequest) -> FaultyBlobs:
    made = FaultyBlobs()
    made.local = request.param == "folder"
    return made


def journal_on(blobs: FaultyBlobs) -> Journal[ExperimentState]:
    return Journal(Log(blobs, "a"), Checkpoints(blobs, "checkpoints/a"), ExperimentState, SessionId())


def note(*words: str) -> list[Draft]:
    """Commands that each leave one row, so that what took effect can be counted."""
    return [Draft("rows", {"table": "metrics", "rows": [[0, 0, word, None, now_text(), 1]]}) for word in words]


def words_in(blobs: FaultyBlobs) -> list[str]:
    """What took effect, as a process that starts now folds it."""
    with journal_on(blobs.process()).view() as state:
        return [row[2] for row in state.manifest.rows["metrics"].rows]


def says(reason: str | None, *outcomes: Any) -> bool:
    return all(outcome.reason == reason for outcome in outcomes)


# One fault


def test_an_error_before_the_write_leaves_nothing_behind(blobs: FaultyBlobs) -> None:
    journal = journal_on(blobs)
    for fault, error in (("full", StorageFullError), ("away", StoreUnavailableError)):
        blobs.faults.set("create", fault)
        with pytest.raises(error):
            journal.execute(*note("refused"))
        assert words_in(blobs) == []
    assert says(None, *journal.execute(*note("a")), *journal.execute(*note("b")))
    assert words_in(blobs) == ["a", "b"]


@pytest.mark.parametrize("fault", ["unsent", "lost", "denied late"])
def test_a_lost_answer_is_looked_up_and_the_command_counts_once(blobs: FaultyBlobs, fault: str) -> None:
    journal = journal_on(blobs)
    for number in range(3):
        blobs.faults.set("create", fault)
        assert says(None, *journal.execute(*note(f"{number}a", f"{number}b")))
    assert words_in(blobs) == ["0a", "0b", "1a", "1b", "2a", "2b"]


@pytest.mark.parametrize("fault", ["unsent", "lost", "denied late"])
def test_when_looking_it_up_fails_the_outcome_is_unknown_and_comes_once(blobs: FaultyBlobs, fault: str) -> None:
    journal = journal_on(blobs)
    journal.execute(*note("before"))
    blobs.faults.set("create", fault)
    blobs.faults.set("read", "away")
    with pytest.raises(OutcomeUnknownError):
        journal.execute(*note("doubt"))
    assert says(None, *journal.execute(*note("after")))
    assert words_in(blobs) == ["before", "doubt", "after"]


@pytest.mark.parametrize("fault", ["unsent", "lost", "denied late"])
def test_what_is_in_doubt_may_be_seen_by_a_look_in_between(blobs: FaultyBlobs, fault: str) -> None:
    journal = journal_on(blobs)
    journal.execute(*note("before"))
    blobs.faults.set("create", fault)
    blobs.faults.set("read", "away")
    with pytest.raises(OutcomeUnknownError):
        journal.execute(*note("doubt"))
    with journal.view() as state:
        seen = len(state.manifest.rows["metrics"].rows)
    assert seen == (1 if fault == "unsent" else 2)
    assert says(None, *journal.execute(*note("after")))
    assert words_in(blobs) == ["before", "doubt", "after"]


def test_a_call_that_fails_while_another_is_in_doubt_does_not_come_later(blobs: FaultyBlobs) -> None:
    """The doubtful one is sent again first; when that fails, the new call has failed too, for good."""
    journal = journal_on(blobs)
    journal.execute(*note("before"))
    blobs.faults.set("create", "unsent")
    blobs.faults.set("read", "away")
    with pytest.raises(OutcomeUnknownError):
        journal.execute(*note("doubt"))
    blobs.faults.set("create", "full")
    with pytest.raises(StorageFullError):
        journal.execute(*note("refused"))
    assert says(None, *journal.execute(*note("after")))
    assert words_in(blobs) == ["before", "doubt", "after"]


def test_a_checkpoint_that_fails_does_not_undo_the_commit_before_it(
    blobs: FaultyBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "CHECKPOINT_EVERY", 1)
    journal = journal_on(blobs)
    for number, fault in enumerate(("full", "away", "unsent", "lost", None)):
        blobs.faults.set("write", fault)
        assert says(None, *journal.execute(*note(str(number))))
    assert words_in(blobs) == list("01234")


def test_posts_that_nobody_waits_for_survive_a_failed_commit_in_their_order(blobs: FaultyBlobs) -> None:
    journal = journal_on(blobs)
    journal.post(*note("1", "2"))
    journal.post(*note("3"))
    blobs.faults.set("create", "full", "full")
    with pytest.raises(StorageFullError):
        journal.execute(*note("refused"))
    journal.post(*note("4"))
    with pytest.raises(StorageFullError):
        journal.flush()
    assert says(None, *journal.execute(*note("5")))
    assert words_in(blobs) == ["1", "2", "3", "4", "5"]
    journal.flush()
    assert words_in(blobs) == ["1", "2", "3", "4", "5"]


def test_posts_in_doubt_are_sent_again(blobs: FaultyBlobs) -> None:
    journal = journal_on(blobs)
    journal.execute(*note("before"))
    journal.post(*note("1"))
    blobs.faults.set("create", "unsent")
    blobs.faults.set("read", "away")
    with pytest.raises(OutcomeUnknownError):
        journal.flush()
    journal.flush()
    journal.flush()
    assert words_in(blobs) == ["before", "1"]


def test_a_command_that_is_no_json_is_refused_and_blocks_nobody(blobs: FaultyBlobs) -> None:
    journal = journal_on(blobs)
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        journal.execute(Draft("rows", {"table": "metrics", "rows": [[object()]]}))
    assert says(None, *journal.execute(*note("after")))
    assert words_in(blobs) == ["after"]


def test_too_much_for_one_commit_is_refused_and_blocks_nobody(
    blobs: FaultyBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "COMMIT_LIMIT_BYTES", 2000)
    journal = journal_on(blobs)
    journal.post(*note(*(str(number) for number in range(5))))
    journal.post(*note(*(str(number) for number in range(5, 10))))
    with pytest.raises(UsageError, match="too much for one commit"):
        journal.execute(*note(*("x" * 100 for _ in range(20))))
    assert says(None, *journal.execute(*note("end")))
    assert words_in(blobs) == [*map(str, range(10)), "end"]


def test_a_failure_in_the_first_of_two_commits_does_not_decide_the_second(
    blobs: FaultyBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "COMMIT_LIMIT_BYTES", 700)
    journal = journal_on(blobs)
    journal.post(*note("1", "2", "3"))
    blobs.faults.set("create", None, "full")
    with pytest.raises(StorageFullError):
        journal.execute(*note("4", "5", "6"))
    assert says(None, *journal.execute(*note("7")))
    assert words_in(blobs) == ["1", "2", "3", "7"]


# Sessions


def retire_all(blobs: FaultyBlobs) -> None:
    journal_on(blobs.process()).execute(Draft("retire_sessions", {"before": "9999"}))


def test_a_session_that_was_forgotten_is_told_and_goes_on_under_a_new_one(blobs: FaultyBlobs) -> None:
    journal = journal_on(blobs)
    journal.execute(*note("1"))
    with journal_on(blobs.process()).view() as state:
        (session,) = state.sessions
    late = now_text()
    journal_on(blobs.process()).execute(Draft("retire_sessions", {"before": late}))
    journal.post(*note("posted"))
    with pytest.raises(SessionExpiredError, match="call again"):
        journal.execute(*note("refused"))
    assert says(None, *journal.execute(*note("2")))
    assert words_in(blobs) == ["1", "posted", "2"]
    with journal_on(blobs.process()).view() as state:
        assert session not in state.sessions


def test_doubt_about_a_forgotten_session_ends(blobs: FaultyBlobs) -> None:
    journal = journal_on(blobs)
    journal.execute(*note("1"))
    blobs.faults.set("create", "unsent")
    blobs.faults.set("read", "away")
    journal.post(*note("posted"))
    with pytest.raises(OutcomeUnknownError):
        journal.flush()
    journal_on(blobs.process()).execute(Draft("retire_sessions", {"before": now_text()}))
    assert says(None, *journal.execute(*note("2")))
    assert words_in(blobs) == ["1", "posted", "2"]


# The inbox: group commit across processes


@pytest.fixture
def folder() -> FaultyBlobs:
    return FaultyBlobs()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a turn for longer than one look."""
    monkeypatch.setattr(sender_module, "_TURN_PATIENCE_S", 0.0)


def inbox(blobs: FaultyBlobs) -> list[str]:
    return [info.key for info in blobs.list("inbox/")]


class Elsewhere:
    """Another process that commits while this one waits for its turn: called instead of each pause."""

    def __init__(self, blobs: FaultyBlobs, *steps: str) -> None:
        self.blobs = blobs.process()
        self.journal = journal_on(self.blobs)
        self.steps = list(steps)

    def __call__(self, seconds: float) -> None:
        if self.steps:
            self.journal.execute(*note(self.steps.pop(0)))


def test_who_has_no_turn_is_taken_along(folder: FaultyBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = folder.process()
    waiting.busy = True
    monkeypatch.setattr(sender_module.time, "sleep", Elsewhere(folder, "theirs"))
    assert says(None, *journal_on(waiting).execute(*note("mine")))
    assert words_in(folder) == ["mine", "theirs"]
    assert not any(operation == "create" for operation, _ in waiting.faults.calls)
    assert inbox(folder) == []


def test_a_taker_that_dies_after_its_commit_leaves_a_file_that_counts_once(
    folder: FaultyBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = folder.process()
    waiting.busy = True
    elsewhere = Elsewhere(folder, "theirs")
    elsewhere.blobs.faults.set("delete", "kill before")

    def die(seconds: float) -> None:
        with pytest.raises(Killed):
            elsewhere(seconds)

    monkeypatch.setattr(sender_module.time, "sleep", die)
    journal = journal_on(waiting)
    assert says(None, *journal.execute(*note("mine")))
    assert len(inbox(folder)) == 1
    assert says(None, *journal_on(folder.process()).execute(*note("third")))
    assert inbox(folder) == []
    waiting.busy = False
    assert says(None, *journal.execute(*note("mine too")))
    assert words_in(folder) == ["mine", "theirs", "third", "mine too"]


@pytest.mark.parametrize("fault", ["away", "unsent", "lost"])
def test_a_taker_that_cannot_clear_the_inbox_has_committed_all_the_same(
    folder: FaultyBlobs, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    waiting = folder.process()
    waiting.busy = True
    elsewhere = Elsewhere(folder, "theirs")
    elsewhere.blobs.faults.set("delete", fault)
    monkeypatch.setattr(sender_module.time, "sleep", elsewhere)
    assert says(None, *journal_on(waiting).execute(*note("mine")))
    assert says(None, *elsewhere.journal.execute(*note("theirs too")))
    assert words_in(folder) == ["mine", "theirs", "theirs too"]
    assert inbox(folder) == []


def test_a_damaged_file_in_the_inbox_is_cleared(folder: FaultyBlobs) -> None:
    log = Log(folder, "a")
    (draft,) = note("torn")
    command = {"session": "S", "counter": 1, "at": now_text(), "kind": draft.kind, "opens": True} | draft.fields
    log.post("S-1-1", encode_commands([command]))
    for damaged in (b"", b"{}", folder.read("inbox/a/S-1-1.jsonl")[:-1], folder.read("inbox/a/S-1-1.jsonl") + b"{}\n"):
        folder.write("inbox/a/S-1-1.jsonl", damaged)
        assert log.posted(lambda session, counter: False) == {}
        assert inbox(folder) == []
    assert says(None, *journal_on(folder).execute(*note("a")))
    assert words_in(folder) == ["a"]


def test_a_file_that_its_author_committed_meanwhile_counts_once(folder: FaultyBlobs, impatient: None) -> None:
    waiting = folder.process()
    waiting.busy = True
    waiting.faults.set("delete", "away")
    journal = journal_on(waiting)
    assert says(None, *journal.execute(*note("mine")))  # its patience ran out, so it did it itself
    for number in range(2):
        assert says(None, *journal_on(folder.process()).execute(*note(f"other {number}")))
    assert says(None, *journal.execute(*note("again")))
    assert words_in(folder) == ["mine", "other 0", "other 1", "again"]


def test_the_same_file_in_two_commits_counts_once(folder: FaultyBlobs) -> None:
    log = Log(folder, "a")
    commands = []
    for counter, draft in enumerate(note("1", "2"), start=1):
        head = {"session": "S", "counter": counter, "at": now_text(), "kind": draft.kind, "opens": True}
        commands.append(head | draft.fields)
    for _ in range(3):
        log.post("S-1-1", encode_commands(commands))
        assert says(None, *journal_on(folder.process()).execute(*note("x")))
    assert words_in(folder) == ["1", "2", "x", "x", "x"]


@pytest.mark.parametrize("fault", ["full", "away"])
def test_what_was_posted_keeps_its_counters_when_its_author_then_fails(
    folder: FaultyBlobs, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The file may be taken along at any time, so a failure after posting is in doubt, not refused."""
    monkeypatch.setattr(sender_module, "_TURN_PATIENCE_S", 60.0)
    waiting = folder.process()
    waiting.busy = True
    journal = journal_on(waiting)

    def stumble(seconds: float) -> None:
        waiting.busy = False  # the turn is free: now it commits itself, and fails
        waiting.faults.set("create", fault)

    monkeypatch.setattr(sender_module.time, "sleep", stumble)
    with pytest.raises(OutcomeUnknownError):
        journal.execute(*note("doubt"))
    assert len(inbox(folder)) == 1
    assert says(None, *journal_on(folder.process()).execute(*note("theirs")))  # takes it along
    assert says(None, *journal.execute(*note("after")))
    assert words_in(folder) == ["doubt", "theirs", "after"]


@pytest.mark.parametrize("fault", ["full", "away"])
def test_when_posting_fails_nothing_was_done(folder: FaultyBlobs, fault: str) -> None:
    waiting = folder.process()
    waiting.busy = True
    waiting.faults.set("write", fault)
    journal = journal_on(waiting)
    with pytest.raises(TrialStoreError):
        journal.execute(*note("refused"))
    waiting.busy = False
    assert says(None, *journal.execute(*note("after")))
    assert words_in(folder) == ["after"]


# Killed between any two steps


def operations(blobs: FaultyBlobs) -> list[tuple[str, int]]:
    """Every call that the storage saw, as (operation, how many of it came before)."""
    counts: dict[str, Iterator[int]] = {}
    return [(op, next(counts.setdefault(op, itertools.count()))) for op, _ in blobs.faults.calls]


def scenario(blobs: FaultyBlobs, acknowledged: list[str]) -> None:
    journal = journal_on(blobs)
    for number in range(3):
        journal.post(*note(f"posted {number}"))
        journal.execute(*note(f"waited {number}"))
        acknowledged += [f"posted {number}", f"waited {number}"]


@pytest.mark.parametrize("local", [True, False])
def test_killed_at_any_step_no_promise_is_broken(local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "CHECKPOINT_EVERY", 2)
    rehearsal = FaultyBlobs()
    rehearsal.local = local
    scenario(rehearsal, [])
    for (operation, before), when in itertools.product(operations(rehearsal), ("kill before", "kill after")):
        blobs = FaultyBlobs()
        victim = blobs.process()
        victim.local = blobs.local = local
        victim.faults.set(operation, *[None] * before, when)
        acknowledged: list[str] = []
        with pytest.raises(Killed):
            scenario(victim, acknowledged)
        assert says(None, *journal_on(blobs).execute(*note("survivor")))
        there = words_in(blobs)
        assert there[: len(acknowledged)] == acknowledged
        assert len(set(there)) == len(there)
        assert there[-1] == "survivor"


# Any faults, many processes


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["post", "execute", "execute", "flush", "view"]),
            st.fixed_dictionaries(
                {},
                optional={
                    "read": st.lists(st.none() | st.just("away"), max_size=3),
                    **{
                        operation: st.lists(st.none() | st.sampled_from(FAULTS), max_size=3)
                        for operation in ("create", "write", "delete")
                    },
                },
            ),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_any_faults_in_any_order(steps: Any, local: bool) -> None:
    """Acknowledged: there once. Refused: never there. In doubt or posted: there once after all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module.time, "sleep", lambda seconds: None)
        patch.setattr(sender_module, "_TURN_PATIENCE_S", 0.0)
        patch.setattr(replica_module, "CHECKPOINT_EVERY", 2)
        root = FaultyBlobs()
        root.local = local
        processes = [root.process() for _ in range(3)]
        journals = [journal_on(blobs) for blobs in processes]
        expected: list[set[str]] = [set(), set(), set()]
        refused: set[str] = set()
        for number, (who, what, faults, busy) in enumerate(steps):
            blobs, journal, word = processes[who], journals[who], f"{number}"
            blobs.busy = busy
            for operation, plan in faults.items():
                blobs.faults.set(operation, *plan)
            try:
                if what == "post":
                    expected[who].add(word)
                    journal.post(*note(word))
                elif what == "execute":
                    assert says(None, *journal.execute(*note(word)))
                    expected[who].add(word)
                elif what == "flush":
                    journal.flush()
                else:
                    with journal.view():
                        pass
            except OutcomeUnknownError:
                expected[who] |= {word} if what == "execute" else set()
            except TrialStoreError:
                refused |= {word} if what == "execute" else set()
            blobs.faults.plan.clear()
        for blobs, journal in zip(processes, journals, strict=True):
            blobs.busy = False
            journal.flush()
        there = words_in(root)
        assert sorted(there) == sorted(set().union(*expected))
        assert not refused & set(there)
        for mine in expected:
            assert [word for word in there if word in mine] == sorted(mine, key=int)


# Threads


def test_threads_and_faults(blobs: FaultyBlobs) -> None:
    journal = journal_on(blobs)
    rng = random.Random(11)
    blobs.faults.set("create", *(rng.choice([None, None, "lost", "unsent", "denied late", "full"]) for _ in range(200)))
    acknowledged: list[str] = []
    refused: list[str] = []
    doubtful: list[str] = []

    def work(name: int) -> None:
        for number in range(20):
            word = f"{name}-{number}"
            try:
                journal.execute(*note(word))
                acknowledged.append(word)
            except StorageFullError:
                refused.append(word)
            except OutcomeUnknownError:
                doubtful.append(word)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.flush()
    assert len(acknowledged) + len(refused) + len(doubtful) == 120
    assert sorted(words_in(blobs)) == sorted(acknowledged + doubtful)
