"""These tests need Optuna, and run in an environment of their own (`.ci/integrations.sh`); else they are skipped."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.database_servers import database_servers
from tests.support.optional_tool import Skipped, let_warn

__all__ = ["database_servers"]

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns of itself while it is imported
        import fakeredis  # noqa: F401 - its testing package imports it
        import grpc  # noqa: F401
        import optuna
        import optuna.artifacts  # Google's client, where it is there, warns of what it lacks
        import optuna_dashboard  # noqa: F401
except ModuleNotFoundError:
    MISSING = True
else:
    MISSING = False


def pytest_pycollect_makemodule(module_path: Any, parent: Any) -> Any:
    if not MISSING:
        return None
    return Skipped.instead_of(
        module_path, parent, "Optuna is not installed with all that is tried here: .ci/integrations.sh"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    let_warn(items, "integrations/optuna")


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Where a store can be made."""
    return str(tmp_path / "store")


@pytest.fixture
def storage(place: str) -> Iterator[Any]:
    from trialstore.integrations.optuna import TrialStoreStorage

    opened = TrialStoreStorage(place)
    yield opened
    opened.close()
