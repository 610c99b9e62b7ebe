"""A trial's artifacts: stored under it, loaded again, deleted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from trialstore.artifacts.store import Artifact, load, put, save
from trialstore.journal.journal import Draft
from trialstore.life.held import Held
from trialstore.model.errors import ArtifactNotFoundError, nearest

__all__ = ["artifacts", "delete", "retrieve", "retrieve_file", "store"]


def store(held: Held, items: Mapping[str, Any], loader: str | None) -> list[Artifact]:
    """See `Trial.store`."""
    ledger, record = held.ledger, held.record
    ledger.require_writable()
    with ledger.journal.view() as state:
        retired = set(state.manifest.retired_blobs)
    stored = []
    for name, value in items.items():
        artifact = put(
            ledger.blobs, ledger.key, record.number, record.attempt, name, value, loader=loader, retired=retired
        )
        previous = held.stored.get(name)
        if previous is not None and (previous.path, previous.loader) == (artifact.path, artifact.loader):
            stored.append(previous)  # it is what is there
            continue
        ledger.log_rows("artifacts", [artifact.row()])
        if previous is not None:
            ledger.execute_one(Draft("remove_artifacts", {"ids": [previous.id]}))
        held.stored[name] = artifact
        stored.append(artifact)
    return stored


def artifacts(held: Held) -> dict[str, Artifact]:
    """The trial's artifacts by name, the newest of each."""
    newest: dict[str, Artifact] = {}
    for artifact in held.ledger.artifacts(held.record.number):
        newest[artifact.name] = artifact
    return newest


def retrieve(held: Held, key: str, loader: str | None) -> Any:
    """See `Trial.retrieve`."""
    return load(held.ledger.blobs, held.stored.get(key) or _artifact(held, key), loader)


def retrieve_file(held: Held, name: str, path: str | os.PathLike[str]) -> None:
    """See `Trial.retrieve_file`."""
    save(held.ledger.blobs, held.stored.get(name) or _artifact(held, name), path)


def delete(held: Held, items: Iterable[str]) -> None:
    """See `Trial.delete_from_storage`."""
    chosen = [_artifact(held, name) for name in items]
    held.ledger.execute_one(Draft("remove_artifacts", {"ids": [artifact.id for artifact in chosen]}))
    for artifact in chosen:
        held.stored.pop(artifact.name, None)


def _artifact(held: Held, name: str) -> Artifact:
    known = artifacts(held)
    if name not in known:
        near = nearest(name, known)
        raise ArtifactNotFoundError(
            "trial has no such artifact",
            hint=f"it has {', '.join(near or known) or 'none'}",
            trial=held.record.number,
            artifact=name,
        )
    return known[name]
