"""Optuna's artifacts, in a store's own table of artifacts or at any other address."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import IO, Any, BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import TrialState

from trialstore.artifacts.store import Artifact
from trialstore.blobs.protocol import Blobs
from trialstore.bucket import Bucket
from trialstore.experiment import Experiment
from trialstore.integrations.optuna.linking import HELD, LINK, Home, adopt, forget, home_of_study, home_of_trial, store
from trialstore.integrations.optuna.reader import checked
from trialstore.integrations.optuna.storage import TrialStoreStorage
from trialstore.model.errors import ArtifactNotFoundError, BlobNotFoundError, InvalidNameError, StoreNotFoundError
from trialstore.model.identity import check_name
from trialstore.store import Store
from trialstore.store import open as open_store

__all__ = ["TrialStoreArtifactStore"]


class TrialStoreArtifactStore:
    """An artifact store of Optuna in the store that has the studies, or in a folder at any address that fsspec knows.

    Guarantees: an artifact is durable when `write` returns, is seen whole or not at all, and no call holds more than
    some mebibytes of it in memory.

    In a store, an artifact that is linked to a trial or a study (`optuna.artifacts.upload_artifact` does it) is a row
    of the experiment's table ``artifacts``, named ``<artifact id>/<file name>``; its trial is -1 where it is a study's.
    What is read to its end is compared with its checksum. Equal bytes are stored once, and the bytes of what was
    removed, or of a study that was deleted, go with a later vacuum. What is written before it is linked (as
    ``optuna-dashboard`` does) becomes such a row when it is.

    Args:
        place: A `TrialStoreStorage`, or its store, or its address: then the artifacts are in that store. At an address
            where no store lies, each is a file of its own, named by its id.
        storage_options: For fsspec's filesystem, where `place` is an address: credentials, endpoint, and so on.

    Example:
        >>> import io
        >>> from trialstore.integrations.optuna import TrialStoreArtifactStore
        >>> artifacts = TrialStoreArtifactStore("memory://doctest/optuna-artifacts")
        >>> artifacts.write("0a1b", io.BytesIO(b"bytes"))
        >>> artifacts.open_reader("0a1b").read()
        b'bytes'

    Source: Optuna, `optuna.artifacts._protocol.ArtifactStore`.
    """

    def __init__(
        self,
        place: TrialStoreStorage | Store | str | os.PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._kept: _InStore | _InFolder
        if isinstance(place, TrialStoreStorage):
            self._kept = _InStore(place)
        elif isinstance(place, Store):
            self._kept = _InStore(TrialStoreStorage(place))
        else:
            self._kept = _at(place, storage_options)

    def __repr__(self) -> str:
        return f"TrialStoreArtifactStore({self._kept.url!r})"

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """A seekable reader of an artifact, which fetches only what is read.

        Raises:
            ArtifactNotFound: there is none of this id.
            DamagedError: while reading: the bytes of a linked artifact are not those that were stored.
        """
        return self._kept.open(_checked_id(artifact_id))  # type: ignore[return-value]

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store what an open binary file has, in the place of an artifact that may have the id; durable on return."""
        self._kept.write(_checked_id(artifact_id), content_body)

    def remove(self, artifact_id: str) -> None:
        """Delete an artifact.

        Raises:
            ArtifactNotFound: there is none of this id.
        """
        if not self._kept.remove(_checked_id(artifact_id)):
            raise _not_found(artifact_id)


def _at(place: str | os.PathLike[str], options: Mapping[str, Any] | None) -> _InStore | _InFolder:
    try:
        open_store(place, mode="r", storage_options=options).close()
    except StoreNotFoundError:
        return _InFolder(Bucket(place, storage_options=options))
    return _InStore(TrialStoreStorage(place, storage_options=options))


class _InFolder:
    """Each artifact a file of its own."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    @property
    def url(self) -> str:
        return self._bucket.url

    def open(self, artifact_id: str) -> IO[bytes]:
        try:
            return self._bucket[artifact_id].open()
        except ArtifactNotFoundError as error:
            raise _not_found(artifact_id) from error

    def write(self, artifact_id: str, body: IO[bytes]) -> None:
        self._bucket[artifact_id].put(body)

    def remove(self, artifact_id: str) -> bool:
        return self._bucket[artifact_id].remove()


_PLACES = """
    SELECT DISTINCT experiment, version, trial FROM artifacts WHERE name = $id OR starts_with(name, $id || '/')
"""


class _InStore:
    """Each artifact a row of the experiment of the study that it is linked to, or of the trial's."""

    def __init__(self, storage: TrialStoreStorage) -> None:
        self._storage = storage
        self._known: dict[str, tuple[Experiment, Artifact]] = {}

    @property
    def url(self) -> str:
        return self._storage.url

    @property
    def _blobs(self) -> Blobs:
        return self._storage.store._blobs

    def open(self, artifact_id: str) -> IO[bytes]:
        found = self._find(artifact_id)
        try:
            if found is None:
                return self._blobs.open(HELD + artifact_id)
            return checked(self._blobs.open(found[1].path), found[1])
        except BlobNotFoundError as error:
            raise _not_found(artifact_id) from error

    def write(self, artifact_id: str, body: IO[bytes]) -> None:
        before = self._find(artifact_id)
        home = self._home(artifact_id)
        if home is None:
            self._blobs.write_stream(HELD + artifact_id, body)
            home = self._home(artifact_id)  # whoever linked it meanwhile did not see what was held
            if home is not None:
                adopt(home, artifact_id)
        else:
            self._known[artifact_id] = (home.experiment, store(home, artifact_id, body))
        if before is not None:
            forget(*before)

    def remove(self, artifact_id: str) -> bool:
        found = self._find(artifact_id)
        if found is not None:
            forget(*found)
            self._known.pop(artifact_id, None)
        held = self._blobs.info(HELD + artifact_id) is not None
        if held:
            self._blobs.delete([HELD + artifact_id])
        return held or found is not None

    def _find(self, artifact_id: str) -> tuple[Experiment, Artifact] | None:
        """The row of an artifact, if it is linked and there."""
        known = self._known.get(artifact_id)
        places = iter([(known[0], known[1].trial)]) if known is not None else self._places(artifact_id)
        for experiment, trial in places:
            for artifact in reversed(experiment._ledger.artifacts(trial)):
                if artifact.name.partition("/")[0] == artifact_id:
                    self._known[artifact_id] = (experiment, artifact)
                    return experiment, artifact
        self._known.pop(artifact_id, None)
        return None

    def _places(self, artifact_id: str) -> Iterator[tuple[Experiment, int]]:
        opened = self._storage.store
        for name, version, trial in opened.sql(_PLACES, {"id": artifact_id}).fetchall():
            yield opened.experiment(name, version), trial

    def _home(self, artifact_id: str) -> Home | None:
        """What an artifact is linked to."""
        key = LINK + artifact_id
        open_states = (TrialState.RUNNING, TrialState.WAITING)
        for study in self._storage.get_all_studies():
            link = study.system_attrs.get(key)
            if link is not None:
                return home_of_study(self._storage.store, study._study_id, link)
            for trial in self._storage.get_all_trials(study._study_id, deepcopy=False, states=open_states):
                link = trial.system_attrs.get(key)
                if link is not None:
                    return home_of_trial(self._storage.store, trial._trial_id, link)
        return None


def _checked_id(artifact_id: str) -> str:
    if not isinstance(artifact_id, str) or "/" in artifact_id or artifact_id.startswith("."):
        raise InvalidNameError(
            "Invalid artifact_id: it must be one name", hint="such as a UUID", artifact_id=artifact_id
        )
    return check_name(artifact_id, "artifact")


def _not_found(artifact_id: str) -> ArtifactNotFound:
    return ArtifactNotFound(f"artifact is not in the store: artifact_id={artifact_id!r}")
