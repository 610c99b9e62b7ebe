"""Putting artifacts into the store and getting them out, with their size and SHA-256."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Container
from dataclasses import dataclass
from typing import IO, Any

from trialstore.artifacts.loaders import loader_for, loader_named
from trialstore.blobs.protocol import Blobs
from trialstore.model.errors import DamagedError, InvalidNameError, UsageError
from trialstore.model.identity import check_name, escape, new_ulid
from trialstore.model.times import now_text

__all__ = ["Artifact", "load", "put"]

_CONDITIONAL_BYTES = 8 << 20
"""Larger objects are not created on condition: buckets take them in parts, which some do unconditionally."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One stored object of a trial.

    Attributes:
        trial: Number of the trial.
        attempt: The attempt that stored it.
        name: Its name in the trial.
        path: Its blob, relative to the root of the store.
        size_bytes: Its size.
        sha256: Hexadecimal digest of its bytes.
        at: When it was stored, as a stored time.
        loader: What turns its bytes into an object.
    """

    trial: int
    attempt: int
    name: str
    path: str
    size_bytes: int
    sha256: str
    at: str
    loader: str

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
        ]


def put(
    blobs: Blobs,
    key: str,
    trial: int,
    attempt: int,
    name: str,
    value: object,
    *,
    loader: str | None,
    removed: Container[str] = (),
) -> Artifact:
    """Write an object as an artifact; nothing names it until its row is committed.

    No blob is ever written over: where there is one, this one's path ends in ``~`` and a ULID.

    Args:
        blobs: The store's blobs.
        key: The experiment's folder.
        trial: Number of the trial.
        attempt: The attempt that stores it. Attempts never write over one another's files.
        name: Name in the trial; ``/`` makes folders.
        value: An object the loader can store, or a path or an open binary file, which is streamed.
        loader: Name of a loader; None chooses by the name's ending.
        removed: Paths of deleted artifacts that the journal still masks.
    """
    folder = f"artifacts/experiment={key}/trial={trial}" + (f"/attempt={attempt}" if attempt > 1 else "")
    relative = "/".join(escape(piece) for piece in _pieces(name))
    path = f"{folder}/{relative}"
    if path in removed:
        path = _beside(path)
    if isinstance(value, os.PathLike) or hasattr(value, "read"):
        chosen = "bytes" if loader is None else loader_named(loader).name
        path = _free(blobs, path)
        size_bytes, digest = _stream(blobs, path, value)
    else:
        how = loader_for(name, value) if loader is None else loader_named(loader)
        try:
            data = how.dump(value)
        except TypeError as error:
            raise UsageError(
                f"object cannot be stored as {how.name}: {error}",
                hint='choose another ending, store bytes, or ask for loader="pickle"',
                name=name,
                type=type(value).__name__,
            ) from None
        if len(data) > _CONDITIONAL_BYTES:
            path = _free(blobs, path)
            blobs.write_stream(path, io.BytesIO(data))
        elif not blobs.create(path, data):
            path = _beside(path)
            blobs.write(path, data)
        chosen, size_bytes, digest = how.name, len(data), hashlib.sha256(data).hexdigest()
    return Artifact(trial, attempt, name, path, size_bytes, digest, now_text(), chosen)


def _free(blobs: Blobs, path: str) -> str:
    return path if blobs.info(path) is None else _beside(path)


def _beside(path: str) -> str:
    return f"{path}~{new_ulid()}"


def load(blobs: Blobs, artifact: Artifact, loader: str | None = None) -> Any:
    """The object that was stored.

    Raises:
        DamagedError: the bytes are not those that were stored.
        UsageError: the artifact is a pickle, and the caller asked for neither ``loader="pickle"`` nor ``"bytes"``.
    """
    if artifact.loader == "pickle" and loader not in ("pickle", "bytes"):
        raise UsageError(
            "artifact is a pickle, which can run any code when it is loaded",
            hint='if you trust who wrote the store, ask for loader="pickle"; loader="bytes" gives the raw bytes',
            name=artifact.name,
        )
    data = blobs.read(artifact.path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != artifact.sha256:
        raise DamagedError(
            "artifact does not hold what was stored",
            name=artifact.name,
            blob=artifact.path,
            sha256=digest,
            expected_sha256=artifact.sha256,
        )
    return loader_named(loader or artifact.loader).load(data)


def _pieces(name: str) -> list[str]:
    check_name(name, "artifact")
    pieces = name.split("/")
    if any(piece in ("", ".", "..") for piece in pieces):
        raise InvalidNameError(
            "the name of an artifact must be a relative path", hint="such as plots/loss.svg", name=name
        )
    return pieces


def _stream(blobs: Blobs, path: str, source: Any) -> tuple[int, str]:
    with open(source, "rb") if isinstance(source, os.PathLike) else _Borrowed(source) as file:
        reader = _Hashing(file)
        size_bytes = blobs.write_stream(path, reader)  # type: ignore[arg-type]
    return size_bytes, reader.digest.hexdigest()


class _Borrowed:
    """An open file of the caller's that stays open."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __enter__(self) -> IO[bytes]:
        return self._file

    def __exit__(self, *_: object) -> None:
        pass


class _Hashing(io.RawIOBase):
    """A reader that hashes what passes through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        """It only reads."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the source."""
        data = self._file.read(size)
        if not isinstance(data, bytes):
            raise UsageError("file must be open in binary mode", hint='open(path, "rb")')
        self.digest.update(data)
        return data
