"""A file into which a blob is written ahead of the blob itself, so that one flush of one block makes it durable.

A new file of its own is dear to force to the disk: content, inode, the folder's entry, and a flush or two of the
device. Overwriting what was allocated before is cheap: the block, and one flush. So whoever has the lock of a folder
writes each small blob here first, forces that, and only then makes the blob's file, which the operating system brings
to the disk in its own time. What anybody sees is therefore durable. When the room is used up there is more, and in
the end all files are forced to the disk at once, and the room is used again.

Who can wait leaves the flush to the next one: such a blob is seen before it is durable, and is durable before any
later one is.

After a crash of the machine the files may be missing, or hold anything; `Ahead.left` tells what they held.

The bytes: two headers at 0 and 512, and records from 4096 on. The header of the higher generation counts, of two of one
generation that of the larger capacity.

- header: ``trialstore-ahead 1 <generation> <capacity> <boot>`` in ASCII, where ``capacity`` is the bytes for records
  and ``boot`` the kernel's name of the time since the machine was started; a space, the CRC-32 of all that as eight
  hexadecimal digits, and a line feed.
- record: little-endian CRC-32 of what follows (4 bytes), generation (4), size of the name (2), size of the content (4),
  the name in UTF-8, the content. Records follow one another; the first that is not whole, or of another generation, is
  the end.

Measured on a virtual disk: 0.2 ms a blob, where `trialstore.blobs.barrier` has the figures for files of their own.
"""

from __future__ import annotations

import ctypes
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

from trialstore.blobs.linux import failure, linux_call

__all__ = ["Ahead", "boot_id", "can_write_ahead", "force_all"]

MAX_BYTES = 1 << 17
"""Larger blobs are not written ahead: their own content is what takes the time."""

_CAPACITIES = (1 << 14, 1 << 18, 1 << 22)
_HEAD_BYTES = 1024
_SLOT_BYTES = 512
_START = 4096
_HEAD = struct.Struct("<IIHI")
_OPEN = os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_DISKS = frozenset({"ext4", "xfs", "btrfs", "f2fs", "overlay"})
"""File systems of one machine, on which an overwritten block is durable after `fdatasync`."""


class Ahead:
    """One such file. Whoever calls `append` or `reset` has the lock of the folder that it is for.

    Args:
        fd: Of the file, opened to read and write.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._head: bytes | None = None
        self._generation = self._capacity = self._slot = 0
        self._boot = ""
        self._end = _START

    @classmethod
    def open(cls, path: str, *, new: bool = False, writable: bool = True) -> Ahead | None:
        """The file at a path; None when there is none, or what is there is none and `new` does not allow to make it.

        Raises:
            OSError: it cannot be opened, made, or forced to the disk.
        """
        how = (os.O_RDWR if writable else os.O_RDONLY) | (os.O_CREAT if new else 0)
        try:
            fd = os.open(path, _OPEN | how, 0o666)
        except FileNotFoundError:
            return None
        ahead = cls(fd)
        try:
            if not ahead._look() and (not new or not ahead._begin()):
                ahead.close()
                return None
        except BaseException:
            ahead.close()
            raise
        return ahead

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    @property
    def is_there(self) -> bool:
        """Whether the file has a name: nobody has removed it."""
        return os.fstat(self._fd).st_nlink > 0

    @property
    def is_of_this_boot(self) -> bool:
        """Whether the machine was not started anew since it was last in order."""
        return self._boot == boot_id()

    def append(self, name: str, data: bytes, *, force: bool = True) -> int | None:
        """Write a blob ahead, durably; the place for `take_back`, or None where that cannot be done.

        Args:
            name: Of the blob.
            data: What it holds.
            force: Whether it shall be durable now, and with it what was not before; else with the next one. The first
                since the last `reset` always is, so that whoever looks after a crash knows where the others began.

        Raises:
            OSError: the disk did not confirm it.
        """
        if not self._look() or not self.is_of_this_boot or len(data) > MAX_BYTES:
            return None
        for _, _, end in self._records(self._end):
            self._end = end
        encoded = name.encode()
        size = _HEAD.size + len(encoded) + len(data)
        if not self._has_room(size):
            self.reset()
            if not self._has_room(size):
                return None
        rest = _HEAD.pack(0, self._generation, len(encoded), len(data))[4:] + encoded + data
        place = self._end
        _write_at(self._fd, struct.pack("<I", zlib.crc32(rest)) + rest, place)
        if force or place == _START:
            self.force()
        self._end = place + size
        return place

    def force(self) -> None:
        """Have on the disk what anybody appended.

        Raises:
            OSError: the disk did not confirm it.
        """
        os.fdatasync(self._fd)

    def take_back(self, place: int) -> None:
        """Forget the record that was appended last: there will be no such blob."""
        _write_at(self._fd, bytes(_HEAD.size), place)
        self._end = place

    def reset(self) -> None:
        """Have every file on the disk, and begin anew.

        Raises:
            OSError: the disk did not confirm it; everything is as it was.
        """
        force_all(self._fd)
        self._write_head(self._generation + 1, self._capacity)

    def _has_room(self, size: int) -> bool:
        """Whether a record of so many bytes fits, after the file has grown as far as it may."""
        while self._end + size > _START + self._capacity:
            capacity = next((larger for larger in _CAPACITIES if larger > self._capacity), None)
            if capacity is None or not self._grow(capacity):
                return False
        return True

    def _grow(self, capacity: int) -> bool:
        """Have more room behind the records there are; False where the disk has none."""
        try:
            _write_at(self._fd, bytes(capacity - self._capacity), _START + self._capacity)
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, _START + self._capacity)
            return False
        self._write_head(self._generation, capacity)
        return True

    def left(self) -> dict[str, bytes]:
        """Names of the blobs written ahead since the last `reset`, and what the last record of each holds."""
        return {name: data for name, data, _ in self._records(_START)} if self._look() else {}

    def _look(self) -> bool:
        """Read the headers if they changed; whether one of them is whole."""
        head = os.pread(self._fd, _HEAD_BYTES, 0)
        if head != self._head:
            slots = (head[:_SLOT_BYTES], head[_SLOT_BYTES:])
            known = [(*parsed, slot) for slot, text in enumerate(slots) if (parsed := _parsed(text)) is not None]
            if not known:
                return False
            before = self._generation
            self._generation, self._capacity, self._boot, self._slot = max(known)
            self._head = head
            if self._generation != before:
                self._end = _START
        return True

    def _begin(self) -> bool:
        """Allocate a new file; False where one of this kind would be of no use."""
        if not boot_id():
            return False
        os.ftruncate(self._fd, 0)
        _write_at(self._fd, bytes(_START + _CAPACITIES[0]), 0)
        os.fsync(self._fd)
        self._write_head(1, _CAPACITIES[0])
        return True

    def _write_head(self, generation: int, capacity: int) -> None:
        """Write the header that does not count, so that the one that does is there until this one is whole."""
        text = b"trialstore-ahead 1 %d %d %b" % (generation, capacity, boot_id().encode())
        line = b"%b %08x\n" % (text, zlib.crc32(text))
        slot = 1 if self._head is None else 1 - self._slot
        _write_at(self._fd, line.ljust(_SLOT_BYTES, b"\0"), slot * _SLOT_BYTES)
        os.fdatasync(self._fd)
        self._look()

    def _records(self, start: int) -> Iterator[tuple[str, bytes, int]]:
        """Name, content and end of each whole record from a place on."""
        limit = _START + self._capacity
        while start + _HEAD.size <= limit:
            head = os.pread(self._fd, _HEAD.size, start)
            if len(head) < _HEAD.size:
                return
            crc32, generation, name_bytes, data_bytes = _HEAD.unpack(head)
            end = start + _HEAD.size + name_bytes + data_bytes
            if generation != self._generation or end > limit:
                return
            rest = os.pread(self._fd, end - start - 4, start + 4)
            if zlib.crc32(rest) != crc32:
                return
            body = rest[_HEAD.size - 4 :]
            yield body[:name_bytes].decode(), body[name_bytes:], end
            start = end


def can_write_ahead(folder: str) -> bool:
    """Whether the folder is on a disk of this machine of which it is known that this is worth it, and right."""
    return _syncfs() is not None and bool(boot_id()) and _kind_of_disk(folder) in _DISKS


def force_all(fd: int) -> None:
    """Have all on the disk that was written to the file system of an open file.

    Raises:
        OSError: the disk did not confirm it.
    """
    call = _syncfs()
    if call is None:
        os.sync()
    elif call(fd) != 0:
        raise failure()


@cache
def boot_id() -> str:
    """The kernel's name of the time since the machine was started; empty where that cannot be told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def _kind_of_disk(folder: str) -> str:
    try:
        device = os.stat(folder).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            mounts = [line.split(" ") for line in file]
    except OSError:
        return ""
    name = f"{os.major(device)}:{os.minor(device)}"
    return next((mount[mount.index("-") + 1] for mount in mounts if mount[2] == name and "-" in mount), "")


def _parsed(slot: bytes) -> tuple[int, int, str] | None:
    """Generation, capacity and boot of a header; None when it is not whole."""
    line, end, _ = slot.partition(b"\n")
    text, _, crc32 = line.rpartition(b" ")
    words = text.split(b" ")
    if not end or len(words) != 5 or words[:2] != [b"trialstore-ahead", b"1"] or crc32 != b"%08x" % zlib.crc32(text):
        return None
    return int(words[2]), int(words[3]), words[4].decode()


def _write_at(fd: int, data: bytes, place: int) -> None:
    done = os.pwrite(fd, data, place)
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:], place + done)


def _syncfs() -> Callable[..., int] | None:
    return linux_call("syncfs", ctypes.c_int)
