"""These tests need mlos_bench and run in an environment of their own (`.ci/integrations.sh`); else they are skipped."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integrations.mlos_bench.servers import address, database_servers
from tests.support.optional_tool import Skipped, let_warn

__all__ = ["address", "database_servers"]

try:
    import mlos_bench.storage.base_storage  # noqa: F401
    import pytz  # noqa: F401
except ModuleNotFoundError:
    MISSING = True
else:
    MISSING = False


def pytest_pycollect_makemodule(module_path: Any, parent: Any) -> Any:
    if not MISSING:
        return None
    return Skipped.instead_of(module_path, parent, "mlos_bench is not installed: .ci/integrations.sh runs these")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    let_warn(items, "integrations/mlos_bench")


@pytest.fixture
def storage(tmp_path: Any) -> Any:
    from trialstore.integrations.mlos_bench import TrialStoreStorage

    with_store = TrialStoreStorage({"url": str(tmp_path / "store"), "durability": "process"})
    yield with_store
    with_store.store.close()


@pytest.fixture
def tunables() -> Any:
    from tests.integrations.mlos_bench.experiments import tunable_groups

    return tunable_groups()


@pytest.fixture
def experiment(storage: Any, tunables: Any) -> Any:
    from tests.integrations.mlos_bench.experiments import opened

    with opened(storage, tunables) as entered:
        yield entered


@pytest.fixture
def repository(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A git repository with a commit and a remote, and this process in it: mlos_bench's own storage asks for both."""
    import subprocess

    folder = tmp_path / "repository"
    folder.mkdir()
    who = ("-c", "user.name=tester", "-c", "user.email=tester@example.com")
    for command in (
        ("init", "--quiet"),
        (*who, "commit", "--quiet", "--allow-empty", "--message", "first"),
        ("remote", "add", "origin", "https://example.com/bench.git"),
    ):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    monkeypatch.chdir(folder)
    return folder
