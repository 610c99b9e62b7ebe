"""Verification: everything of a store is read and compared with what the journals say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from trialstore.artifacts.store import blob_folder
from trialstore.blobs.protocol import Blobs
from trialstore.journal.catalog import Catalog
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Journal
from trialstore.journal.manifest import ARTIFACT_ID, ROW_TABLES
from trialstore.journal.stored import StoredJournal
from trialstore.maintenance.chain import check_chain
from trialstore.maintenance.problem import Problem
from trialstore.model.errors import BlobNotFoundError, DamagedError, FormatTooNewError
from trialstore.model.part import Part, Ranges
from trialstore.model.ranges import in_ranges, ranges_of

__all__ = ["Verification", "verify_catalog", "verify_experiment"]

_RESTORE = "restore the blob from a copy of the store"
_CHUNK_BYTES = 1 << 20


@dataclass(slots=True)
class Verification:
    """What a verification found.

    Attributes:
        problems: All there are; none when everything is as it was written.
        blobs: How many blobs were looked at.
        size_bytes: Of how many bytes in all.
    """

    problems: list[Problem] = field(default_factory=list)
    blobs: int = 0
    size_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def count(self, size_bytes: int) -> None:
        """A blob was looked at."""
        self.blobs += 1
        self.size_bytes += size_bytes

    def add(self, kind: str, blob: str, what: str, hint: str = _RESTORE) -> None:
        """A problem was found."""
        self.problems.append(Problem(kind, blob, what, hint))

    def merge(self, other: Verification) -> None:
        """Take in what another one found."""
        self.problems += other.problems
        self.blobs += other.blobs
        self.size_bytes += other.size_bytes


def verify_catalog(stored: StoredJournal[Catalog], *, fast: bool) -> Verification:
    """Check the journal of experiments; see `verify_experiment`."""
    report = Verification()
    check_chain(stored, report.problems, report.count, fast=fast)
    return report


def verify_experiment(
    blobs: Blobs,
    key: str,
    stored: StoredJournal[ExperimentState],
    journal: Journal[ExperimentState],
    *,
    fast: bool,
    progress: Callable[[str], None] | None = None,
) -> Verification:
    """Check all that an experiment has; never stops at the first problem, never writes.

    Checked are the commits (checksums, and that each continues the one before, from the oldest that is kept), the
    checkpoints (that they hold what the commits fold to), that every trial is in exactly one live place, each part
    (size, CRC-32, columns, rows, trials, times, schema), each artifact (size and SHA-256), and that all that is named
    exists. Safe beside live writers: what they replace or delete meanwhile is no problem.

    Args:
        blobs: The store's blobs.
        key: The experiment's folder.
        stored: Its journal in storage.
        journal: Its journal, to learn what was replaced meanwhile.
        fast: Look at existence and sizes alone; only rows of the artifacts table are read.
        progress: Told what is checked next.
    """
    tell = progress or (lambda step: None)
    report = Verification()
    tell("journal")
    check_chain(stored, report.problems, report.count, fast=fast)
    try:
        with journal.view() as state:
            parts, rows = dict(state.manifest.parts), _artifact_rows(state)
            _check_places(state, key, report)
    except (DamagedError, FormatTooNewError) as error:
        # The journal's own check has told which blob it is, unless the catalog or the fold is at fault.
        if report.ok:
            report.add("damaged", f"journal/experiment={key}/", error.message, error.hint or _RESTORE)
        return report
    suspects = _check_parts(blobs, key, parts, rows, report, fast, tell)
    tell("artifacts")
    lost = _check_artifacts(blobs, key, rows, report, fast)
    if suspects or lost:
        with journal.view() as state:
            live, removed = set(state.manifest.parts), state.manifest.removed_artifacts
            named = {path for path, ids in lost.items() if not ids <= removed}
        gone = {parts[part].blob_key(key) for part in suspects if part not in live} | (lost.keys() - named)
        report.problems = [problem for problem in report.problems if problem.blob not in gone]
    return report


def _artifact_rows(state: ExperimentState) -> dict[str, list[Any]]:
    """Rows of artifacts in the journal's state, by id; none for those that were removed."""
    manifest = state.manifest
    return {row[ARTIFACT_ID]: list(row) for row in manifest.rows["artifacts"].rows} | {
        removed: [] for removed in manifest.removed_artifacts
    }


def _check_places(state: ExperimentState, key: str, report: Verification) -> None:
    """Every trial is in the state, or in one part where it is not superseded, and in no second place."""
    journal, manifest = f"journal/experiment={key}/", state.manifest
    spans = [(number, number) for number in state.trials]
    for part in manifest.parts.values():
        if part.table == "trials":
            stale = ranges_of(manifest.superseded.get(part.id, ()))
            spans += [span for first, last in part.trials for span in _without(first, last, stale)]
        outside = [last for _, last in part.trials if last >= state.next_number]
        if outside and part.table != "trials":
            report.add("mismatch", part.blob_key(key), f"it has rows of trial {outside[0]}, which does not exist")
    there, twice, strange = _overlaps(spans, state.next_number)
    if twice:
        report.add("mismatch", journal, f"{len(twice)} trials or more are in two places, such as {twice[:5]}")
    if strange:
        report.add(
            "mismatch", journal, f"{len(strange)} trials or more have numbers never given, such as {strange[:5]}"
        )
    told = sum(state.counts.values())
    if there != told:
        report.add("mismatch", journal, f"{there} trials are in the tables, {told} were counted")
    for part_id, numbers in manifest.superseded.items():
        found = manifest.parts.get(part_id)
        if found is None or not all(in_ranges(number, found.trials) for number in numbers):
            report.add("mismatch", journal, f"rows of part {part_id} are superseded that it does not have")
    for table in ROW_TABLES:
        beyond = [row[0] for row in manifest.rows[table].rows if row[0] >= state.next_number]
        if beyond:
            report.add("mismatch", journal, f"{table} has rows of trial {beyond[0]}, which does not exist")


_Span = tuple[int, int]


def _without(first: int, last: int, stale: Ranges) -> Iterator[_Span]:
    """The numbers from `first` to `last` that are not in `stale`, as ranges."""
    for gone_first, gone_last in stale:
        if gone_last < first or gone_first > last:
            continue
        if first < gone_first:
            yield first, gone_first - 1
        first = gone_last + 1
    if first <= last:
        yield first, last


def _overlaps(spans: list[_Span], end: int) -> tuple[int, list[int], list[int]]:
    """How many numbers below `end` are in ranges, the first of each stretch in two, and of each beyond the end.

    Memory and time: by the number of ranges, not by the numbers in them, which a journal can say anything of.
    """
    there, reached = 0, -1
    twice: list[int] = []
    strange: list[int] = []
    for first, last in sorted(spans):
        if first <= min(reached, last):
            twice.append(first)
        if last >= end:
            strange.append(max(first, end))
        there += max(0, min(last, end - 1) - max(first, reached + 1) + 1)
        reached = max(reached, last)
    return there, twice, strange


def _check_parts(
    blobs: Blobs,
    key: str,
    parts: dict[str, Part],
    rows: dict[str, list[Any]],
    report: Verification,
    fast: bool,
    tell: Callable[[str], None],
) -> set[str]:
    """Compare each part with the manifest, and gather the artifacts' rows; the parts that something is wrong with."""
    from trialstore.tables.inspect import artifact_rows_of, differences

    wrong: set[str] = set()
    for index, part in enumerate(sorted(parts.values(), key=lambda part: (part.table, part.id))):
        tell(f"{part.table} {index + 1}/{len(parts)}")
        blob = part.blob_key(key)
        before = len(report.problems)
        try:
            if fast and part.table != "artifacts":
                info = blobs.info(blob)
                if info is None:
                    raise BlobNotFoundError("no such blob")
                report.count(info.size_bytes)
                if info.size_bytes != part.size_bytes:
                    report.add("damaged", blob, f"size is {info.size_bytes} bytes, not {part.size_bytes}")
            else:
                data = blobs.read(blob)
                report.count(len(data))
                for what in differences(data, part):
                    report.add("damaged", blob, what)
                if part.table == "artifacts" and len(report.problems) == before:
                    for row in artifact_rows_of(data):
                        rows.setdefault(str(row[ARTIFACT_ID]), row)
        except BlobNotFoundError:
            report.add("missing", blob, f"a live part of {part.table} with {part.rows} rows is gone")
        if len(report.problems) > before:
            wrong.add(part.id)
    return wrong


def _check_artifacts(
    blobs: Blobs, key: str, rows: dict[str, list[Any]], report: Verification, fast: bool
) -> dict[str, set[str]]:
    """Compare each blob with the rows that name it; the wrong blobs, and the ids of their rows."""
    folder = blob_folder(key)
    named: dict[str, list[list[Any]]] = {}
    for row in rows.values():
        if row:
            named.setdefault(row[3], []).append(row)
    wrong: dict[str, set[str]] = {}
    for path, sharing in sorted(named.items()):
        row, *others = sharing
        size_bytes, sha256 = row[4], row[5]
        if not path.startswith(folder):
            report.add("mismatch", path, "an artifact's row names a blob outside its experiment", "do not trust it")
            continue
        info = blobs.info(path)
        before = len(report.problems)
        if path[len(folder) :].partition("~")[0] != sha256 or any(other[4:6] != row[4:6] for other in others):
            report.add("mismatch", path, "artifacts of other bytes name it", "do not trust it")
        elif info is None:
            more = f", and {len(others)} more" if others else ""
            report.add("missing", path, f"artifact {row[2]!r} of trial {row[0]}{more} is gone")
        else:
            report.count(info.size_bytes)
            if info.size_bytes != size_bytes:
                report.add("damaged", path, f"artifact has {info.size_bytes} bytes, not {size_bytes}")
            elif not fast and (digest := _digest(blobs, path)) != sha256:
                report.add("damaged", path, f"artifact has SHA-256 {digest}, not {sha256}")
        if len(report.problems) > before:
            wrong[path] = {str(named_by[ARTIFACT_ID]) for named_by in sharing}
    return wrong


def _digest(blobs: Blobs, path: str) -> str:
    digest = hashlib.sha256()
    with blobs.open(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
