"""These tests need Ax, and run in an environment of their own (`.ci/integrations.sh`); without it they are skipped."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tests.support.optional_tool import Skipped, let_warn

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


def pytest_pycollect_makemodule(module_path: Any, parent: Any) -> Any:
    if not MISSING:
        return None
    return Skipped.instead_of(module_path, parent, "Ax is not installed: .ci/integrations.sh runs these")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    let_warn(items, "integrations/ax")


@pytest.fixture
def store(tmp_path: Any) -> Any:
    import trialstore as ts

    with ts.open(tmp_path / "store", durability="process") as opened:
        yield opened
