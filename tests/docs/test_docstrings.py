"""Every example in a docstring of the package runs and says what it does."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest
from fsspec.implementations.memory import MemoryFileSystem

import trialstore

MODULES = sorted(
    name for _, name, _ in pkgutil.walk_packages(trialstore.__path__, "trialstore.") if not name.endswith("__main__")
)


def examples(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", ["trialstore", *MODULES])
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
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
    assert sum(len(examples(importlib.import_module(name))) for name in ["trialstore", *MODULES]) > 10
    for name in ("trialstore", "trialstore.store", "trialstore.model.space", "trialstore.model.metric"):
        assert examples(importlib.import_module(name)), name
