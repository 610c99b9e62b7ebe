"""Files made by turns, each durable before the next one is made, at one flush a file on a disk without a journal.

What is promised there: when `create` returned, the file is on the disk, and so is every file that was made in the
folder in an earlier turn. An ext4 without a journal brings a file's content, inode and name to the disk with one flush
of the file itself, but only after the name was given (see `trialstore.blobs.barrier`). Until then others see a file
that a crash of the machine may take back, so nothing may be built on it. Whoever has the lock of the folder knows that
no such file is there: the holder before it was done. A holder that was killed, or failed, leaves a mark in the lock's
file, and the next one has everything written to the disk first; so does a writer that was not let in.
"""

from __future__ import annotations

import os
import threading

__all__ = ["Turns"]

_AT_WORK = b"1"
_DONE = b"0"


class Turns:
    """The folders whose turn it is to write to, by thread."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._known: set[str] = set()

    def expect(self, folder: str) -> None:
        """Files of this folder are made by turns from now on."""
        self._known.add(folder)

    def begin(self, folder: str, fd: int) -> None:
        """The calling thread has the lock of the folder, which `fd` is the file of."""
        if os.pread(fd, 1, 0) == _AT_WORK:
            os.sync()  # whoever had it before was stopped in the middle
        os.pwrite(fd, _AT_WORK, 0)
        self._mine.folder = folder.rstrip("/")

    def end(self, fd: int, *, whole: bool) -> None:
        """It is about to give the lock up, and what it made is on the disk if its work is `whole`."""
        self._mine.folder = None
        if whole:
            os.pwrite(fd, _DONE, 0)

    def is_mine(self, folder: str) -> bool:
        """Whether the calling thread may make a file that others see before it is on the disk.

        Where that is not known of a folder of turns, all that others made is brought to the disk first.
        """
        if getattr(self._mine, "folder", None) == folder:
            return True
        if folder in self._known:
            os.sync()
        return False
