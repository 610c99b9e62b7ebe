"""No backend of the project goes without the suites, and nothing but the suites needs pytest."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import trialstore.blobs
from tests.contract import test_blobs, test_stores
from tests.support.servers import BUCKET_SERVERS
from trialstore.blobs.anywhere import AnywhereBlobs
from trialstore.blobs.memory import MemoryBlobs
from trialstore.blobs.protocol import Blobs, DiskBlobs
from trialstore.blobs.reading import ReadingBlobs
from trialstore.blobs.resolve import _BUCKETS
from trialstore.model.errors import ReadOnlyError, UnsafeBackendError
from trialstore.testing import BlobsContract, StoreContract

REFUSING = {AnywhereBlobs, ReadingBlobs}
"""These have all methods and refuse to create, so that no store is kept on them."""

PROTOCOLS = {Blobs, DiskBlobs}
MEMBERS = {name for name in vars(Blobs) if not name.startswith("_")}
PACKAGE = Path(trialstore.__path__[0])


def backends() -> set[type]:
    """The classes of `trialstore.blobs` that have all that `Blobs` has."""
    modules = [
        importlib.import_module(f"trialstore.blobs.{module.name}")
        for module in pkgutil.iter_modules(trialstore.blobs.__path__)
    ]
    found = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return {kind for kind in found - PROTOCOLS if all(hasattr(kind, name) for name in MEMBERS)}


@pytest.mark.parametrize(("suite", "module"), [(BlobsContract, test_blobs), (StoreContract, test_stores)])
def test_every_backend_runs_under_both_suites(suite: type, module: object) -> None:
    tests = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, suite)]
    assert backends() - REFUSING <= {getattr(test, "backend", None) for test in tests}
    assert MemoryBlobs in backends()


def test_what_is_left_out_refuses_to_create() -> None:
    inner = MemoryBlobs("left-out")
    with pytest.raises(UnsafeBackendError):
        AnywhereBlobs("memory://left-out", {}).create("a", b"1")
    with pytest.raises(ReadOnlyError):
        ReadingBlobs(inner).create("a", b"1")
    assert list(inner.list("")) == []


def test_every_scheme_of_a_bucket_runs_on_a_server() -> None:
    assert set(_BUCKETS.values()) == set(BUCKET_SERVERS.values())


def test_only_the_suites_import_pytest() -> None:
    for path in PACKAGE.rglob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
        if path.is_relative_to(PACKAGE / "testing"):
            continue
        assert not [name for name in names if name.startswith(("pytest", "trialstore.testing"))], path
