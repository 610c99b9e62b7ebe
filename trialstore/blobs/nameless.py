"""Files that are made without a name and are given one later, in one step: nobody sees them before they are whole."""

from __future__ import annotations

import os

from trialstore.model.identity import new_ulid

__all__ = ["NAMELESS", "give_name", "nameless_files_work"]

_TMPFILE: int | None = getattr(os, "O_TMPFILE", None)

NAMELESS = os.O_RDWR | os.O_CLOEXEC | (_TMPFILE or 0)
"""How a folder is opened to make such a file in it, where that works."""


def nameless_files_work(folder: str, *, made_in: str | None = None) -> bool:
    """Whether a file can be given a name in a folder that was made without one there: most file systems of Linux.

    Args:
        folder: Where it gets its name.
        made_in: Where it is made, `folder` by default. It may be on another disk, or mounted otherwise.
    """
    if _TMPFILE is None:
        return False
    path = f"{folder}/.{new_ulid()}.tmp"
    try:
        fd = os.open(made_in or folder, NAMELESS, 0o666)
        try:
            give_name(fd, path)
            os.unlink(path)
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def give_name(fd: int, path: str) -> None:
    """Give a file that was made without a name one.

    Raises:
        OSError: there is something of this name already, or it cannot be done.
    """
    # Only with a descriptor to start from, which an absolute path does not need, does Python call linkat, which
    # follows the link to the nameless file.
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
