"""Empty databases on real servers, which are started when one is first asked for and stopped with the test session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.databases import MissingServerError, started_mariadb, started_postgresql

__all__ = ["DATABASE_SERVERS", "DatabaseServers", "database_servers"]

DATABASE_SERVERS = {"postgresql": (started_postgresql, "postgres"), "mariadb": (started_mariadb, "mysql")}
"""How each kind of server is started, and the database that it always has."""


class DatabaseServers:
    """Servers that are started when a database of theirs is first asked for."""

    def __init__(self, running: ExitStack) -> None:
        self._running = running
        self._addresses: dict[str, str] = {}
        self._count = 0

    def database(self, kind: str, options: str = "") -> str:
        """The address of a new database. A server that is not installed skips the test, and fails it in CI.

        Args:
            kind: One of `DATABASE_SERVERS`.
            options: What ``CREATE DATABASE`` is told.
        """
        from sqlalchemy import create_engine, text

        start, first = DATABASE_SERVERS[kind]
        if kind not in self._addresses:
            try:
                self._addresses[kind] = self._running.enter_context(start())
            except MissingServerError as error:
                in_ci = os.environ.get("CI", "").lower() in ("1", "true")
                raise (pytest.fail if in_ci else pytest.skip).Exception(f"no {kind} to test on: {error}") from None
        self._count += 1
        name = f"database{self._count}"
        engine = create_engine(self._addresses[kind].format(name=first), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} {options}"))
        engine.dispose()
        return self._addresses[kind].format(name=name)


@pytest.fixture(scope="session")
def database_servers() -> Iterator[DatabaseServers]:
    with ExitStack() as running:
        yield DatabaseServers(running)
