"""Keeping to one folder: no symbolic link below the root of a store is followed, wherever it leads.

Whoever gives a store away may have put links into it that lead to files of whoever opens it.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["READ", "Straight", "open_file"]

READ = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""How a file is opened to be read: not through a link, and without waiting for the other end of a pipe."""

_REMEMBERED = 4096


class Straight:
    """Sees that a folder is reached from the root without a link. A folder is looked at once by a process.

    Args:
        root: The topmost folder, as it is: what leads to it is the caller's choice.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._seen = {root}

    def check(self, folder: str) -> None:
        """Return when the folder, which is the root or below it, and all above it are folders.

        Raises:
            OSError: it does not exist (`FileNotFoundError`, `NotADirectoryError`), or one of them is a link (`ELOOP`).
        """
        if folder in self._seen or len(folder) <= len(self._root):
            return
        self.check(os.path.dirname(folder))
        mode = os.lstat(folder).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), folder)
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen.add(folder)

    def forget(self) -> None:
        """Look at every folder again."""
        self._seen.clear()


def open_file(path: str, flags: int = READ) -> int:
    """A descriptor of a regular file; for the `opener` of Python's own `open`.

    Raises:
        OSError: it is a link (`ELOOP`), or no file (`FileNotFoundError`).
    """
    fd = os.open(path, READ)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "it is no file", path)
    return fd
