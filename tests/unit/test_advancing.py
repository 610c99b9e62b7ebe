"""Steps of trials that no session owns, and knowing which trials changed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.script import Script, part_body, second, trial_body
from trialstore.journal.changes import Changes
from trialstore.journal.checkpoint import decode_checkpoint, encode_checkpoint
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.shapes import command_problem
from trialstore.model.status import Status

Play = Script[ExperimentState]
RUNNING = {"status": "RUNNING", "attempt": 1, "started_at": second(0)}


@pytest.fixture
def script() -> Play:
    return Script(ExperimentState())


def test_a_running_trial_without_an_owner_is_anybodys(script: Play) -> None:
    script.do("register", "A", trials=[{**trial_body("a"), **RUNNING}])
    record = script.machine.trials[0]
    assert (record.status, record.session, record.attempt) == (Status.RUNNING, None, 1)
    assert script.do("advance", "B", trial=0, params={"x": 1}, attributes={"k": 1}).reason is None
    assert script.do("advance", "C", trial=0, params={"y": 2}, extras={"e": [1]}, id="f" * 32).reason is None
    outcome = script.do("advance", "B", trial=0, status="SUCCEEDED", metrics={"loss": 0.5}, when=second(9))
    assert (outcome.reason, outcome.value) == (None, 1)
    assert record.params == {"name": "a", "x": 1, "y": 2}
    assert (record.attributes, record.extras, record.id) == ({"k": 1}, {"e": [1]}, "f" * 32)
    assert (record.metrics, record.ended_at) == ({"loss": 0.5}, second(9))
    assert script.machine.counts == {Status.RUNNING: 0, Status.SUCCEEDED: 1}
    assert script.machine.busy_us == 9_000_000
    assert not script.machine.active


def test_what_has_ended_does_not_change(script: Play) -> None:
    script.do("register", trials=[{**trial_body("a"), **RUNNING}])
    script.do("advance", trial=0, status="FAILED")
    before = script.machine.trials[0].to_json()
    again = script.do("advance", "B", trial=0, status="SUCCEEDED", metrics={"loss": 1.0}, params={"x": 1})
    assert again.reason == "finished"
    reports = [["loss", 1, second(1), 0.5]]
    assert script.do("advance", "B", trial=0, reports=reports).reason == "finished"
    assert script.machine.trials[0].to_json() == before
    assert script.machine.manifest.rows["metrics"].rows == []
    assert script.do("advance", trial=1, params={}).reason == "no trial"


def test_one_starts_a_waiting_trial(script: Play) -> None:
    script.do("register", trials=[trial_body("a")])
    assert script.do("advance", "A", trial=0, status="RUNNING", worker="w").reason is None
    assert script.do("advance", "B", trial=0, status="RUNNING").reason == "transition"
    record = script.machine.trials[0]
    assert (record.attempt, record.session, record.worker) == (1, None, "w")
    assert not script.machine.is_busy("A")


def test_a_trial_of_a_worker_is_left_alone(script: Play) -> None:
    script.do("register", trials=[trial_body("a")])
    script.do("claim", "A")
    before = script.machine.trials[0].to_json()
    for fields in ({"status": "FAILED"}, {"params": {"x": 1}}, {"status": "RUNNING"}):
        assert script.do("advance", "B", trial=0, **fields).reason == "owned"
    assert script.machine.trials[0].to_json() == before
    assert script.do("advance", "A", trial=0, status="SUCCEEDED").reason is None


def test_a_trial_that_is_not_due_is_not_started(script: Play) -> None:
    script.do("register", trials=[trial_body("a", ready_at=second(1e6))])
    assert script.do("advance", trial=0, status="RUNNING").reason == "transition"
    assert script.do("advance", trial=0, status="FAILED").reason is None


def test_a_trial_that_goes_back_can_be_claimed(script: Play) -> None:
    script.do("register", trials=[{**trial_body("a"), **RUNNING}])
    assert script.do("advance", trial=0, status="PENDING").reason is None
    assert script.do("claim", "B").value == [0, 2]


def test_reports_become_rows_of_the_attempt(script: Play) -> None:
    report = ["loss", -3, second(1), {"$float": "nan"}]
    script.do("register", trials=[{**trial_body("a"), **RUNNING, "reports": [report]}])
    script.do("advance", trial=0, reports=[["loss", 2**40, second(2), 0.5]])
    rows = [[0, 1, *report], [0, 1, "loss", 2**40, second(2), 0.5]]
    assert script.machine.manifest.rows["metrics"].rows == rows
    loaded = decode_checkpoint(encode_checkpoint(script.machine), ExperimentState(), "c")
    assert loaded.manifest.rows["metrics"].rows == rows


@pytest.mark.parametrize(
    "fields",
    [{"reports": [["loss", 1.5, second(1), 0]]}, {"status": "DONE"}, {"params": []}, {"when": "now"}, {"trial": None}],
)
def test_what_is_no_step_is_told(fields: dict[str, Any]) -> None:
    command = {"session": "A", "counter": 1, "at": second(0), "kind": "advance", "trial": 0}
    assert command_problem(command) is None
    assert command_problem(command | fields) is not None


# What changed


class Watched:
    """A script whose commits are told to a watcher, as a journal does it."""

    def __init__(self) -> None:
        self.script: Play = Script(ExperimentState())
        self.changes = Changes()

    def do(self, kind: str, **fields: Any) -> None:
        outcome = self.script.do(kind, **fields)
        self.changes.notice([{"kind": kind, **fields}], [outcome])

    def taken(self) -> set[int] | None:
        return self.changes.take(self.script.machine)


def test_each_change_is_told_once() -> None:
    watched = Watched()
    assert watched.taken() is None
    assert watched.taken() == set()
    watched.do("register", trials=[trial_body("a"), trial_body("b"), trial_body("c")])
    assert watched.taken() == {0, 1, 2}
    watched.do("claim")
    watched.do("annotate", trial=2, attributes={})
    assert watched.taken() == {0, 2}
    watched.do("finish", trial=1, attempt=1, status="FAILED")
    assert watched.taken() == set()  # it was refused
    watched.do("rows", table="metrics", rows=[[1, 1, "loss", 1, second(1), 0.5]])
    watched.do("rows", table="status", rows=[])
    assert watched.taken() == {1}
    watched.do("parts", parts=[part_body("P", "metrics", [0, 1], 2), part_body("Q", "telemetry", [2], 2)])
    assert (watched.taken(), watched.changes.parts_came) == ({0, 1}, True)
    watched.do("remove", trials=[1])
    assert watched.taken() == {1}


def test_what_nobody_told_may_be_anything() -> None:
    watched = Watched()
    watched.taken()
    watched.script.do("register", trials=[trial_body("a")])
    assert watched.taken() is None
    assert watched.taken() == set()
    watched.changes.lose()
    assert watched.taken() is None


def test_what_a_reader_failed_to_follow_may_be_anything() -> None:
    watched = Watched()
    watched.taken()
    watched.do("register", trials=[trial_body("a")])
    with watched.changes.following(watched.script.machine) as numbers:
        assert numbers == {0}
    watched.do("register", trials=[trial_body("b")])
    with pytest.raises(KeyboardInterrupt):
        stop_following(watched)
    assert watched.taken() is None


def stop_following(watched: Watched) -> None:
    with watched.changes.following(watched.script.machine) as numbers:
        assert numbers == {1}
        raise KeyboardInterrupt
