"""Repair: what can be mended is mended, and all that cannot is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from trialstore.blobs.protocol import BlobInfo, Blobs
from trialstore.journal.experiment import ExperimentState
from trialstore.journal.journal import Draft, Journal
from trialstore.journal.machine import Machine
from trialstore.journal.replica import CHECKPOINT_EVERY
from trialstore.journal.stored import StoredJournal
from trialstore.maintenance.problem import Problem
from trialstore.maintenance.vacuum import disown, unannounced
from trialstore.maintenance.waste import IN_WORK, time_of
from trialstore.model.errors import BlobNotFoundError, DamagedError, FormatTooNewError

__all__ = ["Mended", "Repair", "mend_journal", "repair_experiment"]

MachineT = TypeVar("MachineT", bound=Machine)


@dataclass(frozen=True, slots=True)
class Mended:
    """One thing that was done.

    Attributes:
        blob: What it was done to.
        what: What was done, for people to read.
    """

    blob: str
    what: str


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did, and what it could not do.

    Attributes:
        done: What was mended.
        problems: What is still wrong: a verification's findings after the repair.
    """

    done: tuple[Mended, ...]
    problems: tuple[Problem, ...]


def mend_journal(stored: StoredJournal[MachineT]) -> list[Mended]:
    """Remove damaged checkpoints and write the one that is missing; nothing, when the state cannot be had without.

    A checkpoint that is all that is left of the commits before it is never removed, damaged or not.
    """
    fresh = stored.open()
    try:
        with fresh.view() as state:
            seq = state.seq
    except (DamagedError, FormatTooNewError):
        return []  # a verification tells what is wrong
    done = []
    checkpoints = stored.checkpoints
    newest = -1
    for key in checkpoints.keys():  # noqa: SIM118 - it is no mapping
        try:
            newest = max(newest, checkpoints.read(key, stored.make).seq)
        except BlobNotFoundError:
            continue
        except DamagedError as error:
            stored.blobs.delete([key])
            done.append(Mended(key, f"removed, the journal makes up for it: {error.message}"))
        except FormatTooNewError:
            continue
    if seq - newest >= CHECKPOINT_EVERY or (done and seq >= 0):
        done.append(Mended(fresh.checkpoint(), "written anew"))
    return done


def repair_experiment(
    blobs: Blobs,
    key: str,
    stored: StoredJournal[ExperimentState],
    journal: Journal[ExperimentState],
    grace: timedelta,
    progress: Callable[[str], None] | None = None,
) -> list[Mended]:
    """Mend what can be mended of an experiment; returns what was done.

    Args:
        blobs: The store's blobs.
        key: The experiment's folder.
        stored: Its journal in storage.
        journal: Its journal, for commands.
        grace: How old a part must be that was written and never announced.
        progress: Told what is looked at next.
    """
    tell = progress or (lambda step: None)
    tell("checkpoints")
    done = mend_journal(stored)
    tell("unannounced parts")
    try:
        return done + _mend_parts(blobs, key, journal, time_of(blobs, writable=True), grace)
    except (DamagedError, FormatTooNewError):
        return done  # without a journal nothing is known of parts; a verification tells what is wrong with it


def _mend_parts(
    blobs: Blobs, key: str, journal: Journal[ExperimentState], now: datetime, grace: timedelta
) -> list[Mended]:
    """Take in or remove parts that were written longer than `grace` ago and never announced.

    Telemetry is taken in: equal samples count once, so it does not matter who wrote it for what. Parts of other tables
    are removed, since a flush or a compaction that was killed may have left them, and their rows stand elsewhere.
    """
    infos = unannounced(blobs, key, journal, now - max(grace, IN_WORK))
    if not infos:
        return []
    done = []
    for info in disown(journal, infos):
        what = "removed, it was written and never announced"
        if info.key.startswith("telemetry/"):
            taken = _adopt(blobs, key, journal, info)
            what = f"its samples were taken in as {taken}" if taken else f"{what}, and cannot be read"
        blobs.delete([info.key])
        done.append(Mended(info.key, what))
    return done


def _adopt(blobs: Blobs, key: str, journal: Journal[ExperimentState], info: BlobInfo) -> str | None:
    """Announce a telemetry part's samples in a part of their own, so that the old one never counts beside it."""
    import pyarrow.compute as pc

    from trialstore.tables.conform import read_checked
    from trialstore.tables.parts import write_part

    try:
        rows = read_checked(blobs.read(info.key), "telemetry")
    except (ValueError, BlobNotFoundError):
        return None
    with journal.view() as state:
        rows = rows.filter(pc.less(rows["trial"], state.next_number))
    if not rows.num_rows:
        return None
    part = write_part(blobs, key, "telemetry", rows, seq=-1)
    journal.execute(Draft("parts", {"parts": [part.to_json()]}))
    return part.blob_key(key)
