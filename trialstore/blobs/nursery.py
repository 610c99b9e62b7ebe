"""Where files are made that get their name later: in a folder where the disk finds room for them quickly.

A file needs a name in its own folder, and may come from any other of the same disk. That matters on an ext4 without a
journal: it looks for an inode in the group of blocks of the folder, and passes over those of files that were deleted
in the last minutes one by one. Where many thousands were, a file takes 0.2 to 0.7 ms to make in place of 0.02. A folder
in one with the hint of `trialstore.blobs.spread` gets a group to itself.

Source: Linux, ``fs/ext4/ialloc.c``, `find_inode_bit`, `recently_deleted` and `find_group_orlov`.
"""

from __future__ import annotations

import os
import stat
import time
from statistics import median

from trialstore.blobs.nameless import NAMELESS, nameless_files_work
from trialstore.blobs.spread import spread

__all__ = ["Nursery"]

SLOW_S = 8e-5
"""A folder in which a file usually takes longer to make is left for another one."""

LOOKED_AT = 8
"""So many files are made before that is decided, since any one of them may have been interrupted."""

OTHERS = 8
"""So many folders there may be for it, each made when those before it were slow."""


class Nursery:
    """Makes nameless files for the folders of one store. May be called from many threads.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: str) -> None:
        self._folder = f"{root.rstrip('/')}/.nursery"
        self._places = [None, *(f"{self._folder}/{number}" for number in range(OTHERS))]
        self._place: str | None = None  # the folder that a file is for
        self._took_s: list[float] = []
        self._usual_s: dict[str | None, float] = {}

    def open(self, folder: str) -> int:
        """A descriptor of a new file without a name, which can be linked into `folder`.

        Raises:
            OSError: none can be made there.
        """
        began = time.perf_counter()
        fd = self._opened(folder)
        took_s = self._took_s  # without a lock, which a fork could leave held: another thread may begin a new list
        took_s.append(time.perf_counter() - began)
        if len(took_s) >= LOOKED_AT:
            self._took_s = []
            self._usual_s[self._place] = usual_s = median(took_s)
            if usual_s > SLOW_S:
                self._move(folder)
        return fd

    def _opened(self, folder: str) -> int:
        place = self._place
        if place is not None:
            try:
                return os.open(place, NAMELESS, 0o666)
            except OSError:
                self._leave(place)  # it is gone
        return os.open(folder, NAMELESS, 0o666)

    def _move(self, folder: str) -> None:
        """Make the next files where none was made yet, or else where they were made most quickly."""
        place = min(self._places, key=lambda place: self._usual_s.get(place, 0.0))
        if place is None or self._is_ready(place, folder):
            self._place = place
        else:
            self._leave(place)

    def _leave(self, place: str) -> None:
        """Make no more files in a place that is none, but in their own folders."""
        self._usual_s[place] = float("inf")
        self._place = None

    def _is_ready(self, place: str, folder: str) -> bool:
        """Whether files for `folder` can be made in another folder, which is made where there is none."""
        try:
            if not _is_folder(self._folder):
                os.mkdir(self._folder)
                spread(self._folder)
            if not _is_folder(place):
                os.mkdir(place)
        except OSError:  # a link or a file stands there, or it is not allowed
            return False
        return nameless_files_work(folder, made_in=place)


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
