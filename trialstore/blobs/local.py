"""Blobs as files under one folder of a local or mounted disk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import IO, Literal

from trialstore.blobs.ahead import Ahead
from trialstore.blobs.barrier import Flushing, begin, flushing
from trialstore.blobs.folders import Folders
from trialstore.blobs.guard import FolderGuards
from trialstore.blobs.keys import check_key, check_prefix
from trialstore.blobs.links import READ, Straight, open_file
from trialstore.blobs.nameless import nameless_files_work
from trialstore.blobs.nursery import Nursery
from trialstore.blobs.oserrors import from_oserror, unsynced
from trialstore.blobs.protocol import BlobInfo
from trialstore.blobs.ranged import read_fully
from trialstore.blobs.spare import SpareFiles
from trialstore.blobs.staging import Staged, sync_folder
from trialstore.blobs.turns import Turns
from trialstore.model.errors import BlobNotFoundError, UsageError

__all__ = ["Durability", "LocalBlobs"]

Durability = Literal["machine", "process"]
"""What a returned write survives: a crash of the machine, or only the end of the process."""

_CHUNK_BYTES = 1 << 16
_STREAM_BYTES = 1 << 20
_BEGIN_BYTES = 16 << 20
_FOLDER = os.O_RDONLY | os.O_CLOEXEC
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalBlobs:
    """Blobs in a folder; see `Blobs` for what every backend guarantees.

    A blob is a file that gets its name by a hard link once it is complete, so `create` excludes on every file
    system that has hard links, network mounts included, and no reader sees a part of it. A writer that is
    killed leaves at most a file that starts with a dot, which is never listed.

    Below the root no symbolic link is followed, to read, write or delete. One that stands where a blob should be is
    listed, can be deleted, and is damage to whoever reads it.

    Args:
        root: The folder; made, with its parents, by the first write. A link to a folder is followed once, here.
        durability: ``"machine"`` forces each blob and its name to the disk before a call returns;
            ``"process"`` leaves that to the operating system.

    Raises:
        UsageError: the root, or a parent of it, is a file.

    Cost: `create` opens, writes and links one file: about 0.01 ms, and two fsyncs more for ``"machine"``
    (one where `trialstore.blobs.barrier` knows that it is enough, and one of a block that is there already for whoever
    has the guard of the folder, where `trialstore.blobs.ahead` can be used).
    """

    def __init__(self, root: str, *, durability: Durability = "machine") -> None:
        if durability not in ("machine", "process"):
            raise UsageError("unknown durability", hint="use 'machine' or 'process'", durability=durability)
        self._root = os.path.realpath(root)
        self._base = self._root.rstrip("/") + "/"
        self._durable = durability == "machine"
        self._durability: Durability = durability
        self._nameless: bool | None = None
        self._flushing: Flushing | None = None
        self._turns = Turns(self._root)
        self._straight = Straight(self._root)
        self._folders = Folders(self._root, self._straight, durable=self._durable)
        self._guards = FolderGuards(self._base + ".locks")
        self._spares = SpareFiles()
        self._nursery = Nursery(self._root)
        try:
            is_folder = stat.S_ISDIR(os.stat(self._root).st_mode)
        except FileNotFoundError:
            is_folder = True
        except NotADirectoryError:
            is_folder = False
        except OSError as error:
            raise from_oserror(error, "look at the folder", path=self._root) from error
        if not is_folder:
            raise UsageError("the path is a file, not a folder", hint="name a folder, or a new path", path=self._root)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._root!r}, durability={self._durability!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (type(self), self._root, self._durability)

    @property
    def url(self) -> str:
        """``file://`` and the absolute path, links resolved, characters as they are."""
        return f"file://{self._root}"

    @property
    def filesystem(self) -> None:
        """None: engines read `engine_path` themselves."""
        return

    def engine_path(self, key: str) -> str:
        """The absolute path of the blob's file.

        Raises:
            DamagedError: a symbolic link stands there, or on the way there.
        """
        path = self._base + check_key(key)
        try:
            self._straight.check(path.rpartition("/")[0])
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise from_oserror(error, "read a blob", key=key, url=self.url) from None
        return path

    def _path(self, key: str) -> str:
        """The path of a blob's file, which is reached without a link."""
        path = self._base + check_key(key)
        self._straight.check(path.rpartition("/")[0])
        return path

    def read(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a blob, or of the range `[start, end)` of it."""
        data = self._read(key) if start is None and end is None else self._read_range(key, start or 0, end)
        if data is None:
            raise BlobNotFoundError("no such blob", key=key, url=self.url)
        return data

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The bytes of several blobs; None where there is none."""
        return [self._read(key) for key in keys]

    def _read(self, key: str) -> bytes | None:
        try:
            fd = os.open(self._path(key), READ)
        except _ABSENT:
            return None
        except OSError as error:
            raise from_oserror(error, "read a blob", key=key, url=self.url) from error
        try:
            data = os.read(fd, _CHUNK_BYTES)
            if len(data) < _CHUNK_BYTES and not os.read(fd, 1):
                return data if data or stat.S_ISREG(os.fstat(fd).st_mode) else None  # a pipe that nobody writes to
            os.lseek(fd, 0, os.SEEK_SET)
            with open(fd, "rb", buffering=0, closefd=False) as file:
                return file.readall()
        except IsADirectoryError:
            return None
        except OSError as error:
            raise from_oserror(error, "read a blob", key=key, url=self.url) from error
        finally:
            os.close(fd)

    def _read_range(self, key: str, start: int, end: int | None) -> bytes | None:
        if start < 0 or (end is not None and end < start):
            raise UsageError("not a range of bytes", hint="use 0 <= start <= end", key=key, start=start, end=end)
        try:
            with open(self._path(key), "rb", buffering=0, opener=open_file) as file:
                file.seek(start)
                return file.readall() if end is None else read_fully(file, end - start)
        except _ABSENT:
            return None
        except OSError as error:
            raise from_oserror(error, "read a blob", key=key, url=self.url) from error

    def create(self, key: str, data: bytes, *, force: bool = True) -> bool:
        """Write a blob if there is none of this key; True for exactly one caller. See `DiskBlobs`."""
        return self._put(key, data, new=True, durable=self._durable, force=force)

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Write a blob, replacing the one there may be in one step."""
        if not durable:
            folder, _, name = (self._base + check_key(key)).rpartition("/")
            self._folders.settle(folder)
            if self._spares.leave(folder, name, data):
                return
        self._put(key, data, new=False, durable=durable and self._durable)

    def wait(self, key: str, patience_s: float) -> None:
        """Return when a blob that was left here without `durable` may be gone, or after so long."""
        folder, _, name = (self._base + check_key(key)).rpartition("/")
        self._spares.wait(folder, name, patience_s)

    def write_stream(self, key: str, source: IO[bytes], *, name: Callable[[], str] | None = None) -> int:
        """Write a blob of any size from an open file, a mebibyte at a time; returns its size in bytes.

        A source with a method `pour` is handed the descriptor instead, writes itself there, and tells how far it is.
        """
        folder, _, last = (self._base + (check_key(key) if name is None else check_prefix(key))).rpartition("/")
        try:
            with self._stage(folder) as staged:
                size = 0
                begun = 0
                pour: Callable[[int], Iterator[int]] | None = getattr(source, "pour", None)
                for size in _written(staged, source) if pour is None else pour(staged.fd):
                    if self._durable and size - begun >= _BEGIN_BYTES:
                        begin(staged.fd, begun, size - begun)
                        begun = size
                if name is not None:
                    last = check_key(key + name()).rpartition("/")[2]
                self._publish(staged, folder, last, new=False, durable=self._durable)
        except OSError as error:
            raise from_oserror(error, "write a blob", key=key, url=self.url) from error
        return size

    def _put(self, key: str, data: bytes, *, new: bool, durable: bool, force: bool = True) -> bool:
        folder, _, name = (self._base + check_key(key)).rpartition("/")
        try:
            try:
                return self._put_once(folder, name, data, new=new, durable=durable, force=force)
            except FileNotFoundError:  # somebody removed the folder meanwhile
                self._folders.forget()
                return self._put_once(folder, name, data, new=new, durable=durable, force=force)
        except OSError as error:
            raise from_oserror(error, "write a blob", key=key, url=self.url) from error

    def _put_once(self, folder: str, name: str, data: bytes, *, new: bool, durable: bool, force: bool) -> bool:
        relative = folder[len(self._base) :]
        ahead = self._turns.ahead(relative) if new and durable else None
        with self._stage(folder, anywhere=ahead is not None) as staged:
            staged.write(data)
            place = None if ahead is None else self._append(ahead, name, data, force)
            if ahead is None or place is None:
                if new and durable:
                    self._turns.force(relative)
                return self._publish(staged, folder, name, new=new, durable=durable)
            created = False
            try:
                created = self._publish(staged, folder, name, new=new, durable=False)
            finally:
                if not created:
                    ahead.take_back(place)
            return created

    @staticmethod
    def _append(ahead: Ahead, name: str, data: bytes, force: bool) -> int | None:
        try:
            return ahead.append(name, data, force=force)
        except OSError as error:
            raise unsynced(error, blob=name) from error

    def force(self, folder: str) -> None:
        """Have all blobs on the disk that were created in a folder with ``force=False``."""
        try:
            if self._durable:
                self._turns.force(folder)
        except OSError as error:
            raise from_oserror(error, "force blobs to the disk", folder=folder, url=self.url) from error

    def _stage(self, folder: str, *, anywhere: bool = False) -> Staged:
        self._folders.settle(folder)
        if self._nameless is None:
            self._nameless = nameless_files_work(folder)
        if self._flushing is None:
            self._flushing = flushing(folder)
        return Staged(folder, nameless=self._nameless, nursery=self._nursery if anywhere else None)

    def _publish(self, staged: Staged, folder: str, name: str, *, new: bool, durable: bool) -> bool:
        give_name = staged.publish_new if new else staged.publish_over
        if not durable:
            return give_name(name)
        if self._flushing is Flushing.FILE:
            staged.appear()
        staged.sync(before_a_flush=self._flushing is Flushing.FOLDER)
        folder_fd = os.open(folder, _FOLDER)
        try:
            if not give_name(name):
                return False
            try:
                sync_folder(folder_fd)
            except OSError as error:
                raise unsynced(error, path=f"{folder}/{name}") from error
        finally:
            os.close(folder_fd)
        return True

    def open(self, key: str) -> IO[bytes]:
        """A seekable reader of a blob that fetches only what is read."""
        try:
            return open(self._path(key), "rb", opener=open_file)
        except _ABSENT:
            raise BlobNotFoundError("no such blob", key=key, url=self.url) from None
        except OSError as error:
            raise from_oserror(error, "read a blob", key=key, url=self.url) from error

    def info(self, key: str) -> BlobInfo | None:
        """Size and time of a blob, None when there is none."""
        try:
            found = os.lstat(self._path(key))
        except _ABSENT:
            return None
        except OSError as error:
            raise from_oserror(error, "look at a blob", key=key, url=self.url) from error
        return _info(key, found) if _is_blob(found) else None

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All blobs under the folder `prefix`, by key; what comes and goes meanwhile may be missing."""
        check_prefix(prefix)
        return self._walk(self._base + prefix, prefix)

    def _walk(self, folder: str, prefix: str) -> Iterator[BlobInfo]:
        try:
            with os.scandir(folder) as entries:
                self._straight.check(folder.rstrip("/"))
                found = [(_sort_name(entry), entry) for entry in entries if not entry.name.startswith(".")]
        except _ABSENT:
            return
        except OSError as error:
            raise from_oserror(error, "list a folder", prefix=prefix, url=self.url) from error
        found.sort(key=_first)
        for name, entry in found:
            if name.endswith("/"):
                yield from self._walk(folder + name, prefix + name)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise from_oserror(error, "list a folder", prefix=prefix, url=self.url) from error
            if _is_blob(status):
                yield _info(prefix + name, status)

    def delete(self, keys: Iterable[str], *, durable: bool = True) -> None:
        """Remove blobs; a key that does not exist is no error."""
        touched = set()
        for key in keys:
            path = self._base + check_key(key)
            try:
                os.unlink(self._path(key))
            except (*_ABSENT, PermissionError) as error:
                if isinstance(error, PermissionError) and not os.path.isdir(path):
                    raise from_oserror(error, "delete a blob", key=key, url=self.url) from error
            except OSError as error:
                raise from_oserror(error, "delete a blob", key=key, url=self.url) from error
            else:
                touched.add(os.path.dirname(path))
        if durable and self._durable:
            for folder in touched:
                self._sync_removal(folder)

    def _sync_removal(self, folder: str) -> None:
        try:
            fd = os.open(folder, _FOLDER)
        except OSError:
            return  # gone as well
        try:
            sync_folder(fd)
        except OSError as error:
            raise from_oserror(error, "delete blobs", path=folder) from error
        finally:
            os.close(fd)

    def guard(self, name: str, *, patience_s: float = 1.0) -> AbstractContextManager[bool]:
        """An advisory lock among the processes of this machine; whoever has it writes ahead in the folder it names."""
        return self._guards.hold(name, patience_s, self._turns if self._durable else None)

    def unfinished(self, folder: str) -> dict[str, bytes] | None:
        """What a crash of the machine may have taken or damaged of a folder's blobs; see `DiskBlobs`."""
        try:
            return self._turns.left(folder)
        except OSError as error:
            raise from_oserror(error, "read what was written ahead", folder=folder, url=self.url) from error

    def finish(self, folder: str) -> None:
        """Have all blobs on the disk, and forget what was written ahead; for whoever holds the folder's guard."""
        try:
            self._turns.remove(folder)
        except OSError as error:
            raise from_oserror(error, "force blobs to the disk", folder=folder, url=self.url) from error


def _reopen(kind: type[LocalBlobs], root: str, durability: Durability) -> LocalBlobs:
    return kind(root, durability=durability)


def _written(staged: Staged, source: IO[bytes]) -> Iterator[int]:
    size = 0
    while chunk := source.read(_STREAM_BYTES):
        staged.write(chunk)
        size += len(chunk)
        yield size


def _is_blob(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)


def _info(key: str, status: os.stat_result) -> BlobInfo:
    return BlobInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _sort_name(entry: os.DirEntry[str]) -> str:
    try:
        return entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name
    except OSError:
        return entry.name


def _first(pair: tuple[str, os.DirEntry[str]]) -> str:
    return pair[0]
