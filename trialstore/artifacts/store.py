"""Putting artifacts into the store and getting them out: equal bytes of an experiment are one blob."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from trialstore.artifacts.loaders import dump, loader_named, parse
from trialstore.artifacts.transfer import Digest, HashingReader, chunks, copy_checked, opened, write_file
from trialstore.blobs.protocol import Blobs
from trialstore.model.errors import DamagedError, InvalidNameError, UsageError
from trialstore.model.identity import check_name, new_ulid
from trialstore.model.times import now_text

__all__ = ["Artifact", "blob_folder", "compare", "load", "put", "save"]

_WHOLE_BYTES = 8 << 20
"""Larger objects are streamed, so that a bucket is not sent what it has."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One stored object of a trial.

    Attributes:
        trial: Number of the trial.
        attempt: The attempt that stored it.
        name: Its name in the trial.
        path: Its blob, relative to the root of the store; others of equal bytes share it.
        size_bytes: Its size.
        sha256: Hexadecimal digest of its bytes.
        at: When it was stored, as a stored time.
        loader: What turns its bytes into an object.
        id: A ULID of its own.
    """

    trial: int
    attempt: int
    name: str
    path: str
    size_bytes: int
    sha256: str
    at: str
    loader: str
    id: str

    def row(self) -> list[Any]:
        """The row of the artifacts table."""
        return [
            self.trial,
            self.attempt,
            self.name,
            self.path,
            self.size_bytes,
            self.sha256,
            self.at,
            self.loader,
            self.id,
        ]


def blob_folder(key: str) -> str:
    """Where the bytes of an experiment's artifacts are, each under its SHA-256; ends with ``/``."""
    return f"artifacts/experiment={key}/sha256/"


def put(
    blobs: Blobs,
    key: str,
    trial: int,
    attempt: int,
    name: str,
    value: object,
    *,
    loader: str | None,
    retired: Container[str] = (),
) -> Artifact:
    """Write an object as an artifact; nothing names it until its row is committed.

    Guarantees: the bytes are in the store when it returns. Where the experiment has the same bytes already, they are
    stored once.

    Args:
        blobs: The store's blobs.
        key: The experiment's folder.
        trial: Number of the trial.
        attempt: The attempt that stores it.
        name: Name in the trial; ``/`` makes folders.
        value: An object the loader can store, or a path or an open binary file, which is streamed.
        loader: Name of a loader; None chooses by the name's ending.
        retired: Blobs that are about to be deleted, as the journal has them now.

    Cost: one write. Of more than 16 MiB a bucket is asked first, and nothing is sent when it has them.
    """
    _check(name)
    folder = blob_folder(key)
    if isinstance(value, os.PathLike) or hasattr(value, "read"):
        chosen = "bytes" if loader is None else loader_named(loader).name
        with opened(value) as file:
            size_bytes, digest, path = _stream(blobs, folder, file, retired)
    else:
        data, how = dump(name, value, loader)
        chosen, size_bytes = how.name, len(data)
        if size_bytes > _WHOLE_BYTES:
            size_bytes, digest, path = _stream(blobs, folder, io.BytesIO(data), retired)
        else:
            digest = hashlib.sha256(data).hexdigest()
            path = _path(folder, digest, retired)
            # Over one that there may be: this writer's own write is what makes them durable, and they look young again.
            blobs.write(path, data)
    return Artifact(trial, attempt, name, path, size_bytes, digest, now_text(), chosen, new_ulid())


def _path(folder: str, digest: str, retired: Container[str]) -> str:
    path = folder + digest
    return f"{path}~{new_ulid()}" if path in retired else path


def _stream(blobs: Blobs, folder: str, file: Any, retired: Container[str]) -> tuple[int, str, str]:
    path = ""

    def name() -> str:
        nonlocal path
        path = _path(folder, reader.digest.hexdigest(), retired)
        return path[len(folder) :]

    with HashingReader(file) as reader:
        size_bytes = blobs.write_stream(folder, reader, name=name)  # type: ignore[arg-type]
        return size_bytes, reader.digest.hexdigest(), path


def load(blobs: Blobs, artifact: Artifact, loader: str | None = None) -> Any:
    """The object that was stored.

    Raises:
        DamagedError: the bytes are not those that were stored.
        UsageError: loading the artifact could run code, and the caller asked for neither its loader nor ``"bytes"``.
    """
    how = loader_named(loader or artifact.loader)
    if loader is None and how.runs_code:
        raise UsageError(
            f"artifact is a {how.name}, which can run any code when it is loaded",
            hint=f'if you trust who wrote the store, ask for loader="{how.name}"; loader="bytes" gives the raw bytes',
            name=artifact.name,
        )
    data = blobs.read(artifact.path)
    compare(artifact, hashlib.sha256(data).hexdigest())
    return parse(artifact.name, data, how)


def save(blobs: Blobs, artifact: Artifact, path: str | os.PathLike[str]) -> None:
    """Write an artifact's bytes to a local file, which appears whole and checked, or not at all.

    Memory: 40 MiB at most, however large it is.

    Raises:
        DamagedError: the bytes are not those that were stored; there is no file.
        UsageError: the file cannot be written.
    """
    digest = Digest()
    try:
        with write_file(path) as file:
            if copy_checked(blobs, artifact.path, file):
                return
            for data in chunks(blobs, artifact.path):
                digest.update(data)
                file.write(data)
            compare(artifact, digest.hexdigest())
    finally:
        digest.close()


def compare(artifact: Artifact, digest: str) -> None:
    """Refuse bytes whose SHA-256 is not the artifact's.

    Raises:
        DamagedError: it is another one.
    """
    if digest != artifact.sha256:
        raise DamagedError(
            "artifact does not hold what was stored",
            name=artifact.name,
            blob=artifact.path,
            sha256=digest,
            expected_sha256=artifact.sha256,
        )


def _check(name: str) -> None:
    check_name(name, "artifact")
    if any(piece in ("", ".", "..") for piece in name.split("/")):
        raise InvalidNameError(
            "the name of an artifact must be a relative path", hint="such as plots/loss.svg", name=name
        )
