"""Whose turn it is to make files in a folder, and what those who make them by turns write ahead.

A process that has the lock of a folder is the only one on its machine that writes to the folder's `Ahead`. One that was
not let in makes its files without, forced to the disk as elsewhere; both may go on at once, since names exclude.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict

from trialstore.blobs.ahead import Ahead, can_write_ahead, force_all
from trialstore.blobs.staging import sync_folder
from trialstore.model.identity import escape

__all__ = ["BEGIN_AT", "Turns"]

BEGIN_AT = 4
"""A folder gets its file with so many blobs that a process makes there: small ones shall not grow by much."""

_KEPT = 64
_FOLDER = os.O_RDONLY | os.O_CLOEXEC


class Turns:
    """The folders whose turn it is to write to, by thread.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._folder = root.rstrip("/") + "/.ahead"
        self._mine = threading.local()
        self._made: Counter[str] = Counter()
        self._open: OrderedDict[str, Ahead] = OrderedDict()
        self._known: bool | None = None

    def begin(self, folder: str) -> None:
        """The calling thread has the lock of the folder."""
        self._mine.folder = folder.rstrip("/")

    def end(self) -> None:
        """It is about to give the lock up."""
        self._mine.folder = None

    def ahead(self, folder: str) -> Ahead | None:
        """Where the calling thread may write blobs of this folder ahead; None where it may not.

        Raises:
            OSError: the file cannot be made, or forced to the disk.
        """
        if getattr(self._mine, "folder", None) != folder:
            return None
        if self._known is None:
            self._known = can_write_ahead(self._root)
        if not self._known:
            return None
        ahead = self._open.pop(folder, None)
        if ahead is None or not ahead.is_there:
            ahead = self._opened(folder)
        if ahead is not None:
            self._open[folder] = ahead
            if len(self._open) > _KEPT:
                self._open.popitem(last=False)
        return ahead

    def _opened(self, folder: str) -> Ahead | None:
        self._made[folder] += 1
        new = self._made[folder] >= BEGIN_AT
        try:
            if self._is_absent(make=new):
                return None
            ahead = Ahead.open(self._path(folder), new=new)
            if ahead is not None and new:
                self._force(self._folder)
        except OSError:  # no room, or not allowed: it goes without
            return None
        return ahead

    def _is_absent(self, *, make: bool) -> bool:
        if os.path.islink(self._folder):
            return True  # it shall not have files made elsewhere
        if os.path.isdir(self._folder):
            return False
        if make:
            os.makedirs(self._folder, exist_ok=True)
            self._force(self._root)
        return not make

    def force(self, folder: str) -> None:
        """Have on the disk what anybody wrote ahead in a folder and left to the next one.

        Raises:
            OSError: the disk did not confirm it.
        """
        if self._is_absent(make=False):
            return
        try:
            ahead = Ahead.open(self._path(folder), writable=False)
        except PermissionError:  # it is another user's
            self._force_all()
            return
        if ahead is not None:
            ahead.force()
            ahead.close()

    def left(self, folder: str) -> dict[str, bytes] | None:
        """Names and contents of the blobs of a folder that a crash of the machine may have taken.

        None when there was no crash, or nothing was written ahead.

        Raises:
            OSError: what was written ahead cannot be read.
        """
        if self._is_absent(make=False):
            return None
        ahead = Ahead.open(self._path(folder), writable=False)
        return None if ahead is None or ahead.is_of_this_boot else ahead.left()

    def remove(self, folder: str) -> None:
        """Have every file on the disk, and remove what was written ahead; it is the calling thread's turn.

        Raises:
            OSError: the disk did not confirm it.
        """
        path = self._path(folder)
        if self._is_absent(make=False) or not os.path.lexists(path):
            return
        self._force_all()
        os.unlink(path)
        self._made.pop(folder, None)

    def _force_all(self) -> None:
        fd = os.open(self._folder, _FOLDER)
        try:
            force_all(fd)
        finally:
            os.close(fd)

    def _path(self, folder: str) -> str:
        return f"{self._folder}/{escape(folder)}"

    @staticmethod
    def _force(folder: str) -> None:
        fd = os.open(folder, _FOLDER)
        try:
            sync_folder(fd)
        finally:
            os.close(fd)
