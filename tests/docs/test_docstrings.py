"""Every example in a docstring of the package runs and says what it does."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import warnings
from types import ModuleType

import pytest
from fsspec.implementations.memory import MemoryFileSystem

import trialstore

# A package that cannot be imported is named all the same, and its own test says why.
FOUND = pkgutil.walk_packages(trialstore.__path__, "trialstore.", onerror=lambda _: None)
MODULES = sorted(name for _, name, _ in FOUND if not name.endswith("__main__"))

CORE = [name for name in MODULES if not name.startswith("trialstore.integrations.")]


def examples(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


def imported(name: str) -> ModuleType:
    """The module; that of an integration is skipped where its tool is not installed (`.ci/integrations.sh` has it)."""
    with warnings.catch_warnings():
        if name.startswith("trialstore.integrations."):
            warnings.simplefilter("ignore")  # a tool may warn of itself while it is imported
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not name.startswith("trialstore.integrations.") or (error.name or "").startswith("trialstore"):
                raise
            pytest.skip(f"{error.name} is not installed")


@pytest.mark.parametrize("name", ["trialstore", *MODULES])
def test_examples(name: str) -> None:
    module = imported(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    said: list[str] = []
    try:
        for test in examples(module):
            runner.run(test, out=said.append)
    finally:
        for path in [path for path in MemoryFileSystem.store if path.startswith(("/doctest/", "/example/"))]:
            del MemoryFileSystem.store[path]
    assert runner.failures == 0, "".join(said)


def test_there_are_examples_where_users_begin() -> None:
    assert sum(len(examples(importlib.import_module(name))) for name in ["trialstore", *CORE]) > 10
    for name in ("trialstore", "trialstore.store", "trialstore.model.space", "trialstore.model.metric"):
        assert examples(importlib.import_module(name)), name
