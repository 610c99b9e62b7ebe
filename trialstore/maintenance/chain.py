"""Checking a journal in storage: every commit, every checkpoint, and that they tell one history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar

from trialstore.blobs.protocol import BlobInfo
from trialstore.journal.checkpoint import encode_checkpoint
from trialstore.journal.commit import Commit, decode_commit
from trialstore.journal.log import Log
from trialstore.journal.machine import Machine
from trialstore.journal.stored import StoredJournal
from trialstore.maintenance.problem import Problem
from trialstore.model.errors import BlobNotFoundError, DamagedError, FormatTooNewError

__all__ = ["check_chain"]

_RESTORE = "restore the blob from a copy of the store"
_REPAIR = "run repair, which removes it: it is only a cache"
_AT_ONCE = 64
_SHOWN_HOLES = 1000
"""A commit may have any number, so that a gap can be longer than there is memory to list it."""

MachineT = TypeVar("MachineT", bound=Machine)


def check_chain(
    stored: StoredJournal[MachineT], problems: list[Problem], count: Callable[[int], None], *, fast: bool
) -> None:
    """Add what is wrong with a journal to `problems`; never stops at the first.

    Args:
        stored: The journal.
        problems: Where problems go.
        count: Told the size of every blob that is looked at.
        fast: Look at names alone.
    """
    infos = list(stored.log.commits())
    there = {Log.seq_of(info.key): info for info in infos}
    for info in infos:
        count(info.size_bytes)
    machines = _check_checkpoints(stored, problems, count, fast)
    first, last = min(there, default=0), max(there, default=-1)
    reach = max((seq for seq in machines), default=-1)
    for before, after in pairwise(sorted(there)):
        holes = range(before + 1, min(after, before + _SHOWN_HOLES))
        problems += [Problem("missing", stored.log.blob(seq), "a commit is gone", _RESTORE) for seq in holes]
    if first > 0 and not any(first - 1 <= seq for seq in machines):
        what = f"the journal starts at commit {first}, and no readable checkpoint holds what was before"
        problems.append(Problem("missing", stored.log.blob(first - 1), what, _RESTORE))
    if reach > last:
        what = f"the journal ends before checkpoint {reach}"
        problems.append(Problem("missing", stored.log.blob(last + 1), what, _RESTORE))
    if not fast:
        _check_commits(stored, there, machines, problems)


def _check_checkpoints(
    stored: StoredJournal[MachineT], problems: list[Problem], count: Callable[[int], None], fast: bool
) -> dict[int, MachineT | None]:
    """The states that checkpoints hold; None where they were not read."""
    machines: dict[int, MachineT | None] = {}
    checkpoints = stored.checkpoints
    for key in checkpoints.keys():  # noqa: SIM118 - it is no mapping
        seq = checkpoints.seq_of(key)
        if fast:
            machines[seq] = None
            continue
        try:
            machines[seq] = checkpoints.read(key, stored.make)
            count(0)
        except BlobNotFoundError:
            continue  # a newer one took its place
        except DamagedError as error:
            problems.append(Problem("damaged", key, error.message, _REPAIR))
        except FormatTooNewError as error:
            problems.append(Problem("too new", key, error.message, "upgrade trialstore"))
    return machines


def _check_commits(
    stored: StoredJournal[MachineT],
    there: dict[int, BlobInfo],
    machines: dict[int, MachineT | None],
    problems: list[Problem],
) -> None:
    """Read every commit, follow the chain from where history starts, and compare the checkpoints with it."""
    machine = stored.make() if 0 in there else None
    previous: int | None = None
    for seq, data in _read_all(stored, sorted(there)):
        blob = stored.log.blob(seq)
        if data is None:
            if stored.blobs.info(blob) is None and seq not in machines:
                continue  # history was truncated past it meanwhile
            machine, previous = None, None
            continue
        try:
            commit = decode_commit(data, blob)
            if commit.seq != seq:
                raise DamagedError(f"it is commit {commit.seq}")
            if previous is not None and commit.previous != previous:
                raise DamagedError("commit does not continue the one before it")
        except DamagedError as error:
            problems.append(Problem("damaged", blob, error.message, error.hint or _RESTORE))
            machine, previous = None, None
            continue
        except FormatTooNewError as error:
            problems.append(Problem("too new", blob, error.message, "upgrade trialstore"))
            machine, previous = None, None
            continue
        previous = commit.crc32 if seq + 1 in there else None
        machine = _fold(machine, commit, blob, problems)
        held = machines.get(seq)
        if held is not None and held.crc32 != commit.crc32:
            what = "checkpoint belongs to another history than the journal"
            problems.append(Problem("damaged", stored.checkpoints.key_of(seq), what, _REPAIR))
        elif held is not None and machine is not None and encode_checkpoint(held) != encode_checkpoint(machine):
            what = "checkpoint does not hold what the journal's commits add up to"
            problems.append(Problem("damaged", stored.checkpoints.key_of(seq), what, _REPAIR))
        if machine is None and held is not None and held.crc32 == commit.crc32:
            machine = held
        if seq + 1 not in there:
            machine = None


def _fold(machine: MachineT | None, commit: Commit, blob: str, problems: list[Problem]) -> MachineT | None:
    if machine is None:
        return None
    try:
        machine.fold(commit, blob)
    except FormatTooNewError as error:
        problems.append(Problem("too new", blob, error.message, "upgrade trialstore"))
    except DamagedError as error:
        problems.append(Problem("damaged", blob, error.message, error.hint or _RESTORE))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        problems.append(Problem("damaged", blob, f"a command is not as the format says: {error!r}", _RESTORE))
    else:
        return machine
    return None


def _read_all(stored: StoredJournal[MachineT], seqs: list[int]) -> Iterator[tuple[int, bytes | None]]:
    for start in range(0, len(seqs), _AT_ONCE):
        chunk = seqs[start : start + _AT_ONCE]
        yield from zip(chunk, stored.blobs.read_many([stored.log.blob(seq) for seq in chunk]), strict=True)
