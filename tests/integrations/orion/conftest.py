"""These tests need Oríon, and run in an environment of their own (`.ci/integrations.sh`); else they are skipped."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tests.support.optional_tool import Skipped, let_warn

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Oríon warns of itself while it is imported
        import orion.client  # noqa: F401
except ModuleNotFoundError:
    MISSING = True
else:
    MISSING = False


def pytest_pycollect_makemodule(module_path: Any, parent: Any) -> Any:
    if not MISSING:
        return None
    return Skipped.instead_of(module_path, parent, "Oríon is not installed: .ci/integrations.sh runs these")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    let_warn(items, "integrations/orion")


@pytest.fixture
def url(tmp_path: Any) -> str:
    """Where a store may be made."""
    return str(tmp_path / "store")


@pytest.fixture
def storage(url: str) -> Any:
    """Oríon's storage, as its configuration finds it."""
    from orion.storage.base import setup_storage

    made = setup_storage({"type": "trialstore", "url": url, "durability": "process"})
    yield made
    made._db.close_connection()
