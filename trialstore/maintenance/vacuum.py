"""Vacuum: what nobody needs any more is listed with the reason, and deleted, beside live writers and readers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import from_json

from trialstore.artifacts.store import blob_folder
from trialstore.blobs.leftovers import delete_leftovers, leftovers
from trialstore.blobs.probe import PROBES
from trialstore.blobs.protocol import BlobInfo, Blobs
from trialstore.journal.catalog import Catalog
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft, Journal
from trialstore.journal.log import Log
from trialstore.journal.manifest import ARTIFACT_ID, ARTIFACT_PATH
from trialstore.journal.retention import outgrown
from trialstore.journal.stored import StoredJournal
from trialstore.maintenance.compact import READERS_GRACE
from trialstore.maintenance.replaced import outlived
from trialstore.maintenance.waste import IN_WORK, Waste
from trialstore.model.errors import BlobNotFoundError
from trialstore.model.part import TABLES, Part
from trialstore.model.times import format_time

__all__ = ["Vacuum"]

_LEASES = 2
_AT_ONCE = 256


def _never() -> bool:
    return False


@dataclass(slots=True)
class Vacuum:
    """One run.

    Guarantees: what a live blob of metadata names is never deleted, nor what is younger than `grace`. A snapshot that
    is younger than `history`, or is taken of the past of that time, finds all its files. Deleting commits never makes a
    journal fork, however long a writer was suspended (see `trialstore.journal.retention`). Killed at any instant, it is
    just run again.

    A process that was suspended for longer than `grace` between writing a part and announcing it finds the part
    refused, and logs so; between storing an artifact and committing its row, it may leave a row whose blob is missing.

    Attributes:
        blobs: The store's blobs.
        now: The time by the backend's clock.
        grace: How old waste must be; two hours at least where a writer may still be at work on it.
        history: How old it must be, and older than `grace`, where it was live once.
        dry_run: Whether nothing is deleted, and nothing written.
        tell: Told what is looked at next.
        found: What was deleted, or would be.
        most: So many files of a kind are deleted at the most; the others another time.
        stop: Asked between two steps whether to leave the rest for another time.
    """

    blobs: Blobs
    now: datetime
    grace: timedelta
    history: timedelta
    dry_run: bool
    tell: Callable[[str], None]
    found: list[Waste]
    most: int | None = None
    stop: Callable[[], bool] = _never

    def experiment(self, key: str, stored: StoredJournal[ExperimentState], journal: Journal[ExperimentState]) -> None:
        """Clean up one experiment."""
        self.garbage(key, journal)
        self.journal(stored)

    def garbage(self, key: str, journal: Journal[ExperimentState]) -> None:
        """Clean up the parts, artifacts and leases of one experiment."""
        for what, step in (
            ("parts", self._retired_parts),
            ("parts", self._unannounced_parts),
            ("artifacts", self._artifacts),
            ("leases", self._leases),
        ):
            if self.stop():
                return
            self.tell(what)
            step(key, journal)

    def store(self, catalog: Journal[Catalog]) -> None:
        """Clean up what belongs to no experiment, or to one that was dropped."""
        self.tell("dropped experiments")
        with catalog.view() as state:
            live = {entry.key for entry in state.experiments.values()}
            dropped = {key: at for key, at in state.dropped.items() if key not in live}
        before = self._history_ends()
        # In the background what was dropped long ago is not looked at again each time: earlier runs have deleted it.
        after = "" if self.most is None else format_time(self.now - 4 * max(self.history, READERS_GRACE))
        for key, at in dropped.items():
            if after <= at <= before and not self.stop():
                for folder in _FOLDERS:
                    infos = list(self.blobs.list(f"{folder}/experiment={key}/"))
                    self._delete(infos, f"its experiment was dropped at {at}")
                if not self.dry_run:
                    Log(self.blobs, f"experiment={key}").settle()
        self.tell("leftovers")
        self._delete(self._old(self.blobs.list(PROBES), IN_WORK), "left by a probe that was killed")
        temporary = self._old(leftovers(self.blobs), IN_WORK)
        self.found += [Waste.of(info, "temporary file of a writer that was killed") for info in temporary]
        if temporary and not self.dry_run:
            delete_leftovers(self.blobs, [info.key for info in temporary])

    def journal(self, stored: StoredJournal[Any]) -> None:
        """Clean up a journal: its inbox, its checkpoints, and the commits that checkpoints make up for."""
        self.tell("journal")
        self.posted(stored)
        commits, start = stored.expired(self.now)
        days = stored.retention_s / 86400
        self._delete(commits, f"two checkpoints from {start} on have been there for {days:g} days")
        aged = stored.checkpoints.aged(self.now)
        gone = set(outgrown(aged, stored.retention_s))
        infos = [info for info in self.blobs.list(f"checkpoints/{stored.name}/") if info.key in gone]
        self._delete(infos, "newer and older checkpoints make up for it")

    def posted(self, stored: StoredJournal[Any]) -> None:
        """Clean up the inbox of a journal."""
        inbox = self._old(self.blobs.list(f"inbox/{stored.name}/"), IN_WORK)
        self._delete(inbox, "commands that nobody waits for any more")

    def _retired_parts(self, key: str, journal: Journal[ExperimentState]) -> None:
        retired = outlived(self.blobs, key, journal, self._history(), self.now, self.now)
        retired = dict(sorted(retired.items())[: self.most])
        infos = []
        for part, table in retired.items():
            info = self.blobs.info(f"{table}/experiment={key}/{part}.parquet")
            if info is not None:
                infos.append(info)
        self._delete(infos, "a compaction replaced this part")
        if retired and not self.dry_run:
            journal.execute(Draft("forget", {"parts": sorted(retired)}))

    def _unannounced_parts(self, key: str, journal: Journal[ExperimentState]) -> None:
        infos = unannounced(self.blobs, key, journal, self.now - max(self.grace, IN_WORK))[: self.most]
        if infos and not self.dry_run:
            infos = disown(journal, infos)
        self._delete(infos, "written more than the grace ago and never announced")

    def _artifacts(self, key: str, journal: Journal[ExperimentState]) -> None:
        """Retire the blobs that no artifact names, and delete those that were retired long enough ago.

        Whoever stores equal bytes shares a blob, and commits its row later. So a blob is first retired: who looks
        after that takes another path. Who looked before has committed its row when the blob is old enough to go.
        """
        folder = blob_folder(key)
        infos = {info.key: info for info in self.blobs.list(folder)}
        # Looked at after the listing, so that a row that came meanwhile is seen.
        with journal.view() as state:
            manifest = state.manifest
            retired = dict(manifest.retired_blobs)
            if not infos and not retired:
                return
            removed = set(manifest.removed_artifacts)
            named = {row[ARTIFACT_PATH] for row in manifest.rows["artifacts"].rows if row[ARTIFACT_ID] not in removed}
            parts = [part for part in manifest.parts.values() if part.table == "artifacts"]
        named |= _named_in_parts(self.blobs, key, parts, removed)
        old = {info.key for info in self._old(infos.values(), IN_WORK)}
        before = format_time(self.now - max(self.grace, IN_WORK))
        spared = sorted(path for path in retired if path in named)
        fresh = sorted(old - named - retired.keys())
        due = {path: at for path, at in sorted(retired.items()) if at <= before and path not in named}
        due = {path: at for path, at in due.items() if path in old or path not in infos}
        due = dict(list(due.items())[: self.most])
        if self.dry_run:
            self._delete([infos[path] for path in due if path in infos], _UNNAMED)
            return
        if fresh:
            journal.execute(Draft("retire_blobs", {"blobs": dict.fromkeys(fresh)}))
        if due:
            # Each is deleted by the one vacuum that claims it: another one may be gone before it, and a writer have
            # made the same path anew.
            *_, outcome = journal.execute(Draft("retire_blobs", {"blobs": due}))
            self._delete([infos[path] for path in outcome.value if path in infos], _UNNAMED)
            spared += outcome.value
        if spared:
            journal.execute(Draft("forget", {"parts": [], "blobs": spared}))

    def _leases(self, key: str, journal: Journal[ExperimentState]) -> None:
        infos = self._old(self.blobs.list(f"leases/experiment={key}/"))
        with journal.view() as state:
            busy = {state.trials[number].session for number in state.active}
            busy |= {f"trial-{number}" for number in state.active}  # heartbeats of single trials, see docs/FORMAT.md
        infos = [info for info in infos if info.key.rpartition("/")[2].removesuffix(".json") not in busy]
        self._delete([info for info in infos if self._has_left(info)], "its session has left")

    def _has_left(self, info: BlobInfo) -> bool:
        """Whether a session cannot be between two heartbeats, which are a fifth of its lease apart."""
        try:
            lease_s = float(from_json(self.blobs.read(info.key))["lease_s"])
        except BlobNotFoundError:
            return False
        except (OverflowError, ValueError, KeyError, TypeError):
            return True  # it is no lease
        return (self.now - info.modified_at).total_seconds() > _LEASES * lease_s

    def _history(self) -> timedelta:
        return max(self.grace, self.history, READERS_GRACE)

    def _history_ends(self) -> str:
        return format_time(self.now - self._history())

    def _old(self, infos: Iterable[BlobInfo], at_least: timedelta = timedelta(0)) -> list[BlobInfo]:
        age = max(self.grace, at_least)
        return [info for info in infos if self.now - info.modified_at >= age]

    def _delete(self, infos: list[BlobInfo], reason: str) -> None:
        infos = infos[: self.most]
        self.found += [Waste.of(info, reason) for info in infos]
        if not self.dry_run:
            # From the oldest, a few at a time: a journal that is deleted halfway has lost its beginning, and no middle.
            for start in range(0, len(infos), _AT_ONCE):
                self.blobs.delete([info.key for info in infos[start : start + _AT_ONCE]])


_UNNAMED = "no artifact has named these bytes since an earlier vacuum"
_FOLDERS = (*TABLES, "leases", "upkeep", "inbox", "checkpoints", "journal")


def _named_in_parts(blobs: Blobs, key: str, parts: list[Part], removed: set[str]) -> set[str]:
    """Blobs that artifacts in parts name."""
    from trialstore.tables.parts import read_part

    named: set[str] = set()
    for part in parts:
        rows = read_part(blobs, key, part)
        pairs = zip(rows["path"].to_pylist(), rows["id"].to_pylist(), strict=True)
        named.update(path for path, artifact in pairs if artifact not in removed)
    return named


def unannounced(blobs: Blobs, key: str, journal: Journal[ExperimentState], before: datetime) -> list[BlobInfo]:
    """Files of parts written before a time that no command has announced."""
    infos = []
    for table in TABLES:
        root = f"{table}/experiment={key}/"
        infos += [info for info in blobs.list(root) if "/" not in info.key[len(root) :] and info.modified_at <= before]
    if not infos:
        return []
    # Looked at after the listing, so that what was announced meanwhile is seen.
    with journal.view() as state:
        known = {part.blob_key(key) for part in state.manifest.parts.values()}
        known |= {f"{table}/experiment={key}/{part}.parquet" for part, (table, _) in state.manifest.retired.items()}
    return [info for info in infos if info.key not in known]


def disown(journal: Journal[ExperimentState], infos: list[BlobInfo]) -> list[BlobInfo]:
    """Have these parts never be announced; those whose files may now be deleted."""
    by_part = {info.key.rpartition("/")[2].removesuffix(".parquet"): info for info in infos}
    *_, outcome = journal.execute(Draft("disown", {"parts": sorted(by_part)}))
    return [by_part[part] for part in outcome.value]
