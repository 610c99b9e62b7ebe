"""The log: commits in storage, one blob each, under consecutive sequence numbers.

This is the one seam where a backend with a cheaper conditional append may get a log of its own.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from trialstore.blobs.protocol import BlobInfo, Blobs, on_disk
from trialstore.journal.commit import Commit, are_commands, decode_commit
from trialstore.journal.machine import Machine
from trialstore.model.errors import AccessDeniedError, DamagedError, ReadOnlyError, StoreUnavailableError

__all__ = ["Log"]

_log = logging.getLogger(__name__)

_WIDEST_READ = 64
_LOOK_AHEAD = 5
_PATIENCE_S = 60.0
_NAME = re.compile(r"\d{20}\.jsonl")
_POSTED = re.compile(r"([^-]+)-\d+-(\d+)\.jsonl")


class Log:
    """The commits of one journal.

    Args:
        blobs: Where they are.
        name: Which journal: ``catalog``, or ``experiment=<key>``.

    Attributes:
        name: Which journal.
        reads_are_cheap: Whether to look for others' commits before trying to append, not after.
    """

    def __init__(self, blobs: Blobs, name: str) -> None:
        self._blobs = blobs
        self.name = name
        self._folder = f"journal/{name}"
        self._inbox = f"inbox/{name}"
        self.reads_are_cheap = blobs.filesystem is None
        self._disk = on_disk(blobs)
        self._is_whole = False
        self._restored: dict[str, bytes | None] = {}

    def blob(self, seq: int) -> str:
        """The key of the blob that holds a commit."""
        return f"{self._folder}/{seq:020d}.jsonl"

    def append(self, seq: int, data: bytes, *, force: bool = True) -> bool:
        """Put a commit at a sequence number; False when there is one already, which may be the caller's own.

        Args:
            seq: The number.
            data: The commit.
            force: False where it is enough that it is durable before any later commit is, or after `force`.

        Raises:
            OutcomeUnknownError: the answer was lost.
        """
        self._make_whole()
        if force or self._disk is None:
            return self._blobs.create(self.blob(seq), data)
        return self._disk.create(self.blob(seq), data, force=False)

    def force(self) -> None:
        """Have all commits on the disk that were appended so far, by whomever."""
        if self._disk is not None:
            self._disk.force(self._folder)

    def read(self, seq: int) -> bytes | None:
        """The bytes of a commit, None when there is none."""
        return self._read_many([self.blob(seq)])[0]

    def _read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self._make_whole()
        found = self._blobs.read_many(keys)
        return (
            [self._restored.get(key, data) for key, data in zip(keys, found, strict=True)] if self._restored else found
        )

    def commits(self) -> Iterator[BlobInfo]:
        """All commits there are, oldest first. Cost: a listing."""
        self._make_whole()
        cut = {key for key, data in self._restored.items() if data is None}
        return (info for info in self._listed() if info.key not in cut)

    def _listed(self) -> Iterator[BlobInfo]:
        return (i for i in self._blobs.list(f"{self._folder}/") if _NAME.fullmatch(i.key[len(self._folder) + 1 :]))

    @staticmethod
    def seq_of(key: str) -> int:
        """The sequence number that a commit's key names."""
        return int(key.rpartition("/")[2].partition(".")[0])

    def remove(self, seq: int) -> None:
        """Delete a commit of this process that does not stand in the history."""
        self._blobs.delete([self.blob(seq)])

    # After a crash of the machine

    def _make_whole(self) -> None:
        """Have every commit that was forced before a crash of the machine, and none after one that was lost.

        A look, once a process. Where nothing may be written they are there for this process alone.

        Raises:
            StoreUnavailableError: another process holds the journal's lock.
        """
        if self._is_whole:
            return
        disk = self._disk
        left = None if disk is None else disk.unfinished(self._folder)
        self._is_whole = True
        if disk is None or left is None:
            return
        try:
            with disk.guard(self._folder, patience_s=_PATIENCE_S) as mine:
                if not mine:
                    raise StoreUnavailableError(
                        "another process restores the journal after a crash of the machine", hint="try again"
                    )
                left = disk.unfinished(self._folder) or {}
                for key, data in self._lost(left).items():
                    disk.write(key, data)
                if cut := self._cut_off(left, {}):
                    _log.warning("the machine crashed before these commits were on the disk: %s", ", ".join(cut))
                    disk.delete(cut)
                disk.finish(self._folder)
        except (ReadOnlyError, AccessDeniedError):
            lost = self._lost(left)
            self._restored = {**lost, **dict.fromkeys(self._cut_off(left, lost))}
        except BaseException:
            self._is_whole = False
            raise

    def settle(self) -> None:
        """Have all commits on the disk where they stand, so that what was written ahead of them takes no room."""
        if self._disk is not None:
            with self.guard() as mine:
                if mine:
                    self._disk.finish(self._folder)

    def _lost(self, left: Mapping[str, bytes]) -> dict[str, bytes]:
        """Those of these commits that are missing or damaged, by key, as far as they go on with what is there.

        The first commit of all is never among them: a backend writes none ahead before it has made some others.
        """
        lost: dict[str, bytes] = {}
        for name, data in sorted(left.items()):
            if not _NAME.fullmatch(name):
                continue
            seq = self.seq_of(name)
            key = self.blob(seq)
            if seq == 0 or _whole(key, self.read(seq)) is not None:
                continue
            before_key = self.blob(seq - 1)
            before = _whole(before_key, lost.get(before_key) or self.read(seq - 1))
            this = _whole(key, data)
            if before is not None and this is not None and this.previous == before.crc32:
                lost[key] = data
        return lost

    def _cut_off(self, left: Mapping[str, bytes], restored: Mapping[str, bytes]) -> list[str]:
        """Keys of the commits after one that nobody forced to the disk, which was lost, and of that one's remains.

        What was written ahead is all durable up to the last that was forced; so none of these was.
        """
        last = max((self.seq_of(name) for name in left if _NAME.fullmatch(name)), default=None)
        if last is None:
            return []
        before = _whole(self.blob(last), restored.get(self.blob(last)) or self.read(last))
        while before is not None:
            key = self.blob(before.seq + 1)
            this = _whole(key, self.read(before.seq + 1))
            if this is None or this.previous != before.crc32:
                return [info.key for info in self._listed() if info.key >= key]
            before = this
        return []

    def read_after(self, seq: int, until: int | None = None, ahead: bool = False) -> Iterator[tuple[str, bytes]]:
        """Key and bytes of each commit after a sequence number, in order, as far as there are any.

        Cost: one read more than there are new commits; several at once where there are many.

        Args:
            seq: Where to start.
            until: The last commit to read.
            ahead: Look past the end as well, so that a commit that is missing there is noticed.

        Raises:
            DamagedError: a commit is missing, and there are later ones.
        """
        width = _LOOK_AHEAD if ahead else 1
        while until is None or seq < until:
            keys = [self.blob(seq + step) for step in range(1, width + 1)]
            if until is not None:
                keys = keys[: until - seq]
            found = self._read_many(keys)
            for index, (key, data) in enumerate(zip(keys, found, strict=True)):
                if data is None:
                    later = found[index + 1 :]
                    if ahead and len(later) < _LOOK_AHEAD:
                        later = self._read_many([self.blob(seq + step) for step in range(2, _LOOK_AHEAD + 2)])
                    if not any(later):
                        return
                    # Either it came while the others were read, since commits come in order, or it is gone.
                    data = self.read(seq + 1)
                if data is None:
                    raise DamagedError(
                        "a commit is missing, and there are later ones",
                        hint="restore the blob from a copy of the store",
                        blob=key,
                    )
                seq += 1
                yield key, data
            width = min(width * 4, _WIDEST_READ)

    def guard(self) -> AbstractContextManager[bool]:
        """Be the one process of this machine that commits, or get False at once when another one is.

        It saves lost races and guarantees nothing.
        """
        self._make_whole()  # which needs it
        return self._blobs.guard(self._folder, patience_s=0.0)

    # The inbox: commands that wait for whoever commits next

    def post(self, name: str, lines: bytes) -> None:
        """Leave command lines to be committed by another process, under a name that is used once."""
        head = b'{"crc32":"%08x"}\n' % zlib.crc32(lines)
        self._blobs.write(f"{self._inbox}/{name}.jsonl", head + lines, durable=False)

    def wait(self, name: str, patience_s: float) -> None:
        """Return when what was posted under this name may have been taken along, or after so long."""
        self._blobs.wait(f"{self._inbox}/{name}.jsonl", patience_s)

    def posted(self, is_folded: Callable[[str, int], bool]) -> dict[str, bytes]:
        """Command lines that wait in the inbox, by the key to `clear` when they are committed.

        What the journal has already, and what was damaged by a crash of the machine (nobody was promised it), is
        cleared here; so is what is no command, which would make the whole journal unreadable.

        Args:
            is_folded: Whether the journal has the command of this session and counter.
        """
        waiting: dict[str, bytes] = {}
        done: list[str] = []
        keys: list[str] = []
        for info in self._blobs.list(f"{self._inbox}/"):
            named = _POSTED.fullmatch(info.key.rpartition("/")[2])
            (done if named and is_folded(named[1], int(named[2])) else keys).append(info.key)
        if keys:
            for key, data in zip(keys, self._blobs.read_many(keys), strict=True):
                if data is None:
                    continue
                head, _, lines = data.partition(b"\n")
                if head == b'{"crc32":"%08x"}' % zlib.crc32(lines) and are_commands(lines):
                    waiting[key] = lines
                else:
                    done.append(key)
        if done:
            self.clear(done)
        return waiting

    def is_cleared(self, key: str, machine: Machine) -> bool:
        """Whether the journal has what stands under a key of the inbox."""
        named = _POSTED.fullmatch(key.rpartition("/")[2])
        return named is not None and machine.has_folded(named[1], int(named[2]))

    def clear(self, keys: Iterable[str]) -> None:
        """Remove what was committed from the inbox."""
        self._blobs.delete(keys, durable=False)

    def withdraw(self, name: str) -> None:
        """Remove what this process posted and nobody took."""
        self._blobs.delete([f"{self._inbox}/{name}.jsonl"], durable=False)


def _whole(key: str, data: bytes | None) -> Commit | None:
    try:
        return None if data is None else decode_commit(data, key)
    except DamagedError:
        return None
