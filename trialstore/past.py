"""The past: a store or an experiment as it was at a sequence number, at a time, or at the id of a snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from trialstore.blobs.protocol import Blobs
from trialstore.journal.catalog import ExperimentEntry
from trialstore.journal.experiment import ExperimentState
from trialstore.ledger import Ledger, catalog_of, ledger_of
from trialstore.model.citation import Citation, Mark, is_citation
from trialstore.model.errors import (
    ExperimentNotFoundError,
    InvalidTimeError,
    SnapshotNotFoundError,
    UsageError,
    nearest,
)
from trialstore.model.part import Part
from trialstore.model.times import format_time, now_text, parse_time
from trialstore.session import Session

if TYPE_CHECKING:
    from trialstore.query.snapshot import ExperimentSnapshot, Snapshot

__all__ = ["AsOf", "experiment_as_of", "same_moment", "store_as_of"]

AsOf: TypeAlias = int | str | datetime | Mapping[str, int]
"""A sequence number, the id of a snapshot, an aware time (also as text), or a sequence number by experiment."""

_LISTED = 8


def store_as_of(session: Session, as_of: AsOf) -> Snapshot:
    """All experiments as they were; see `Store.snapshot`."""
    asked = _parse(as_of)
    if isinstance(asked, int):
        raise UsageError(
            "a sequence number belongs to one experiment",
            hint='ask experiment.snapshot(as_of=17), or pass {"tune": 17}, an aware time, or the id of a snapshot',
            as_of=as_of,
        )
    if isinstance(asked, Citation):
        return _cited(session, asked)
    if isinstance(asked, str):
        catalog = catalog_of(session).at(asked)
        views = [_view(session, entry, asked) for entry in catalog.experiments.values()]
        return _snapshot(session, views, catalog.changed)
    return _numbered(session, asked)


def experiment_as_of(ledger: Ledger, as_of: AsOf) -> Snapshot:
    """One experiment as it was; see `Experiment.snapshot`."""
    session, asked = ledger.session, _parse(as_of)
    if isinstance(asked, Mapping):
        raise UsageError("pass the experiment's sequence number alone", as_of=as_of)
    if isinstance(asked, Citation):
        whole = _cited(session, asked)
        chosen = [view for view in whole.experiments if view.key == ledger.key]
        if not chosen:
            raise SnapshotNotFoundError(
                "the snapshot of this id does not have this experiment",
                experiment=ledger.entry.name,
                id=str(asked),
                has=[view.name for view in whole.experiments[:_LISTED]],
            )
        return _snapshot(session, chosen)
    entry = ledger.entry
    if isinstance(asked, str):
        entry = catalog_of(session).at(asked).experiments.get(entry.id, entry)
    return _snapshot(session, [_view(session, entry, asked)])


def same_moment(as_of: AsOf | None) -> AsOf | None:
    """What to ask of another store, so that it shows the same time: only a time means anything there."""
    return as_of if as_of is not None and isinstance(_parse(as_of), str) else None


def _parse(as_of: AsOf) -> int | str | Citation | Mapping[str, int]:
    """A number, a stored time, what an id says, or numbers by experiment."""
    if isinstance(as_of, datetime):
        return format_time(as_of)
    if isinstance(as_of, str):
        if is_citation(as_of):
            return Citation.parse(as_of)
        try:
            return format_time(datetime.fromisoformat(as_of.strip()))
        except InvalidTimeError:
            raise
        except ValueError:
            raise UsageError(
                "neither the id of a snapshot nor a time",
                hint="an id starts with ts and was given by snapshot.id; a time reads 2026-11-21T01:02:03Z",
                as_of=as_of,
            ) from None
    if isinstance(as_of, Mapping):
        return {name: _checked(seq) for name, seq in as_of.items()}
    return _checked(as_of)


def _checked(seq: object) -> int:
    if type(seq) is not int or seq < -1:
        raise UsageError("a sequence number is 0 or more, and -1 is before the first", as_of=seq)
    return seq


def _snapshot(session: Session, views: Iterable[ExperimentSnapshot], catalog: Mark | None = None) -> Snapshot:
    from trialstore.query.snapshot import Snapshot

    return Snapshot(session.blobs, list(views), session.store, catalog)


def _numbered(session: Session, asked: Mapping[str, int]) -> Snapshot:
    """Some experiments at numbers of their journals, the others as they are now."""
    with catalog_of(session).view() as catalog:
        entries = list(catalog.experiments.values())
        chosen = {name: catalog.find(name) for name in asked}
        changed = catalog.changed
    until: dict[int, int] = {}
    for name, entry in chosen.items():
        if entry is None:
            near = nearest(name, [entry.name for entry in entries])
            hint = f"did you mean {near[0]!r}?" if near else None
            raise ExperimentNotFoundError("store has no such experiment", hint=hint, experiment=name)
        until[entry.id] = asked[name]
    views = [_view(session, entry, until.get(entry.id)) for entry in entries]
    return _snapshot(session, views, changed)


def _cited(session: Session, cited: Citation) -> Snapshot:
    """What an id names, exactly, or an error that says why that cannot be had."""
    journal = catalog_of(session)
    only = cited.experiment
    with journal.view() as now:
        is_now = now.changed[0] == cited.catalog
        present = now.experiments.get(-1 if only is None else only)
        entries, changed = list(now.experiments.values()), now.changed
    if only is not None and present is not None and present.seq == cited.catalog:
        entries = [present]
    else:
        if not is_now:
            past = journal.at(cited.catalog)
            entries, changed = list(past.experiments.values()), past.changed
        if only is not None:
            entries = [entry for entry in entries if entry.id == only]
    if len(entries) != len(cited.seqs):
        raise _unknown(session, cited)
    views = [_view(session, entry, seq) for entry, seq in zip(entries, cited.seqs, strict=True)]
    snapshot = _snapshot(session, views, changed if only is None else None)
    if snapshot.id != str(cited):
        raise _unknown(session, cited)
    return snapshot


def _unknown(session: Session, cited: Citation) -> SnapshotNotFoundError:
    return SnapshotNotFoundError(
        "this store never was in the state of this id",
        hint="the id may be mistyped, or of another store",
        id=str(cited),
        url=session.blobs.url,
    )


def _view(session: Session, entry: ExperimentEntry, until: int | str | None) -> ExperimentSnapshot:
    """One experiment as it was, with all its files there."""
    ledger = ledger_of(session, entry)
    if until is None:
        return ledger.snapshot(entry=entry)
    with catalog_of(session).view(refresh=False) as catalog:
        dropped_at = catalog.dropped.get(entry.key)
    if dropped_at is not None:
        return _view_of_dropped(ledger, entry, until, dropped_at)
    with ledger.journal.view() as now:
        if (now.changed[0] <= until <= now.seq) if isinstance(until, int) else now.latest_at < until:
            return ledger.view_of(now, entry)
    state = ledger.journal.at(until, settle=True)
    with ledger.journal.view() as now:
        live = now.manifest.parts.keys()
        replaced = [part for part in state.manifest.parts.values() if part.id not in live]
    _require_files(ledger.blobs, entry, state, replaced)
    return ledger.view_of(state, entry)


def _view_of_dropped(ledger: Ledger, entry: ExperimentEntry, until: int | str, dropped_at: str) -> ExperimentSnapshot:
    """An experiment that was dropped since: all of it is deleted when the retention is over."""
    stored = ledger.stored
    if next(stored.log.commits(), None) is None:
        is_over = (parse_time(now_text()) - parse_time(dropped_at)).total_seconds() > stored.retention_s
        if until != -1 and (is_over or isinstance(until, int)):
            raise SnapshotNotFoundError(
                "the experiment was dropped, and its files were deleted since",
                experiment=entry.name,
                dropped_at=dropped_at,
            )
    state = stored.open().at(until, settle=True)
    _require_files(ledger.blobs, entry, state, list(state.manifest.parts.values()))
    return ledger.view_of(state, entry)


def _require_files(blobs: Blobs, entry: ExperimentEntry, state: ExperimentState, parts: Sequence[Part]) -> None:
    """See that parts of a past state are there.

    Cost: a look at each, or a listing of its table when they are many.
    """
    gone = _missing(blobs, entry.key, [part for part in parts if part.rows])
    if gone:
        raise SnapshotNotFoundError(
            "files of that time were deleted",
            hint="ask for a later time; compact --grace and a vacuum after the retention end the past",
            experiment=entry.name,
            seq=state.seq,
            missing=len(gone),
            blobs=gone[:_LISTED],
        )


def _missing(blobs: Blobs, key: str, parts: Sequence[Part]) -> list[str]:
    """The blobs of these parts that do not exist."""
    gone: list[str] = []
    for table in dict.fromkeys(part.table for part in parts):
        keys = [part.blob_key(key) for part in parts if part.table == table]
        # A folder of artifacts has their bytes as well, any number of them.
        if len(keys) <= _LISTED or table == "artifacts":
            gone += [name for name in keys if blobs.info(name) is None]
        else:
            there = {info.key for info in blobs.list(f"{table}/experiment={key}/")}
            gone += [name for name in keys if name not in there]
    return gone
