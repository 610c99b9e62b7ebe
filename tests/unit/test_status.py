from __future__ import annotations

import pickle

import pytest

from trialstore.model.errors import InvalidStatusError
from trialstore.model.status import Status

FINAL = {"SUCCEEDED", "PRUNED", "FAILED", "CRASHED", "CANCELED", "TIMED_OUT"}
WAITING = {"PENDING", "SUSPENDED", "INTERRUPTED"}
STEPS = {
    "UNKNOWN": set(Status.__members__) - {"UNKNOWN"},
    "PENDING": {"READY", "RUNNING", "SUSPENDED", "CANCELED", "FAILED"},
    "SUSPENDED": {"PENDING", "READY", "RUNNING", "CANCELED", "FAILED"},
    "INTERRUPTED": {"PENDING", "READY", "RUNNING", "SUSPENDED", "CANCELED", "FAILED"},
    "READY": FINAL | WAITING | {"RUNNING"},
    "RUNNING": FINAL | WAITING | {"READY"},
    **{name: set() for name in FINAL},
}


def test_there_are_the_twelve_canonical_statuses() -> None:
    assert set(Status.__members__) == {*FINAL, *WAITING, "UNKNOWN", "READY", "RUNNING"}
    assert all(status.value == status.name for status in Status)


@pytest.mark.parametrize("status", Status)
def test_kinds_of_status(status: Status) -> None:
    assert status.is_final == (status.name in FINAL)
    assert status.is_claimable == (status.name in WAITING)
    assert status.is_active == (status.name in {"READY", "RUNNING"})


@pytest.mark.parametrize("status", Status)
def test_every_step_is_allowed_or_not_as_listed(status: Status) -> None:
    assert {following.name for following in Status if status.allows(following)} == STEPS[status.name]


@pytest.mark.parametrize("status", Status)
def test_no_step_leads_to_itself_and_final_ones_lead_nowhere(status: Status) -> None:
    assert not status.allows(status)
    if status.is_final:
        assert not any(status.allows(following) for following in Status)


@pytest.mark.parametrize("text", ["running", " Running ", "RUNNING", Status.RUNNING])
def test_parse_takes_any_case(text: str) -> None:
    assert Status.parse(text) is Status.RUNNING


def test_parse_names_near_statuses() -> None:
    with pytest.raises(InvalidStatusError, match=r"hint: one of SUCCEEDED") as caught:
        Status.parse("sucseeded")
    assert caught.value.facts == {"status": "sucseeded"}


@pytest.mark.parametrize("text", ["", "done!", None, 3, "RUN NING\n?"])
def test_parse_refuses_what_is_no_status(text: str) -> None:
    with pytest.raises(InvalidStatusError, match="not a status"):
        Status.parse(text)


def test_a_status_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(Status.PRUNED)) is Status.PRUNED
