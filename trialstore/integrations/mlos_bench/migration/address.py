"""From the address of a database to an engine of SQLAlchemy."""

from __future__ import annotations

import os

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from trialstore.model.errors import MissingExtraError, StoreNotFoundError, UsageError

__all__ = ["opened", "shown"]

_FILES = ("sqlite", "duckdb")
_DUCKDB = (".duckdb", ".ddb")


def opened(database: str | os.PathLike[str] | Engine, *, there: bool) -> Engine:
    """An engine for a database.

    Args:
        database: An address such as ``postgresql+psycopg://user@host/name``, the path of a file of SQLite (or DuckDB,
            where it ends in ``.duckdb``), or an engine.
        there: Whether a file must exist: SQLite would make an empty one.

    Raises:
        UsageError: it is no address.
        StoreNotFoundError: there is no such file.
        MissingExtraError: its driver is not installed.
    """
    if isinstance(database, Engine):
        return database
    text = os.fspath(database)
    if "://" not in text:
        text = f"{'duckdb' if text.endswith(_DUCKDB) else 'sqlite'}:///{os.path.abspath(text)}"
    try:
        url = make_url(text)
        path = url.database
        is_file = url.get_backend_name() in _FILES and path not in (None, "", ":memory:")
        if there and is_file and not os.path.exists(str(path)):
            raise StoreNotFoundError("there is no such database", hint="check the path", path=path)
        return create_engine(url)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        name = error.name if isinstance(error, ModuleNotFoundError) else text.partition("://")[0]
        package = _PACKAGES.get(str(name), str(name))
        raise MissingExtraError(
            "the driver of this database is not installed", hint=f"pip install {package}", driver=name
        ) from None
    except (ArgumentError, ValueError):
        # What was given is not repeated: there may be a password in it.
        raise UsageError(
            "not the address of a database", hint="write postgresql+psycopg://user@host/name, or the path of a file"
        ) from None


_PACKAGES = {"duckdb": "duckdb-engine", "MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary"}


def shown(engine: Engine) -> str:
    """The address without its password."""
    return engine.url.render_as_string(hide_password=True)
