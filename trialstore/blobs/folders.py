"""The folders that hold blobs: made when needed, and there to stay before a blob in them is promised."""

from __future__ import annotations

import os

from trialstore.blobs.links import Straight
from trialstore.blobs.spread import spread
from trialstore.blobs.staging import sync_folder

__all__ = ["Folders"]

_REMEMBERED = 4096


class Folders:
    """Makes folders under a root, each with its parents.

    With `durable`, a folder's own name is forced to the disk the first time this process uses it, whoever
    made it: another process may have made it and not have come to that yet.

    Args:
        root: The topmost folder; it and its parents are made as well.
        straight: Sees that no link is followed below the root.
        durable: Whether names are forced to the disk.
    """

    def __init__(self, root: str, straight: Straight, *, durable: bool) -> None:
        self._root = root
        self._straight = straight
        self._durable = durable
        self._settled: set[str] = set()

    def settle(self, folder: str) -> None:
        """Have the folder exist. One lookup when it was settled before and not forgotten."""
        if folder in self._settled:
            return
        try:
            self._straight.check(folder)
        except FileNotFoundError:
            pass
        self._make(folder)
        self._straight.check(folder)
        if len(self._settled) >= _REMEMBERED:
            self._settled.clear()
        if self._durable:
            self._sync_names(folder)
        self._settled.add(folder)

    def _make(self, folder: str) -> None:
        """Make the folder and its parents; the folders in one that stands below the root are placed apart."""
        below = folder[len(self._root) :].strip("/")
        top = os.path.join(self._root, below.partition("/")[0])
        if below and not os.path.isdir(top):
            os.makedirs(top, exist_ok=True)
            spread(top)
        os.makedirs(folder, exist_ok=True)

    def forget(self) -> None:
        """Believe in no folder any more: one was found missing."""
        self._settled.clear()
        self._straight.forget()

    def _sync_names(self, folder: str) -> None:
        passed = []
        while folder not in self._settled and folder != os.path.dirname(folder):
            try:
                self._sync_name(folder)
            except OSError:
                if len(folder) > len(self._root):
                    raise
                break  # above the root it may not be ours to force
            passed.append(folder)
            folder = os.path.dirname(folder)
        self._settled.update(passed)

    def _sync_name(self, folder: str) -> None:
        fd = os.open(os.path.dirname(folder), os.O_RDONLY | os.O_CLOEXEC)
        try:
            sync_folder(fd)
        finally:
            os.close(fd)
