"""These tests need Oríon, and run in an environment of their own (`.ci/integrations.sh`); else they are skipped."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Oríon warns of itself while it is imported
        import orion.client  # noqa: F401
except ModuleNotFoundError:
    MISSING = True
else:
    MISSING = False


class Skipped(pytest.Module):
    """Stands for a module that cannot be imported here, and says so."""

    def collect(self) -> Any:
        pytest.skip("Oríon is not installed: .ci/integrations.sh runs these", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Any, parent: Any) -> Any:
    return Skipped.from_parent(parent, path=module_path) if MISSING else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integrations/orion" in str(item.path):
            item.add_marker(pytest.mark.filterwarnings("ignore"))  # Oríon warns of itself


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
