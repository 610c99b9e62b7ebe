"""Addresses of empty databases of every kind that mlos_bench can write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.database_servers import DATABASE_SERVERS, database_servers

__all__ = ["address", "database_servers"]


@pytest.fixture(params=["sqlite", "duckdb", *DATABASE_SERVERS])
def address(request: pytest.FixtureRequest, database_servers: Any, tmp_path: Path) -> str:
    """The address of an empty database, of each kind."""
    if request.param in DATABASE_SERVERS:
        return str(database_servers.database(request.param))
    return f"{request.param}:///{tmp_path}/bench.{request.param}"
