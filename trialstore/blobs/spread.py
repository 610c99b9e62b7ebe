"""A hint to the file system that the folders in a folder are unrelated, so that each is placed for itself.

ext4 makes a folder's files near the folder, and a folder near its parent. Where many files were just deleted in that
neighbourhood, be it by another program, it passes over their inodes one by one for each file that it makes: measured,
30 to 300 µs a file instead of 5. With the hint each folder gets a neighbourhood of its own.

Source: ``man chattr``, attribute ``T``; Linux, ``fs/ext4/ialloc.c``.
"""

from __future__ import annotations

import os
import platform
import struct
import sys

__all__ = ["spread"]

_READ_FLAGS = 0x80086601
_WRITE_FLAGS = 0x40086602
_TOP_OF_HIERARCHY = 0x00020000
_KNOWN = sys.platform.startswith("linux") and platform.machine() in ("x86_64", "aarch64", "riscv64")


def spread(folder: str) -> None:
    """Ask for it, where the system and the file system know how; a refusal is no error."""
    if not _KNOWN:
        return
    import fcntl

    try:
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            (flags,) = struct.unpack_from("=I", fcntl.ioctl(fd, _READ_FLAGS, bytes(8)))
            fcntl.ioctl(fd, _WRITE_FLAGS, struct.pack("=Q", flags | _TOP_OF_HIERARCHY))
        finally:
            os.close(fd)
    except OSError:
        pass
