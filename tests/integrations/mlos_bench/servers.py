"""Addresses of empty databases of every kind that mlos_bench can write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import MissingServerError, started_mariadb, started_postgresql

__all__ = ["address", "database_servers"]

_SERVERS = {"postgresql": (started_postgresql, "postgres"), "mariadb": (started_mariadb, "mysql")}


class DatabaseServers:
    """Servers that are started when a database of theirs is first asked for."""

    def __init__(self, running: ExitStack) -> None:
        self._running = running
        self._addresses: dict[str, str] = {}
        self._count = 0

    def database(self, kind: str) -> str:
        """The address of a new database. A server that is not installed skips the test, and fails it in CI."""
        from sqlalchemy import create_engine, text

        start, first = _SERVERS[kind]
        if kind not in self._addresses:
            try:
                self._addresses[kind] = self._running.enter_context(start())
            except MissingServerError as error:
                in_ci = os.environ.get("CI", "").lower() in ("1", "true")
                raise (pytest.fail if in_ci else pytest.skip).Exception(f"no {kind} to test on: {error}") from None
        self._count += 1
        name = f"mlos{self._count}"
        engine = create_engine(self._addresses[kind].format(name=first), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._addresses[kind].format(name=name)


@pytest.fixture(scope="session")
def database_servers() -> Iterator[DatabaseServers]:
    with ExitStack() as running:
        yield DatabaseServers(running)


@pytest.fixture(params=["sqlite", "duckdb", *_SERVERS])
def address(request: pytest.FixtureRequest, database_servers: Any, tmp_path: Path) -> str:
    """The address of an empty database, of each kind."""
    if request.param in _SERVERS:
        return str(database_servers.database(request.param))
    return f"{request.param}:///{tmp_path}/bench.{request.param}"
