"""Other storages of Optuna, by the addresses that people have for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend

from trialstore.model.errors import MissingExtraError, NotFoundError, UsageError

__all__ = ["opened_source"]

_SQLITE = b"SQLite format 3\x00"


@contextmanager
def opened_source(source: str | os.PathLike[str] | BaseStorage) -> Iterator[BaseStorage]:
    """The storage at an address, which is closed afterwards; a storage that is open is left so.

    Args:
        source: A URL of a database, of Redis (``redis://…``), or the path of a journal file or of an SQLite file.

    Raises:
        MissingExtraError: the driver of such a database is not installed.
        NotFoundError: there is no such file. None is made.
        UsageError: it is no address of a storage of Optuna.
    """
    if isinstance(source, BaseStorage):
        yield source
        return
    address = os.fspath(source)
    if "://" not in address:
        yield from _file(address)
    elif address.startswith(("redis://", "rediss://", "redis+")):
        yield JournalStorage(JournalRedisBackend(address))
    elif address.startswith("sqlite:///") and not os.path.exists(address.removeprefix("sqlite:///").partition("?")[0]):
        raise NotFoundError("there is no such file", hint="check the path", path=address.removeprefix("sqlite:///"))
    else:
        yield from _database(address)


def _file(path: str) -> Iterator[BaseStorage]:
    try:
        with open(path, "rb") as file:
            is_database = file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise NotFoundError(
            f"file cannot be read: {error.strerror}",
            hint="name a journal file, or a database such as sqlite:///study.db",
            path=path,
        ) from None
    if is_database:
        yield from _database(f"sqlite:///{path}")
    else:
        yield JournalStorage(JournalFileBackend(path))


def _database(url: str) -> Iterator[BaseStorage]:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        storage = RDBStorage(url, skip_table_creation=True)
    except (ArgumentError, NoSuchModuleError):
        raise UsageError(
            "not an address of a storage of Optuna",
            hint="such as sqlite:///study.db, postgresql://host/name or the path of a journal file",
            scheme=url.partition("://")[0],
        ) from None
    except ImportError as error:
        raise MissingExtraError(
            "the driver of this kind of database is not installed",
            hint="install it, or name one that is, such as postgresql+psycopg:// or mysql+pymysql://",
            scheme=url.partition("://")[0],
        ) from error
    try:
        yield storage
    finally:
        storage.engine.dispose()
