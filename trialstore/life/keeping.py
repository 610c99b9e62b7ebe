"""A trial's artifacts: stored under it, loaded again, deleted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from trialstore.artifacts.store import Artifact, load, put, save
from trialstore.bucket import Bucket
from trialstore.journal.journal import Draft
from trialstore.life.held import Held
from trialstore.life.noting import elsewhere
from trialstore.model.errors import ArtifactNotFoundError, UsageError, nearest

__all__ = ["artifacts", "delete", "retrieve", "retrieve_file", "storage", "store"]


def store(held: Held, items: Mapping[str, Any], where: Any, loader: str | None) -> Any:
    """See `Trial.store`."""
    if where is None:
        return _store(held, items, loader)
    bucket = _bucket(held, where)
    if bucket is not None:
        found = bucket.store(items) if loader is None else bucket.store(items, loader=loader)
    else:
        _no_loader(loader)
        found = where(held.name, items)
    elsewhere(held, added=items)
    return found


def storage(held: Held) -> set[str]:
    """Names of all that was stored with the trial, wherever it is."""
    unsaved = held.unsaved
    return {*artifacts(held), *(held.record.storage or ()), *(unsaved.elsewhere if unsaved is not None else ())}


def _bucket(held: Held, where: Any) -> Any:
    """The trial's own bucket in another bucket; None for something to call."""
    if isinstance(where, str | os.PathLike):
        where = Bucket(where)
    if hasattr(where, "sub"):
        return where.sub(held.name)
    if callable(where):
        return None
    raise UsageError("things can be stored in a bucket, at a path or URL, or by something to call", where=where)


def _no_loader(loader: str | None) -> None:
    if loader is not None:
        raise UsageError("what is called to store things chooses how itself", hint="leave loader out", loader=loader)


def _store(held: Held, items: Mapping[str, Any], loader: str | None) -> list[Artifact]:
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


def retrieve(held: Held, key: str, where: Any, check: type | None, loader: str | None) -> Any:
    """See `Trial.retrieve`."""
    if where is None:
        value = load(held.ledger.blobs, held.stored.get(key) or _artifact(held, key), loader)
    else:
        bucket = _bucket(held, where)
        if bucket is None:
            raise UsageError("what is called to store things does not give them back", hint="name the bucket", key=key)
        value = bucket[key].load() if loader is None else bucket[key].load(loader=loader)
    if check is not None and not isinstance(value, check):
        raise TypeError(f"{key!r} holds {type(value).__name__}, not {check.__name__}")
    return value


def retrieve_file(held: Held, name: str, path: str | os.PathLike[str]) -> None:
    """See `Trial.retrieve_file`."""
    save(held.ledger.blobs, held.stored.get(name) or _artifact(held, name), path)


def delete(held: Held, items: Iterable[str], where: Any) -> dict[str, bool]:
    """See `Trial.delete_from_storage`."""
    if isinstance(items, str):
        raise UsageError("items must be several names", hint=f"write [{items!r}]", items=items)
    names = list(items)
    if where is not None:
        bucket = _bucket(held, where)
        gone: dict[str, bool] = dict(where(held.name, names) if bucket is None else bucket.remove(names))
        elsewhere(held, gone=names)
        return gone
    chosen = [_artifact(held, name) for name in names]
    held.ledger.execute_one(Draft("remove_artifacts", {"ids": [artifact.id for artifact in chosen]}))
    for artifact in chosen:
        held.stored.pop(artifact.name, None)
    return dict.fromkeys(names, True)


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
