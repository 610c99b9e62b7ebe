"""Studies and trials by the names and numbers that Optuna has for them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from trialstore.journal.catalog import Catalog, ExperimentEntry
from trialstore.model.errors import InvalidNameError, UsageError
from trialstore.model.identity import check_name

__all__ = ["METADATA", "earlier_names", "experiment_name", "find_study", "split_id", "study_name", "trial_id"]

METADATA = "optuna"
"""The member of an experiment's metadata that says what its catalog entry cannot."""

_NUMBER_BITS = 28
_ID_BITS = 53
_VERSIONED = re.compile(r"(.*) \(version ([0-9]{1,10})\)", re.DOTALL)


def trial_id(study_id: int, number: int) -> int:
    """The id of a trial, which no other trial of the store ever has; `split_id` is the inverse.

    It is below 2**53, so that JavaScript (`optuna-dashboard`) has it exactly.

    Raises:
        UsageError: there are too many trials in the study, or experiments in the store.

    Example:
        >>> trial_id(1, 5), split_id(trial_id(1, 5))
        (268435461, (1, 5))
    """
    if number >> _NUMBER_BITS or study_id >> (_ID_BITS - _NUMBER_BITS):
        raise UsageError(
            "trial has no id that Optuna could use", hint="start a new store", study=study_id, trial=number
        )
    return study_id << _NUMBER_BITS | number


def split_id(trial_id: int) -> tuple[int, int]:
    """The study's id and the trial's number."""
    return trial_id >> _NUMBER_BITS, trial_id & ((1 << _NUMBER_BITS) - 1)


def experiment_name(name: str) -> tuple[str, dict[str, Any]]:
    """The name of a study's experiment, and what its metadata must say where that is another one than the study's.

    What no experiment can be called (no text at all, a very long one, a lone surrogate) is named by its hash.

    Example:
        >>> experiment_name("tune redis")
        ('tune redis', {})
        >>> experiment_name("")
        ('study-e3b0c44298fc1c149afbf4c8996fb924', {'name': '""'})
    """
    try:
        return check_name(name, "study"), {}
    except InvalidNameError:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"study-{digest}", {"name": json.dumps(name)}


def study_name(entry: ExperimentEntry) -> str:
    """The name under which Optuna knows an experiment: its own, with the version where that is not the first."""
    told = _told(entry)
    if "name" in told:
        return str(json.loads(told["name"]))
    return entry.name if entry.version == 1 else f"{entry.name} (version {entry.version})"


def find_study(catalog: Catalog, name: str) -> ExperimentEntry | None:
    """The experiment that Optuna knows under a name."""
    entry = catalog.find(experiment_name(name)[0], 1)
    if entry is not None and study_name(entry) == name:
        return entry
    versioned = _VERSIONED.fullmatch(name)
    return catalog.find(versioned[1], int(versioned[2])) if versioned and versioned[2] != "1" else None


def earlier_names(entry: ExperimentEntry) -> list[str]:
    """What the first metric of a study was called before it was given another name."""
    return list(_told(entry).get("earlier_names", ()))


def _told(entry: ExperimentEntry) -> Mapping[str, Any]:
    told = entry.config["metadata"].get(METADATA)
    return told if isinstance(told, dict) else {}
