"""Checkpoints: the folded state at a sequence number, so that nobody folds a long journal from its start.

A checkpoint is a cache. It is written beside the journal by whoever commits a round sequence number; two processes
may write the same one, and a damaged one is passed over for an older one, or for the journal itself.

The blob is gzip over JSON lines: a header ``{"format":1,"seq":1023,"crc32":"…","lines_crc32":"…"}``, where ``crc32``
is that of the commit and ``lines_crc32`` covers what follows, and then the lines of the state.
"""

from __future__ import annotations

import gzip
import logging
import re
import zlib
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from pydantic_core import from_json, to_json

from trialstore.blobs.protocol import BlobInfo, Blobs
from trialstore.journal.commit import FORMAT
from trialstore.journal.machine import Machine
from trialstore.journal.retention import RETENTION_S, Aged, outgrown
from trialstore.model.errors import BlobNotFoundError, DamagedError, FormatTooNewError

__all__ = ["Checkpoints", "decode_checkpoint", "encode_checkpoint"]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"\d{20}\.jsonl\.gz")
_SURELY_BYTES = 64 << 20
_MOST_TIMES = 64
_MachineT = TypeVar("_MachineT", bound=Machine)


def encode_checkpoint(machine: Machine) -> bytes:
    """The bytes of a state's checkpoint; equal states give equal bytes."""
    lines = b"".join(to_json(line) + b"\n" for line in machine.dump())
    header = {
        "format": FORMAT,
        "seq": machine.seq,
        "crc32": f"{machine.crc32:08x}",
        "lines_crc32": f"{zlib.crc32(lines):08x}",
    }
    content = to_json(header) + b"\n" + lines
    packed = gzip.compress(content, compresslevel=1, mtime=0)
    return packed if len(content) <= _most_bytes(packed) else gzip.compress(content, compresslevel=0, mtime=0)


def _most_bytes(packed: bytes) -> int:
    """What a checkpoint may unpack to: a small blob must not fill the memory of whoever opens a store."""
    return max(_SURELY_BYTES, _MOST_TIMES * len(packed))


def _unpacked(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    content = unpacking.decompress(packed, _most_bytes(packed))
    if unpacking.unconsumed_tail and not unpacking.eof:
        del content  # the error would keep it
        raise ValueError(f"it unpacks to more than {_MOST_TIMES} times its size")
    if not unpacking.eof or unpacking.unused_data:
        raise EOFError("it ends too early, or something follows")
    return content


def decode_checkpoint(data: bytes, machine: _MachineT, blob: str) -> _MachineT:
    """Load a checkpoint into a new machine.

    Raises:
        DamagedError: the bytes are not what was written.
        FormatTooNewError: a newer trialstore wrote it.
    """
    try:
        head, _, lines = _unpacked(data).partition(b"\n")
        header = from_json(head)
        version = header["format"]
        if version > FORMAT:
            raise FormatTooNewError(
                "checkpoint was written by a newer trialstore", hint="upgrade trialstore", blob=blob, format=version
            )
        if zlib.crc32(lines) != int(header["lines_crc32"], 16):
            raise DamagedError("checkpoint does not match its checksum", blob=blob)
        machine.load([from_json(line) for line in lines.splitlines()])
        machine.seq, machine.crc32 = header["seq"], int(header["crc32"], 16)
    except (EOFError, zlib.error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DamagedError("checkpoint cannot be read", blob=blob, reason=str(error)) from None
    return machine


class Checkpoints:
    """The checkpoints of one journal.

    Args:
        blobs: Where they are.
        folder: Their folder, such as ``checkpoints/catalog``.
        retention_s: The store's retention time.
    """

    def __init__(self, blobs: Blobs, folder: str, retention_s: float = RETENTION_S) -> None:
        self._blobs = blobs
        self._folder = folder
        self.retention_s = retention_s

    def load(self, make: Callable[[], _MachineT], until: int | None = None) -> _MachineT:
        """The newest state that can be read, at most as new as `until`; a new machine when there is none."""
        return self.load_newest(make, until)[0]

    def load_newest(self, make: Callable[[], _MachineT], until: int | None = None) -> tuple[_MachineT, int]:
        """What `load` gives, and the sequence number of the newest checkpoint, which may be one that was damaged."""
        keys = [key for key in self.keys() if until is None or self.seq_of(key) <= until]
        newest = self.seq_of(keys[-1]) if keys else -1
        for key in reversed(keys):
            try:
                return self.read(key, make), newest
            except BlobNotFoundError:
                continue  # replaced by a newer one since it was listed
            except DamagedError as error:
                _log.warning("passing over a checkpoint: %s", error)
        return make(), newest

    def read(self, key: str, make: Callable[[], _MachineT]) -> _MachineT:
        """The state in one checkpoint.

        Raises:
            DamagedError: it is not what was written.
            BlobNotFoundError: it was deleted.
        """
        machine = decode_checkpoint(self._blobs.read(key), make(), key)
        if machine.seq != self.seq_of(key):
            raise DamagedError("checkpoint has the name of another one", blob=key, seq=machine.seq)
        return machine

    def newest_seq(self) -> int:
        """The sequence number of the newest checkpoint, -1 when there is none. Cost: one listing."""
        keys = self.keys()
        return self.seq_of(keys[-1]) if keys else -1

    def key_of(self, seq: int) -> str:
        """The key of the checkpoint at a sequence number."""
        return f"{self._folder}/{seq:020d}.jsonl.gz"

    @staticmethod
    def seq_of(key: str) -> int:
        """The sequence number that a checkpoint's key names."""
        return int(key.rpartition("/")[2].partition(".")[0])

    def keys(self) -> list[str]:
        """The checkpoints there are, oldest first."""
        return [info.key for info in self._found()]

    def _found(self) -> list[BlobInfo]:
        return [info for info in self._blobs.list(f"{self._folder}/") if _NAME.fullmatch(info.key.rpartition("/")[2])]

    def aged(self, now: datetime) -> list[Aged]:
        """The checkpoints there are, oldest first, and their age at a time of the backend's clock."""
        return [_aged(info, now) for info in self._found()]

    def write(self, machine: Machine) -> str:
        """Write the state's checkpoint and delete those that are of no use any more; returns the blob's key."""
        key = self.key_of(machine.seq)
        self._blobs.write(key, encode_checkpoint(machine))
        found = [info for info in self._found() if info.key <= key]
        if found and found[-1].key == key:
            now = found[-1].modified_at
            self._blobs.delete(outgrown([_aged(info, now) for info in found], self.retention_s))
        return key


def _aged(info: BlobInfo, now: datetime) -> Aged:
    return Aged(info.key, Checkpoints.seq_of(info.key), (now - info.modified_at).total_seconds())
