"""Experiments copied from one store into another, with all that they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from trialstore.amendments import update_entry
from trialstore.artifacts.store import Artifact, put
from trialstore.carrying import carried_document, orion_id, orion_metadata
from trialstore.experiment import Experiment
from trialstore.imports import CHUNK_ROWS, take_in
from trialstore.journal.arrival import arrival
from trialstore.journal.journal import Draft
from trialstore.ledger import Ledger
from trialstore.model.codec import pack_dict
from trialstore.model.errors import DuplicateExperimentError, ExperimentNotFoundError, UsageError
from trialstore.model.part import TABLES
from trialstore.model.record import GIVEN, TrialRecord
from trialstore.model.status import Status
from trialstore.recalling import records_of
from trialstore.store import Store
from trialstore.tables.artifacts import artifact_rows
from trialstore.tables.live import packed_rows_table
from trialstore.tables.parts import none_if_full, read_part, whole_or_none, write_part

__all__ = ["RESOLVE", "Merged", "merge"]

Resolve = Literal["ignore", "overwrite", "bump"]

RESOLVE = ("ignore", "overwrite", "bump")
"""What becomes of an experiment whose name and version are in the target already."""

LOADING = "trialstore.loading"
"""A document of an experiment that is being copied; one that has it is not whole."""

_ROW_TABLES = tuple(table for table in TABLES if table not in ("trials", "artifacts"))


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of one experiment.

    Attributes:
        name: Its name.
        version: Its version in the source.
        action: ``added``, ``ignored``, ``overwritten`` or ``bumped``.
        new_version: Its version in the target.
        trials: How many trials were copied.
    """

    name: str
    version: int
    action: str
    new_version: int
    trials: int


def merge(
    source: Store,
    target: Store,
    names: Iterable[str] | None = None,
    *,
    version: int | None = None,
    resolve: Resolve | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Merged]:
    """Copy experiments into another store: trials under their numbers, rows, artifacts, documents, and the tree.

    Values come over exactly. A trial that runs in the source is INTERRUPTED in the copy, since its worker knows
    nothing of that. Branched experiments refer to the copies of their parents; one whose parent is in neither
    the choice nor the target becomes a root.

    A copy that was killed is not whole, and is replaced by the next one without being asked about.

    Args:
        source: Where from; it may be open for reading alone, and others may write to it meanwhile.
        target: Where to.
        names: Names of experiments; all by default.
        version: Only this version of them.
        resolve: What becomes of those whose name and version are in the target: ``"ignore"`` leaves the target's as it
            is, ``"overwrite"`` replaces it, ``"bump"`` adds the copy in the next version.
        progress: Told the name and version of each before it is copied.

    Raises:
        DuplicateExperimentError: some are there already and `resolve` does not say what becomes of them; names all of
            them. Nothing was copied.
        ExperimentNotFoundError: the source has not what was asked for.
        UsageError: both are one store, or there is no such way to resolve.

    Cost: reads and writes everything once; as much memory as the trials of one experiment take.

    Source: Oríon, ``orion db dump`` and ``orion db load``.
    """
    if resolve is not None and resolve not in RESOLVE:
        raise UsageError("no such way to resolve", hint=f"one of {', '.join(RESOLVE)}", resolve=resolve)
    if source.url == target.url:
        raise UsageError("a store cannot be merged into itself", url=source.url)
    target._session.require_writable()
    chosen = _chosen(source, names, version)
    there = {(one.name, one.version): one for one in target.experiments()}
    for key, one in list(there.items()):
        if one.document(LOADING)[1] is not None and key in {(mine.name, mine.version) for mine in chosen}:
            target.drop_experiment(one.name, one.version)
            del there[key]
    twice = [one for one in chosen if (one.name, one.version) in there]
    if twice and resolve is None:
        raise DuplicateExperimentError(
            "experiments are in the target already",
            hint="choose what becomes of them: resolve='ignore', 'overwrite' or 'bump'",
            experiments=[f"{one.name} version {one.version}" for one in twice],
        )
    ids: dict[int, int] = {}
    done = []
    for one in chosen:
        if progress is not None:
            progress(f"{one.name} version {one.version}")
        known = there.get((one.name, one.version))
        if known is not None and resolve == "ignore":
            ids[one.id] = known.id
            done.append(Merged(one.name, one.version, "ignored", known.version, 0))
            continue
        if known is not None and resolve == "overwrite":
            target.drop_experiment(known.name, known.version)
        version_there = None if known is not None and resolve == "bump" else one.version
        copy, count = _copy(one, source, target, version_there, ids)
        ids[one.id] = copy.id
        action = "added" if known is None else {"overwrite": "overwritten", "bump": "bumped"}[str(resolve)]
        done.append(Merged(one.name, one.version, action, copy.version, count))
    return done


def _chosen(source: Store, names: Iterable[str] | None, version: int | None) -> list[Experiment]:
    wanted = None if names is None else set(names)
    found = [
        one for one in source.experiments() if (wanted is None or one.name in wanted) and version in (None, one.version)
    ]
    missing = sorted((wanted or set()) - {one.name for one in found})
    if missing or (version is not None and not found):
        raise ExperimentNotFoundError(
            "store has no such experiment", experiments=missing, version=version, url=source.url
        )
    return found


def _copy(
    one: Experiment, source: Store, target: Store, version: int | None, ids: Mapping[int, int]
) -> tuple[Experiment, int]:
    config = one._ledger.entry.config
    refers = config.get("refers")
    if refers is not None:
        parent, root = ids.get(refers["parent_id"]), ids.get(refers["root_id"])
        refers = None if parent is None else {**refers, "parent_id": parent, "root_id": root or parent}
    copy = target.create_experiment(
        one.name,
        metrics=one.declared_metrics,
        space=one.space,
        max_trials=one.max_trials,
        max_broken=one.max_broken,
        metadata=one.metadata,
        repeats=config["repeats"],
        version=version,
        working_dir=one.working_dir,
        algorithms=one.algorithms,
        refers=refers,
    )
    copy.set_document(LOADING, one._ledger.blobs.url)
    _carry_orion(one, copy, source, target, ids)
    count = _copy_trials(one._ledger, copy._ledger)
    _copy_rows(one._ledger, copy._ledger)
    renamed = _copy_artifacts(one._ledger, copy._ledger)
    _copy_documents(one, copy, renamed)
    copy.set_document(LOADING, None)
    return copy, count


def _carry_orion(one: Experiment, copy: Experiment, source: Store, target: Store, ids: Mapping[int, int]) -> None:
    """Give the copy of one of Oríon's experiments the name that Oríon may know it by there."""
    if orion_id(one.metadata, one.id) is None:
        return
    here = {found.id: orion_id(found.metadata, found.id) for found in source.experiments()}
    there = {found.id: orion_id(found.metadata, found.id) for found in target.experiments() if found != copy}
    known = {here[old]: there.get(new) for old, new in ids.items() if here.get(old) is not None}
    taken = [name for name in there.values() if name is not None]
    metadata = orion_metadata(one.metadata, copy.id, (one.version, copy.version), known, taken)
    if metadata is not None:
        update_entry(copy._ledger, {"metadata": pack_dict(metadata, "metadata")})


def _copy_trials(source: Ledger, target: Ledger) -> int:
    """All trials, under their numbers: those that have ended as parts, the others by the journal."""
    records = records_of(source)
    with source.journal.view(refresh=False) as state:
        end = state.next_number
    drafts: list[Draft] = []
    following, ended = 0, []
    for record in records:
        if record.status.is_final:
            ended.append(record)
            continue
        if record.number > following:
            drafts.append(Draft("allocate", {"count": record.number - following}))
        drafts.append(Draft("register", {"trials": [_body(record)]}))
        following = record.number + 1
    if end > following:
        drafts.append(Draft("allocate", {"count": end - following}))
    for start in range(0, len(drafts), 1024):
        for outcome in target.execute(*drafts[start : start + 1024]):
            if outcome.reason is not None:
                target.refuse(outcome)
    for start in range(0, len(ended), CHUNK_ROWS):
        # Their steps come with the other rows.
        take_in(target, [record.encoded() for record in ended[start : start + CHUNK_ROWS]], steps=())
    return len(records)


def _body(record: TrialRecord) -> dict[str, Any]:
    """What `register` says of a trial that has not ended."""
    packed = record.encoded()
    status = Status.INTERRUPTED if record.status.is_active else record.status
    body = {name: getattr(packed, name) for name in GIVEN if getattr(packed, name) is not None}
    return {**body, "id": packed.id, "params": packed.params, "submitted_at": packed.submitted_at, "status": status}


def _copy_rows(source: Ledger, target: Ledger) -> None:
    """Metrics, telemetry and the status history, in the order in which they came."""
    for table in _ROW_TABLES:
        with source.journal.view(refresh=False) as state:
            manifest = state.manifest
            parts = sorted((p for p in manifest.parts.values() if p.table == table and p.rows), key=arrival)
            live = list(manifest.rows[table].rows)
            removed = pa.array(sorted(manifest.removed_trials), pa.int64())
        pieces: Iterator[pa.Table] = (read_part(source.blobs, source.key, part) for part in parts)
        for piece in (*pieces, packed_rows_table(table, live)):
            rows = piece.filter(pc.invert(pc.is_in(piece["trial"], value_set=removed)))
            if not rows.num_rows:
                continue
            with whole_or_none(target.blobs, target.key) as written:
                written.append(write_part(target.blobs, target.key, table, rows, seq=-1))
            with none_if_full(target.blobs, target.key, written):
                target.execute_one(Draft("parts", {"parts": [part.to_json() for part in written]}))


def _copy_artifacts(source: Ledger, target: Ledger) -> dict[str, Artifact]:
    """The bytes and rows of all artifacts; returns the new artifacts by the old ids."""
    with source.journal.view(refresh=False) as state:
        manifest = state.manifest
        parts = [p for p in manifest.parts.values() if p.table == "artifacts" and p.rows]
        rows: list[Sequence[Any]] = list(manifest.rows["artifacts"].rows)
        gone, removed = set(manifest.removed_artifacts), set(manifest.removed_trials)
    for part in parts:
        rows += artifact_rows(read_part(source.blobs, source.key, part))
    made: dict[str, Artifact] = {}
    for old in (Artifact(*row) for row in rows):
        if old.id in gone or old.trial in removed:
            continue
        with source.blobs.open(old.path) as file:
            new = put(target.blobs, target.key, old.trial, old.attempt, old.name, file, loader=old.loader)
        made[old.id] = replace(new, at=old.at)
    if made:
        target.execute_one(Draft("rows", {"table": "artifacts", "rows": [new.row() for new in made.values()]}))
    return made


def _copy_documents(one: Experiment, copy: Experiment, artifacts: Mapping[str, Artifact]) -> None:
    with one._ledger.journal.view(refresh=False) as state:
        names = [name for name, (_, value) in state.documents.items() if value is not None and name != LOADING]
    for name in names:
        _, value = one.document(name)
        copy.set_document(name, carried_document(name, value, artifacts))
