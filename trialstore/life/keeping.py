"""A trial's artifacts: stored under it, loaded again, deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trialstore.artifacts.store import Artifact, load, put
from trialstore.journal.journal import Draft
from trialstore.life.held import Held
from trialstore.model.errors import ArtifactNotFoundError, nearest

__all__ = ["artifacts", "delete", "retrieve", "store"]


def store(held: Held, items: Mapping[str, Any], loader: str | None) -> list[Artifact]:
    """See `Trial.store`."""
    ledger, record = held.ledger, held.record
    ledger.require_writable()
    with ledger.journal.view() as state:
        removed = set(state.manifest.removed_paths)
    stored = []
    for name, value in items.items():
        artifact = put(
            ledger.blobs, ledger.key, record.number, record.attempt, name, value, loader=loader, removed=removed
        )
        previous = held.stored.get(name)
        ledger.log_rows("artifacts", [artifact.row()])
        if previous is not None and previous.path != artifact.path:
            ledger.execute_one(Draft("remove_artifacts", {"paths": [previous.path]}))
            ledger.blobs.delete([previous.path])
            removed.add(previous.path)
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


def delete(held: Held, items: Iterable[str]) -> None:
    """Delete artifacts: first their rows, then their bytes."""
    chosen = [_artifact(held, name) for name in items]
    paths = [artifact.path for artifact in chosen]
    held.ledger.execute_one(Draft("remove_artifacts", {"paths": paths}))
    held.ledger.blobs.delete(paths)
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
