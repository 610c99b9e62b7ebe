"""These tests need Ax, and run in an environment of their own (`.ci/integrations.sh`); without it they are skipped."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ax warns of itself while it is imported
        import ax.api.client
        import ax.service.ax_client
        import ax.utils.testing.core_stubs  # noqa: F401
except ModuleNotFoundError:
    MISSING = True
else:
    MISSING = False


class Skipped(pytest.Module):
    """Stands for a module that cannot be imported here, and says so."""

    def collect(self) -> Any:
        pytest.skip("Ax is not installed: .ci/integrations.sh runs these", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Any, parent: Any) -> Any:
    return Skipped.from_parent(parent, path=module_path) if MISSING else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integrations/ax" in str(item.path):
            item.add_marker(pytest.mark.filterwarnings("ignore"))  # Ax warns of itself


@pytest.fixture
def store(tmp_path: Any) -> Any:
    import trialstore as ts

    with ts.open(tmp_path / "store", durability="process") as opened:
        yield opened
