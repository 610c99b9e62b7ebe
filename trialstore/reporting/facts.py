"""What a report says, apart from the handle it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trialstore.model.errors import InvalidStatusError
from trialstore.model.metric import Metric
from trialstore.model.record import TrialRecord
from trialstore.model.status import Status

__all__ = ["TRIAL", "Facts", "default_name", "parse_status", "status_word"]

TRIAL = "trial"
"""The profile whose columns have no name in front: that of `Trial.begin`."""

_WORDS = {Status.SUCCEEDED: "success", Status.FAILED: "fail"}
_STATUSES = {word: status for status, word in _WORDS.items()}


@dataclass(frozen=True, slots=True)
class Facts:
    """A report's content.

    Attributes:
        record: The trial, decoded.
        experiment: Name of its experiment; empty where it is not known.
        version: Version of its experiment.
        metrics: The declared metrics; empty where they are not known.
    """

    record: TrialRecord
    experiment: str
    version: int
    metrics: Sequence[Metric]


def status_word(status: Status) -> str:
    """AMLTK's word for a status where it has one, else ours in lower case."""
    return _WORDS.get(status, status.value.lower())


def parse_status(word: Any) -> Status:
    """The status of AMLTK's word or of ours.

    Raises:
        InvalidStatusError: it is neither.
    """
    if not isinstance(word, str):
        raise InvalidStatusError("not a status", status=word)
    return _STATUSES.get(word.lower()) or Status.parse(word)


def default_name(experiment: str, number: int) -> str:
    """The name of a trial that was given none."""
    return f"{experiment}-{number}"
