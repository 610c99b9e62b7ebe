from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.script import Script, part_body, second, trial_body
from trialstore.journal.checkpoint import decode_checkpoint, encode_checkpoint
from trialstore.journal.commit import decode_commit
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.machine import Outcome
from trialstore.journal.manifest import ROW_TABLES
from trialstore.model.part import Part
from trialstore.model.ranges import in_ranges, ranges_of
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status

Play = Script[ExperimentState]


@pytest.fixture
def script() -> Play:
    return Script(ExperimentState())


def registered(script: Play, count: int, **fields: Any) -> None:
    script.do("register", trials=[trial_body(str(index), **fields) for index in range(count)])


def finish(script: Play, trial: int, attempt: int = 1, session: str = "A", **fields: Any) -> Outcome:
    return script.do("finish", session, trial=trial, attempt=attempt, **{"status": "SUCCEEDED", **fields})


def loaded(machine: ExperimentState) -> ExperimentState:
    """The state as a checkpoint gives it back."""
    return decode_checkpoint(encode_checkpoint(machine), ExperimentState(), "c")


# Registering


def test_numbers_count_up_over_all_commits(script: Play) -> None:
    assert script.do("register", trials=[trial_body(), trial_body()]).value == 0
    assert script.do("register", "B", trials=[]).value == 2
    assert script.do("allocate", count=3).value == 2
    assert script.do("register", "B", trials=[trial_body()]).value == 5
    assert script.machine.counts == {Status.PENDING: 3}


def test_forbidden_repeats_refuse_the_whole_call() -> None:
    script = Script(ExperimentState(repeats=False))
    script.do("register", trials=[trial_body("a")])
    refusal = script.do("register", trials=[trial_body("b"), trial_body("a"), trial_body("c"), trial_body("c")])
    assert refusal == Outcome("duplicate", {"indexes": [1, 3]})
    assert script.machine.next_number == 1
    assert script.do("register", trials=[trial_body("b"), trial_body("c")]).value == 1


def test_another_fidelity_is_no_repeat() -> None:
    script = Script(ExperimentState(repeats=False))
    script.do("register", trials=[trial_body("a", fidelity={"epochs": 1, "rung": 2})])
    assert script.do("register", trials=[trial_body("a", fidelity={"epochs": 2})]).reason is None
    assert script.do("register", trials=[trial_body("a", fidelity={"rung": 2, "epochs": 1})]).reason == "duplicate"
    assert script.do("register", trials=[trial_body("a")]).reason is None


def test_repeats_are_still_forbidden_after_a_flush_and_a_checkpoint() -> None:
    script = Script(ExperimentState(repeats=False))
    script.do("register", trials=[trial_body("a")])
    script.do("claim")
    finish(script, 0)
    Flusher(script.machine, "P1").land(script)
    copy = decode_checkpoint(encode_checkpoint(script.machine), ExperimentState(repeats=False), "c")
    assert Script(copy).do("register", "Z", trials=[trial_body("a")]).reason == "duplicate"


# Claims


def test_claims_go_by_number_and_end(script: Play) -> None:
    registered(script, 3)
    assert [script.do("claim", session).value for session in "ABCD"] == [[0, 1], [1, 1], [2, 1], None]
    assert [script.machine.trials[number].session for number in range(3)] == ["A", "B", "C"]


def test_a_trial_that_is_given_back_is_next(script: Play) -> None:
    registered(script, 3)
    script.do("claim", "A")
    script.do("claim", "B")
    assert script.do("status", "A", trial=0, attempt=1, status="INTERRUPTED").reason is None
    assert script.do("claim", "C").value == [0, 2]
    assert script.do("claim", "C").value == [2, 1]


def test_a_scheduled_trial_waits_for_its_time(script: Play) -> None:
    script.do("register", trials=[trial_body("late", ready_at=second(100)), trial_body("now")])
    assert script.do("claim", at=99).value == [1, 1]
    assert script.do("claim", at=99).value is None
    assert script.do("claim", trial=0, at=99).reason == "transition"
    assert script.do("claim", at=100).value == [0, 1]


def test_a_clock_that_is_behind_loses_no_scheduled_trial(script: Play) -> None:
    """A claim with a late clock finds the trial due; one with an early clock must leave it for others."""
    script.do("register", trials=[trial_body("first"), trial_body("late", ready_at=second(100))])
    assert script.do("claim", "A", at=200).value == [0, 1]
    assert script.do("claim", "B", at=50) == Outcome(None, None)
    assert script.do("claim", "B", at=50) == Outcome(None, None)
    assert script.do("claim", "A", at=200).value == [1, 1]


def test_a_named_claim_takes_that_trial_or_says_why_not(script: Play) -> None:
    registered(script, 2)
    assert script.do("claim", trial=1).value == [1, 1]
    assert script.do("claim", "B", trial=1) == Outcome(
        "transition", {"trial": 1, "status": Status.RUNNING, "asked": Status.RUNNING}
    )
    assert script.do("claim", "B", trial=7) == Outcome("no trial", {"trial": 7})
    assert script.do("claim", "B").value == [0, 1]
    assert script.do("claim", "B").value is None


# Fencing


def test_a_stale_attempt_is_refused_and_kept_as_late(script: Play) -> None:
    registered(script, 1)
    script.do("claim", "A")
    assert script.do("expire", "B", trial=0, attempt=1).reason is None
    assert script.do("claim", "B").value == [0, 2]
    outcome = finish(script, 0, 1, "A", metrics={"loss": 0.5}, exception="E")
    assert outcome.reason == "stale attempt"
    assert outcome.value["attempt"] == 1
    assert outcome.value["current_attempt"] == 2
    record = script.machine.trials[0]
    assert (record.status, record.session, record.metrics, record.exception) == (Status.RUNNING, "B", {}, None)
    (ended,) = record.attempts
    assert (ended["attempt"], ended["session"], ended["status"]) == (1, "A", "INTERRUPTED")
    assert ended["late"]["metrics"] == {"loss": 0.5}
    assert ended["late"]["status"] == "SUCCEEDED"
    assert script.machine.manifest.rows["metrics"].rows[-1][:3] == [0, 1, "loss"]
    assert script.machine.manifest.rows["status"].rows[-1][5] == "late result"
    assert finish(script, 0, 2, "B").reason is None


def test_a_result_that_comes_before_the_trial_is_claimed_again_is_kept_too(script: Play) -> None:
    registered(script, 1)
    script.do("claim", "A")
    script.do("expire", "B", trial=0, attempt=1)
    assert finish(script, 0, 1, "A", metrics={"loss": 0.5}).reason == "stale attempt"
    (ended,) = script.machine.trials[0].attempts
    assert ended["late"]["metrics"] == {"loss": 0.5}
    assert script.machine.manifest.rows["metrics"].rows[-1][:3] == [0, 1, "loss"]
    assert script.machine.manifest.rows["status"].rows[-1][5] == "late result"
    assert script.do("claim", "B").value == [0, 2]
    assert finish(script, 0, 2, "B").reason is None


def test_a_stale_attempt_cannot_move_or_expire_the_trial(script: Play) -> None:
    registered(script, 1)
    script.do("claim", "A")
    script.do("expire", "B", trial=0, attempt=1)
    assert script.do("expire", "B", trial=0, attempt=1).reason == "stale attempt"
    script.do("claim", "B")
    assert script.do("expire", "A", trial=0, attempt=1).reason == "stale attempt"
    assert script.do("status", "A", trial=0, attempt=1, status="SUSPENDED").reason == "stale attempt"
    assert script.do("status", "A", trial=0, attempt=1, status="FAILED").reason == "stale attempt"
    assert script.machine.trials[0].session == "B"


def test_an_attempt_that_was_expired_and_not_claimed_again_is_over(script: Play) -> None:
    registered(script, 1)
    script.do("claim", "A")
    script.do("expire", "B", trial=0, attempt=1)
    assert finish(script, 0, 1, "A", metrics={"loss": 1}).reason == "stale attempt"
    assert script.machine.trials[0].status is Status.INTERRUPTED


def test_finishing_twice_is_refused_and_changes_nothing(script: Play) -> None:
    registered(script, 1)
    script.do("claim")
    assert finish(script, 0, metrics={"loss": 1}) == Outcome(None, 1)
    before = script.machine.dump()
    again = finish(script, 0, metrics={"loss": 2}, status="FAILED")
    assert again.reason == "finished"
    after = script.machine.dump()
    for head in (before[0], after[0]):
        head.pop("sessions")
        head.pop("latest_at")
    assert before == after


def test_an_attempt_from_the_future_is_refused(script: Play) -> None:
    registered(script, 1)
    script.do("claim")
    assert finish(script, 0, attempt=2).reason == "stale attempt"
    assert finish(script, 3).reason == "no trial"
    assert script.machine.trials[0].attempts == []


# Steps


def test_a_step_that_is_not_allowed_is_refused(script: Play) -> None:
    registered(script, 1)
    assert script.do("status", trial=0, status="SUCCEEDED").reason == "transition"
    assert script.do("status", trial=0, status="PENDING").reason == "transition"
    assert script.do("status", trial=0, status="SUSPENDED", was="READY").reason == "transition"
    assert script.do("status", trial=0, status="SUSPENDED", was="PENDING").reason is None
    assert script.do("status", trial=0, status="CANCELED").reason is None
    assert script.do("status", trial=0, status="RUNNING").reason == "transition"
    assert script.machine.counts == {Status.PENDING: 0, Status.SUSPENDED: 0, Status.CANCELED: 1}


def test_ready_then_running_is_one_attempt(script: Play) -> None:
    registered(script, 1)
    assert script.do("status", trial=0, status="READY", worker="w").value == 1
    assert script.do("status", trial=0, status="RUNNING", attempt=1).value == 1
    record = script.machine.trials[0]
    assert (record.attempt, record.session, record.worker) == (1, "A", "w")


def test_a_step_has_its_own_time_and_the_command_keeps_the_writers(script: Play) -> None:
    """A status that telemetry reports for another time must not bend the journal's own clock."""
    registered(script, 1)
    script.do("claim", at=10)
    script.do("status", at=11, trial=0, attempt=1, status="READY", when=second(5_000_000))
    assert script.machine.sessions["A"][1] == second(11)
    assert script.machine.manifest.rows["status"].rows[-1][3] == second(5_000_000)


def test_attempts_that_ran_add_up(script: Play) -> None:
    registered(script, 1)
    script.do("claim", at=10)
    script.do("status", at=13, trial=0, attempt=1, status="INTERRUPTED")
    script.do("claim", at=20)
    finish(script, 0, 2, at=24)
    assert script.machine.busy_us == 7_000_000
    assert script.machine.last_at == second(24)


def test_every_step_is_in_the_status_rows(script: Play) -> None:
    registered(script, 1)
    script.do("claim", worker="w")
    script.do("expire", "B", trial=0, attempt=1)
    script.do("claim", "B", worker="v")
    finish(script, 0, 2, "B", reason="done")
    rows = [(row[1], str(row[2]), row[4], row[5]) for row in script.machine.manifest.rows["status"].rows]
    assert rows == [
        (0, "PENDING", None, None),
        (1, "RUNNING", "w", None),
        (1, "INTERRUPTED", "w", "lease expired"),
        (2, "RUNNING", "v", None),
        (2, "SUCCEEDED", "v", "done"),
    ]


# Flush, revive, replace


class Flusher:
    """A flush as a process would do it: what it saw when it began, and the command it hands in later."""

    def __init__(self, state: ExperimentState, name: str) -> None:
        self.seq = state.seq
        self.records = {n: r.seq for n, r in state.trials.items() if r.status.is_final}
        self.rows = {table: (log.start, list(log.rows)) for table, log in state.manifest.rows.items() if log.rows}
        self.parts: list[dict[str, Any]] = []
        self.contents: dict[str, Any] = {}
        if self.records:
            self._write(f"{name}-trials", "trials", sorted(self.records), len(self.records), self.records)
        for table, (_, rows) in self.rows.items():
            self._write(f"{name}-{table}", table, [row[0] for row in rows], len(rows), rows)

    def _write(self, part_id: str, table: str, trials: list[int], rows: int, content: Any) -> None:
        self.parts.append(part_body(part_id, table, trials, rows, self.seq))
        self.contents[part_id] = content

    def land(self, script: Play, session: str = "A") -> Outcome:
        return script.do(
            "flush",
            session,
            seq=self.seq,
            trials=[list(pair) for pair in ranges_of(self.records)],
            rows={table: [start, len(rows)] for table, (start, rows) in self.rows.items()},
            parts=self.parts,
        )


class Compactor:
    """A compaction of one table, as a process would do it."""

    def __init__(self, state: ExperimentState, table: str, part_ids: list[str], contents: dict[str, Any], name: str):
        manifest = state.manifest
        self.remove = part_ids
        self.dropped = {p: sorted(manifest.superseded[p]) for p in part_ids if p in manifest.superseded}
        self.dropped_artifacts = sorted(manifest.removed_artifacts) if table == "artifacts" else []
        content: Any
        if table == "trials":
            content = {
                number: seq
                for part in part_ids
                for number, seq in contents[part].items()
                if number not in self.dropped.get(part, ())
            }
            trials = sorted(content)
        else:
            content = [row for part in part_ids for row in contents[part]]
            if table == "artifacts":
                content = [row for row in content if row[8] not in self.dropped_artifacts]
            trials = [row[0] for row in content]
        self.contents = {name: content} if content else {}
        self.add = [part_body(name, table, trials, len(content))] if content else []

    def land(self, script: Play, session: str = "A") -> Outcome:
        return script.do(
            "replace",
            session,
            remove=self.remove,
            add=self.add,
            dropped=self.dropped,
            dropped_artifacts=self.dropped_artifacts,
        )


def places_of(state: ExperimentState, number: int) -> list[str]:
    """Where the counting row of a trial is."""
    parts = [
        part.id
        for part in state.manifest.parts.values()
        if part.table == "trials"
        and in_ranges(number, part.trials)
        and number not in state.manifest.superseded.get(part.id, ())
    ]
    return parts + (["state"] if number in state.trials else [])


def finished(script: Play, count: int) -> None:
    registered(script, count)
    for number in range(count):
        script.do("claim")
        finish(script, number)


def test_a_result_may_say_when_the_trial_ended(script: Play) -> None:
    registered(script, 1)
    script.do("claim", "A", worker="w")
    finish(script, 0, when=second(90))
    record = script.machine.trials[0]
    assert record.ended_at == second(90)
    assert script.machine.manifest.rows["status"].rows[-1][3] == second(90)


def test_everything_that_comes_with_a_result_is_kept_and_passes_a_checkpoint(script: Play) -> None:
    registered(script, 1, info=[])
    script.do("claim", "A", worker="w")
    result = {"sem": {"loss": 0.5}, "n": {"loss": 3}, "profiles": [["fit", "cpu", 1.0]], "extras": {}, "storage": ["a"]}
    finish(script, 0, metrics={"loss": 1.5}, **result)
    for machine in (script.machine, loaded(script.machine)):
        record = machine.trials[0]
        assert {name: getattr(record, name) for name in result} == result
        assert record.info == []


def test_notes_are_merged(script: Play) -> None:
    registered(script, 1)
    script.do("annotate", trial=0, extras={"a": 1, "b": 1}, storage=["x", "y"])
    script.do("annotate", trial=0, attributes={"tag": 1}, extras={"b": 2}, storage=["y", "z"], gone=["x"])
    record = script.machine.trials[0]
    assert (record.attributes, record.extras, record.storage) == ({"tag": 1}, {"a": 1, "b": 2}, ["y", "z"])
    script.do("annotate", trial=0, storage=[], gone=["y", "z"])
    assert record.storage is None


def test_a_runner_is_set_when_the_expected_one_has_the_trial(script: Play) -> None:
    registered(script, 2)
    assert script.do("assign", trial=0, runner=3).value == 3
    seq = script.machine.trials[0].seq
    assert script.do("assign", "B", trial=0, runner=4).value == 3
    assert script.machine.trials[0].seq == seq
    assert script.do("assign", "B", trial=0, runner=4, was=3).value == 4
    assert loaded(script.machine).trials[0].runner == 4
    assert script.do("assign", trial=0, runner=None, was=4).value is None
    assert script.do("assign", trial=7, runner=1).reason == "no trial"
    script.do("claim", "A", worker="w")
    assert script.do("assign", trial=0, runner=5).value == 5
    finish(script, 0)
    assert script.do("assign", trial=0, runner=6, was=5).reason == "finished"
    assert script.machine.trials[0].runner == 5


def test_of_two_flushes_of_the_same_rows_one_wins(script: Play) -> None:
    finished(script, 3)
    first, second_ = Flusher(script.machine, "P1"), Flusher(script.machine, "P2")
    assert first.land(script) == Outcome(None, 3)
    assert second_.land(script, "B").reason == "already flushed"
    assert [places_of(script.machine, number) for number in range(3)] == [["P1-trials"]] * 3
    assert set(script.machine.manifest.parts) == {"P1-trials", "P1-status"}
    assert script.machine.finished_live == 0


def test_of_two_flushes_of_rows_alone_one_wins(script: Play) -> None:
    script.do("rows", table="metrics", rows=[[0, 1, "m", 0, second(0), 1]])
    first = Flusher(script.machine, "P1")
    script.do("rows", table="metrics", rows=[[0, 1, "m", 1, second(0), 2]])
    longer = Flusher(script.machine, "P2")
    assert first.land(script).reason is None
    assert longer.land(script).reason == "already flushed"
    log = script.machine.manifest.rows["metrics"]
    assert (log.start, [row[5] for row in log.rows]) == (1, [2])


def test_of_two_flushes_of_one_revived_trial_one_wins(script: Play) -> None:
    """No row goes with it, so the trial alone must tell the second flush that it is late."""
    finished(script, 1)
    Flusher(script.machine, "P1").land(script)
    assert revive(script, 0, "P1-trials").reason is None
    first, late = Flusher(script.machine, "P2"), Flusher(script.machine, "P3")
    assert (first.rows, late.rows) == ({}, {})
    assert first.land(script) == Outcome(None, 1)
    assert late.land(script, "B") == Outcome("already flushed", {"trial": 0})
    assert places_of(script.machine, 0) == ["P2-trials"]


def test_a_trial_that_changed_during_a_flush_stays_in_state(script: Play) -> None:
    finished(script, 2)
    flush = Flusher(script.machine, "P1")
    script.do("annotate", trial=1, attributes={"tag": 1})
    assert flush.land(script) == Outcome(None, 1)
    assert places_of(script.machine, 0) == ["P1-trials"]
    assert places_of(script.machine, 1) == ["state"]
    assert script.machine.trials[1].attributes == {"tag": 1}


def test_an_amendment_takes_any_step_and_counts_it(script: Play) -> None:
    registered(script, 1)
    machine = script.machine
    for status in [*Status, *reversed(Status)]:
        assert script.do("amend", trial=0, status=status).reason is None
        assert machine.trials[0].status is status
        assert {known: count for known, count in machine.counts.items() if count} == {status: 1}
        assert machine.finished_live == status.is_final
        assert machine.active == ({0} if status.is_active else set())
    steps = [row[2] for row in machine.manifest.rows["status"].rows]
    assert all(before != after for before, after in itertools.pairwise(steps))
    assert len(steps) == 2 * len(Status)


def test_an_amendment_takes_the_trial_from_its_session_and_merges_extras(script: Play) -> None:
    registered(script, 2)
    script.do("claim", "A")
    assert script.do("amend", "B", trial=0, extras={"a": 1, "b": 2}).reason is None
    assert script.machine.trials[0].session == "A"  # it is as it was but for the extras
    assert script.do("amend", "B", trial=0, status="SUCCEEDED", metrics={"loss": 1}, extras={"a": None}).value == 1
    assert finish(script, 0).reason == "finished"
    assert (script.machine.trials[0].metrics, script.machine.trials[0].extras) == ({"loss": 1}, {"b": 2})
    assert script.do("amend", "B", trial=0, status="INTERRUPTED", reason="again").value == 0
    assert script.do("claim", "A").value == [0, 2]
    assert script.do("amend", trial=7, status="FAILED").reason == "no trial"


def test_a_trial_in_a_part_is_amended_after_it_was_revived(script: Play) -> None:
    finished(script, 1)
    Flusher(script.machine, "P1").land(script)
    assert script.do("amend", trial=0, metrics={"loss": 2}) == Outcome("finished", {"trial": 0})
    assert revive(script, 0, "P1-trials").reason is None
    assert script.do("amend", trial=0, status="FAILED").reason is None
    assert Flusher(script.machine, "P2").land(script) == Outcome(None, 1)
    assert places_of(script.machine, 0) == ["P2-trials"]
    assert {known: count for known, count in script.machine.counts.items() if count} == {Status.FAILED: 1}


def test_a_finished_trial_in_a_part_is_known_as_finished(script: Play) -> None:
    finished(script, 1)
    Flusher(script.machine, "P1").land(script)
    assert script.do("annotate", trial=0, attributes={"a": 1}) == Outcome("finished", {"trial": 0})
    assert script.do("claim", trial=0).reason == "finished"
    assert script.do("status", trial=0, status="RUNNING").reason == "finished"
    assert finish(script, 0).reason == "finished"
    assert script.do("annotate", trial=1, attributes={"a": 1}).reason == "no trial"


def test_a_late_result_of_a_trial_in_a_part_is_kept_and_a_second_end_is_not(script: Play) -> None:
    registered(script, 2)
    script.do("claim", "A")
    script.do("expire", "B", trial=0, attempt=1)
    script.do("claim", "B")
    finish(script, 0, 2, "B")
    script.do("claim", "B")
    finish(script, 1, 1, "B")
    Flusher(script.machine, "P1").land(script)
    script.machine = decode_checkpoint(encode_checkpoint(script.machine), ExperimentState(), "c")
    rows = script.machine.manifest.rows
    assert finish(script, 0, 2, "B", metrics={"loss": 1}).reason == "finished"
    assert finish(script, 1, 1, "B", metrics={"loss": 1}).reason == "finished"
    assert (rows["metrics"].rows, rows["status"].rows) == ([], [])
    assert finish(script, 0, 1, "A", metrics={"loss": 1}).reason == "finished"
    assert [row[:3] for row in rows["metrics"].rows] == [[0, 1, "loss"]]
    assert [row[5] for row in rows["status"].rows] == ["late result"]


def test_a_late_result_of_a_trial_that_was_given_up_and_canceled_is_kept_wherever_its_row_is(script: Play) -> None:
    registered(script, 1)
    script.do("claim", "A")
    script.do("expire", "B", trial=0, attempt=1)
    assert script.do("status", "B", trial=0, status="CANCELED").reason is None
    rows = script.machine.manifest.rows["metrics"].rows
    assert finish(script, 0, 1, "A", metrics={"loss": 1}).reason == "finished"
    assert [row[:3] for row in rows] == [[0, 1, "loss"]]
    Flusher(script.machine, "P1").land(script)
    script.machine = decode_checkpoint(encode_checkpoint(script.machine), ExperimentState(), "c")
    rows = script.machine.manifest.rows["metrics"].rows
    assert rows == []
    assert finish(script, 0, 1, "A", metrics={"loss": 1}).reason == "finished"
    assert [row[:3] for row in rows] == [[0, 1, "loss"]]


def revive(script: Play, number: int, part: str, session: str = "A", status: Status = Status.SUCCEEDED) -> Outcome:
    record = TrialRecord(number, trial_body(str(number))["id"], {}, status, second(0), 0, attempt=1)
    return script.do("revive", session, record=record.to_json(), part=part)


def test_a_revived_trial_counts_in_state_until_the_next_flush(script: Play) -> None:
    finished(script, 2)
    Flusher(script.machine, "P1").land(script)
    assert revive(script, 0, "P1-trials").reason is None
    assert places_of(script.machine, 0) == ["state"]
    assert revive(script, 0, "P1-trials", "B").reason is None  # somebody else did it first: nothing to do
    assert script.do("annotate", trial=0, attributes={"tag": 1}).reason is None
    assert Flusher(script.machine, "P2").land(script) == Outcome(None, 1)
    assert places_of(script.machine, 0) == ["P2-trials"]
    assert places_of(script.machine, 1) == ["P1-trials"]
    assert revive(script, 0, "P1-trials") == Outcome("part replaced", {"trial": 0, "part": "P2-trials"})


def test_of_two_compactions_of_one_part_one_wins(script: Play) -> None:
    finished(script, 1)
    flush = Flusher(script.machine, "P1")
    flush.land(script)
    contents = flush.contents
    first = Compactor(script.machine, "trials", ["P1-trials"], contents, "C1")
    other = Compactor(script.machine, "trials", ["P1-trials"], contents, "C2")
    assert first.land(script).reason is None
    assert other.land(script, "B") == Outcome("part replaced", {"parts": ["P1-trials"]})
    assert places_of(script.machine, 0) == ["C1"]
    assert set(script.machine.manifest.retired) == {"P1-trials"}
    script.do("forget", parts=["P1-trials"])
    assert script.machine.manifest.retired == {}


def test_a_trial_revived_during_a_compaction_is_still_superseded(script: Play) -> None:
    finished(script, 3)
    flush = Flusher(script.machine, "P1")
    flush.land(script)
    assert revive(script, 2, "P1-trials").reason is None
    compaction = Compactor(script.machine, "trials", ["P1-trials"], flush.contents, "C1")
    assert revive(script, 1, "P1-trials").reason is None
    assert compaction.land(script).reason is None
    assert script.machine.manifest.superseded == {"C1": {1}}
    assert [places_of(script.machine, number) for number in range(3)] == [["C1"], ["state"], ["state"]]


def artifact(trial: int, path: str) -> list[Any]:
    return [trial, 1, path, path, 3, "00", second(0), "bytes", path]


def visible(state: ExperimentState, contents: dict[str, Any]) -> list[str]:
    """Ids of the artifacts that a reader sees."""
    manifest = state.manifest
    parts = [part.id for part in manifest.parts.values() if part.table == "artifacts"]
    rows = manifest.rows["artifacts"].rows + [row for part in parts for row in contents[part]]
    return sorted(row[8] for row in rows if row[8] not in manifest.removed_artifacts)


def test_a_removed_artifact_stays_removed_when_a_flush_meets_a_compaction(script: Play) -> None:
    """The compaction did not see the row that a flush moves into a part beside it."""
    contents: dict[str, Any] = {}
    script.do("rows", table="artifacts", rows=[artifact(0, "a"), artifact(0, "b")])
    first = Flusher(script.machine, "P1")
    contents |= first.contents
    first.land(script)
    script.do("rows", table="artifacts", rows=[artifact(1, "c")])
    script.do("remove_artifacts", ids=["a", "c"])
    compaction = Compactor(script.machine, "artifacts", ["P1-artifacts"], contents, "C1")
    contents |= compaction.contents
    between = Flusher(script.machine, "P2")
    contents |= between.contents
    assert between.land(script).reason is None
    assert compaction.land(script).reason is None
    assert visible(script.machine, contents) == ["b"]
    last = Compactor(script.machine, "artifacts", ["C1", "P2-artifacts"], contents, "C2")
    contents |= last.contents
    assert last.land(script).reason is None
    assert visible(script.machine, contents) == ["b"]
    assert script.machine.manifest.removed_artifacts == set()


class Rows(RuleBasedStateMachine):
    """Everything that moves rows, in any order, with flushes and compactions that take their time.

    What must hold is counted from the outside: which trials and rows were ever handed in, and what each part
    that the writers made holds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.script: Play = Script(ExperimentState())
        self.contents: dict[str, Any] = {}
        self.flushes: list[Flusher] = []
        self.compactions: list[Compactor] = []
        self.logged: dict[str, list[Any]] = {table: [] for table in ("metrics", "telemetry")}
        self.stored: set[str] = set()
        self.removed: set[str] = set()
        self.gone: set[int] = set()
        self.ended: dict[int, Status] = {}
        self.names = 0

    @property
    def state(self) -> ExperimentState:
        return self.script.machine

    def name(self) -> str:
        self.names += 1
        return f"{self.names:03d}"

    @rule(count=st.integers(1, 3), session=st.sampled_from("AB"))
    def register(self, count: int, session: str) -> None:
        registered_at = self.state.next_number
        outcome = self.script.do("register", session, trials=[trial_body(self.name()) for _ in range(count)])
        assert outcome.value == registered_at

    @rule(session=st.sampled_from("AB"))
    def claim(self, session: str) -> None:
        waiting = [n for n, r in sorted(self.state.trials.items()) if r.status.is_claimable]
        outcome = self.script.do("claim", session, worker="w")
        assert (outcome.value[0] if outcome.value else None) == (waiting[0] if waiting else None)

    @precondition(lambda self: self.state.active)
    @rule(data=st.data(), stale=st.integers(0, 1), status=st.sampled_from(["SUCCEEDED", "FAILED"]))
    def finish(self, data: st.DataObject, stale: int, status: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.state.active)))
        attempt = self.state.trials[number].attempt
        late = [r["attempt"] for r in self.state.trials[number].attempts]
        outcome = finish(self.script, number, attempt - stale, "A", status=status)
        assert outcome.reason == ("stale attempt" if stale else None)
        if not stale:
            self.ended[number] = Status(status)
        assert not stale or attempt - 1 not in late or "late" in self.state.trials[number].attempts[-1]

    @precondition(lambda self: self.state.active)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.state.active)))
        attempt = self.state.trials[number].attempt
        assert self.script.do("expire", "B", trial=number, attempt=attempt).reason is None

    @precondition(lambda self: self.state.trials)
    @rule(data=st.data())
    def annotate(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.state.trials)))
        assert self.script.do("annotate", trial=number, attributes={"tag": self.names}).reason is None

    @rule(table=st.sampled_from(["metrics", "telemetry"]), count=st.integers(1, 3))
    def log(self, table: str, count: int) -> None:
        names = [self.name() for _ in range(count)]
        long = table == "metrics"
        rows = [[0, 1, name, None, second(0), 1] if long else [0, 1, second(0), name, 1] for name in names]
        self.logged[table] += names
        self.script.do("rows", table=table, rows=rows)

    @rule(table=st.sampled_from(["metrics", "telemetry"]))
    def announce(self, table: str) -> None:
        name = self.name()
        part_id = f"B{name}"
        self.logged[table].append(name)
        self.contents[part_id] = [
            [0, 1, second(0), name, 1] if table == "telemetry" else [0, 1, name, None, second(0), 1]
        ]
        self.script.do("parts", parts=[part_body(part_id, table, [0], 1)])

    @rule()
    def store(self) -> None:
        path = self.name()
        self.stored.add(path)
        self.script.do("rows", table="artifacts", rows=[artifact(0, path)])

    @precondition(lambda self: self.stored - self.removed)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.stored - self.removed)))
        self.removed.add(path)
        self.script.do("remove_artifacts", ids=[path])

    @rule()
    def begin_flush(self) -> None:
        flush = Flusher(self.state, self.name())
        if flush.parts:
            self.flushes.append(flush)

    @precondition(lambda self: self.flushes)
    @rule(data=st.data(), session=st.sampled_from("AB"))
    def land_flush(self, data: st.DataObject, session: str) -> None:
        flush = self.flushes.pop(data.draw(st.integers(0, len(self.flushes) - 1)))
        self.contents |= flush.contents
        flush.land(self.script, session)

    @rule(data=st.data(), table=st.sampled_from(["trials", "metrics", "artifacts"]))
    def begin_compaction(self, data: st.DataObject, table: str) -> None:
        parts = sorted(part.id for part in self.state.manifest.parts.values() if part.table == table)
        if not parts:
            return
        # Where artifacts were removed, all parts are merged: see `_worth_merging`.
        whole = table == "artifacts"
        chosen = parts if whole else data.draw(st.lists(st.sampled_from(parts), min_size=1, unique=True))
        self.compactions.append(Compactor(self.state, table, chosen, self.contents, f"C{self.name()}"))

    @precondition(lambda self: self.compactions)
    @rule(data=st.data(), session=st.sampled_from("AB"))
    def land_compaction(self, data: st.DataObject, session: str) -> None:
        compaction = self.compactions.pop(data.draw(st.integers(0, len(self.compactions) - 1)))
        self.contents |= compaction.contents
        compaction.land(self.script, session)

    @precondition(lambda self: self.state.trials)
    @rule(data=st.data())
    def take_out(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.state.trials)))
        assert self.script.do("remove", trials=[number]).value == 1
        assert self.script.do("remove", trials=[number]).reason == "no trial"
        self.gone.add(number)

    @rule(data=st.data())
    def bring_back(self, data: st.DataObject) -> None:
        flushed = sorted(set(range(self.state.next_number)) - set(self.state.trials) - self.gone)
        if flushed:
            number = data.draw(st.sampled_from(flushed))
            part = self.state.manifest.part_of(number)
            assert part is not None
            assert revive(self.script, number, part.id, status=self.ended[number]).reason is None

    @rule()
    def checkpoint(self) -> None:
        before = self.state.dump()
        self.script.machine = decode_checkpoint(encode_checkpoint(self.state), ExperimentState(), "c")
        assert self.state.dump() == before

    @invariant()
    def each_trial_is_in_one_live_place(self) -> None:
        for number in range(self.state.next_number):
            assert len(places_of(self.state, number)) == (number not in self.gone), (
                number,
                places_of(self.state, number),
            )

    @invariant()
    def each_row_is_in_one_live_place(self) -> None:
        manifest = self.state.manifest
        for table, logged in self.logged.items():
            parts = [part.id for part in manifest.parts.values() if part.table == table]
            there = manifest.rows[table].rows + [row for part in parts for row in self.contents[part]]
            assert sorted(row[3 if table == "telemetry" else 2] for row in there) == sorted(logged)

    @invariant()
    def artifacts_are_there_until_they_are_removed(self) -> None:
        assert visible(self.state, self.contents) == sorted(self.stored - self.removed)

    @invariant()
    def the_books_balance(self) -> None:
        state = self.state
        assert sum(state.counts.values()) == state.next_number - len(self.gone)
        assert state.manifest.removed_trials == self.gone
        live = list(state.trials.values())
        assert state.active == {record.number for record in live if record.status.is_active}
        assert state.finished_live == sum(record.status.is_final for record in live)
        for status in Status:
            if not status.is_final:
                assert state.counts.get(status, 0) == sum(record.status is status for record in live)
        for record in live:
            assert (record.session is not None) == record.status.is_active
            assert record.seq <= state.seq

    def teardown(self) -> None:
        """Whoever folds all of it from the start comes to the same state."""
        state = ExperimentState()
        for data in self.script.blobs:
            state.fold(decode_commit(data, "blob"), "blob")
        assert state.dump() == self.state.dump()


TestRows = Rows.TestCase
TestRows.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


def test_imported_rows_count(script: Play) -> None:
    registered(script, 1)
    first = script.do("allocate", count=2).value
    part = part_body("I1", "trials", [first, first + 1], 2)
    counts = {"SUCCEEDED": 1, "FAILED": 1}
    script.do("import", parts=[part], counts=counts, busy_us=5, first_at=second(-9), last_at=second(99))
    assert places_of(script.machine, 1) == ["I1"]
    assert script.machine.manifest.parts["I1"].seq == script.machine.seq
    assert sum(script.machine.counts.values()) == 3
    assert (script.machine.first_at, script.machine.last_at) == (second(-9), second(99))


def test_parts_of_a_state_survive_a_checkpoint_to_the_field() -> None:
    part = Part("P", "trials", 2, 9, 0xAB, ((1, 2),), 3, second(0), second(1), {"params": {"lr": "double"}}, exact=True)
    assert Part.from_json(part.to_json()) == part
    assert all(Part.from_json(part_body("x", table, [1], 1)).table == table for table in ROW_TABLES)


def test_a_long_queue_is_handed_out_in_order() -> None:
    script = Script(ExperimentState())
    registered(script, 50)
    numbers = list(range(50))
    random.Random(5).shuffle(numbers)
    for number in numbers[:25]:
        script.do("claim", trial=number)
        script.do("status", trial=number, attempt=1, status="SUSPENDED")
    assert [script.do("claim").value[0] for _ in range(50)] == list(range(50))


def test_a_disowned_part_can_never_be_announced_and_an_announced_one_not_be_disowned() -> None:
    script = Script(ExperimentState())
    script.do("parts", parts=[part_body("live", "telemetry", [0], 1)])
    outcome = script.do("disown", parts=["live", "left"])
    assert outcome.value == ["left"]
    late = [part_body("left", "telemetry", [0], 1), part_body("new", "telemetry", [0], 1)]
    assert script.do("parts", "B", parts=late).reason == "part disowned"
    assert script.do("flush", "B", seq=1, trials=[], rows={}, parts=late).reason == "part disowned"
    assert (
        script.do("replace", "B", remove=["live"], add=late, dropped={}, dropped_artifacts=[]).reason == "part disowned"
    )
    done: dict[str, Any] = {"counts": {"SUCCEEDED": 1}, "busy_us": 0, "first_at": None, "last_at": None}
    assert script.do("import", "B", parts=late, **done).reason == "part disowned"
    assert list(script.machine.manifest.parts) == ["live"]
    loaded = ExperimentState()
    loaded.load(script.machine.dump())
    assert loaded.manifest.disowned == script.machine.manifest.disowned
    script.do("retire_sessions", before=second(script.now + 10))
    assert script.machine.manifest.disowned == {}
