"""These tests need Optuna, and run in an environment of their own (`.ci/integrations.sh`); else they are skipped."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns of itself while it is imported
        import fakeredis  # noqa: F401 - its testing package imports it
        import grpc  # noqa: F401
        import optuna
        import optuna_dashboard  # noqa: F401
except ModuleNotFoundError:
    MISSING = True
else:
    MISSING = False


class Skipped(pytest.Module):
    """Stands for a module that cannot be imported here, and says so."""

    def collect(self) -> Any:
        pytest.skip("Optuna is not installed with all that is tried here: .ci/integrations.sh", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Any, parent: Any) -> Any:
    return Skipped.from_parent(parent, path=module_path) if MISSING else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integrations/optuna" in str(item.path):
            item.add_marker(pytest.mark.filterwarnings("ignore"))  # Optuna warns of itself


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
