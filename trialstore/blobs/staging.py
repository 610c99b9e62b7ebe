"""New content in a folder that nobody sees until it is given a name, in one step and whole."""

from __future__ import annotations

import errno
import os
import sys
from types import TracebackType
from typing import Self

from trialstore.blobs.barrier import push
from trialstore.blobs.nameless import NAMELESS, give_name
from trialstore.blobs.nursery import Nursery
from trialstore.model.errors import UnsafeBackendError
from trialstore.model.identity import new_ulid

__all__ = ["Staged", "sync_folder"]

_WRITE = os.O_RDWR | os.O_CLOEXEC
_NO_LINK = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})


class Staged:
    """A file in `folder` without a name, to be written and then published under one.

    A writer that is killed leaves nothing where nameless files work, else a file whose name starts with a
    dot. On leaving the context what was not published is gone.

    Args:
        folder: Where it will be published; it must exist.
        nameless: Whether `nameless_files_work` here.
        nursery: Where the nameless file is made; in the folder itself by default.

    Attributes:
        fd: Descriptor to write to.
    """

    __slots__ = ("_folder", "_temporary", "fd")

    def __init__(self, folder: str, *, nameless: bool, nursery: Nursery | None = None) -> None:
        self._folder = folder
        self._temporary: str | None = None
        if nameless:
            self.fd = os.open(folder, NAMELESS, 0o666) if nursery is None else nursery.open(folder)
        else:
            temporary = f"{folder}/.{new_ulid()}.tmp"
            self.fd = os.open(temporary, _WRITE | os.O_CREAT | os.O_EXCL, 0o666)
            self._temporary = temporary

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`."""
        done = os.write(self.fd, data)
        while done < len(data):
            done += os.write(self.fd, memoryview(data)[done:])

    def appear(self) -> str:
        """Have a hidden name from here on: without one, the disk would take the file for deleted. Returns its path."""
        if self._temporary is None:
            temporary = f"{self._folder}/.{new_ulid()}.tmp"
            give_name(self.fd, temporary)
            self._temporary = temporary
        return self._temporary

    def sync(self, *, before_a_flush: bool = False) -> None:
        """Force the content to the disk itself.

        Args:
            before_a_flush: The folder will be flushed, and that is enough here: see `trialstore.blobs.barrier`.
        """
        if before_a_flush:
            push(self.fd)
        else:
            _sync(self.fd)

    def publish_new(self, name: str) -> bool:
        """Give the file a name in its folder; False, and nothing changes, when the name is taken.

        Raises:
            UnsafeBackendError: the file system has no hard links, so it cannot create without a race.
        """
        try:
            if self._temporary is None:
                give_name(self.fd, f"{self._folder}/{name}")
            else:
                os.link(self._temporary, f"{self._folder}/{name}")
        except FileExistsError:
            return False
        except OSError as error:
            if self._temporary is not None and error.errno in _NO_LINK:
                raise UnsafeBackendError(
                    "the file system has no hard links, so two writers could both win",
                    hint="keep the store on another file system, or in a bucket",
                    folder=self._folder,
                    reason=error.strerror,
                ) from None
            raise
        return True

    def publish_over(self, name: str) -> bool:
        """Give the file a name in its folder, replacing what has it; True."""
        os.replace(self.appear(), f"{self._folder}/{name}")
        self._temporary = None
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        if self._temporary is not None:
            try:
                os.unlink(self._temporary)
            except OSError:
                pass


def sync_folder(folder_fd: int) -> None:
    """Force the names in a folder to the disk itself."""
    try:
        _sync(folder_fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network mounts cannot sync a folder
            raise


if sys.platform == "darwin":
    import fcntl

    def _sync(fd: int) -> None:
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync alone stops at the drive's own cache
        except OSError:
            os.fsync(fd)

else:
    _sync = os.fsync
