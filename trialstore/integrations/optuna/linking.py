"""Artifacts that are linked to a trial or to a study: rows of its experiment's table, and the bytes that they name."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from typing import IO, Any

from trialstore.artifacts.store import Artifact, put
from trialstore.experiment import Experiment
from trialstore.integrations.optuna.naming import split_id
from trialstore.journal.journal import Draft
from trialstore.model.errors import BlobNotFoundError, InvalidNameError
from trialstore.model.identity import check_name
from trialstore.store import Store

__all__ = ["HELD", "LINK", "Home", "adopt", "forget", "home_of_study", "home_of_trial", "store"]

LINK = "artifacts:"
"""What the system attribute of a study or a trial starts with that links an artifact; its id follows."""

HELD = "artifacts/optuna/"
"""Where what is linked to nothing yet lies, under its id."""

_NO_TRIAL = -1


@dataclass(frozen=True, slots=True)
class Home:
    """What an artifact is linked to.

    Attributes:
        experiment: That of the study.
        trial: Number of the trial, -1 for the study itself.
        attempt: The trial's attempt.
        link: What the attribute says, JSON.
    """

    experiment: Experiment
    trial: int
    attempt: int
    link: str


def home_of_study(store: Store, study_id: int, link: object) -> Home:
    """A study, as what an artifact is linked to."""
    return Home(_experiment(store, study_id), _NO_TRIAL, 0, str(link))


def home_of_trial(store: Store, trial_id: int, link: object) -> Home:
    """A trial, as what an artifact is linked to."""
    study_id, number = split_id(trial_id)
    experiment = _experiment(store, study_id)
    record = experiment._ledger.record(number)
    return Home(experiment, number, 0 if record is None else record.attempt, str(link))


def _experiment(store: Store, study_id: int) -> Experiment:
    with store._catalog.view(refresh=False) as catalog:
        return store._open_experiment(catalog.experiments[study_id])


def adopt(home: Home, artifact_id: str) -> None:
    """Make what was written before it was linked an artifact of what links it; nothing happens where nothing was.

    Cost: one request where nothing was.
    """
    blobs = home.experiment._ledger.blobs
    try:
        with blobs.open(HELD + artifact_id) as held:
            store(home, artifact_id, held)
    except BlobNotFoundError:
        return
    blobs.delete([HELD + artifact_id])


def store(home: Home, artifact_id: str, body: IO[bytes]) -> Artifact:
    """Write the bytes, and a row that names them; durable when it returns."""
    ledger = home.experiment._ledger
    ledger.require_writable()
    with ledger.journal.view() as state:
        retired = set(state.manifest.retired_blobs)
    name = _name(artifact_id, home.link)
    stored = put(
        ledger.blobs, ledger.key, home.trial, home.attempt, name, _Plain(body), loader="bytes", retired=retired
    )
    ledger.execute(Draft("rows", {"table": "artifacts", "rows": [stored.row()]}))
    return stored


def forget(experiment: Experiment, artifact: Artifact) -> None:
    """Remove the row; the bytes go with a later vacuum."""
    experiment._ledger.execute(Draft("remove_artifacts", {"ids": [artifact.id]}))


def _name(artifact_id: str, link: str) -> str:
    """The id, and the file's own name where an artifact can have it."""
    try:
        named = f"{artifact_id}/{os.path.basename(json.loads(link)['filename'])}"
        check_name(named, "artifact")
    except (ValueError, TypeError, KeyError, InvalidNameError):
        return artifact_id
    return artifact_id if named.rpartition("/")[2] in ("", ".", "..") else named


class _Plain(io.RawIOBase):
    """Any object with a `read`, as a reader that streaming takes."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        """It only reads."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data: bytes = self._body.read(size)
        return data
