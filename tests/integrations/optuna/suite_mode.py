"""A pytest plugin under which Optuna's own suites, unchanged, run on a store: it is the only storage that they find.

    pytest -p suite_mode tests/storages_tests/test_storages.py       in Optuna's source tree, this folder on PYTHONPATH

Whatever storage a test asks `StorageSupplier` for, by any name, is a `TrialStoreStorage`; so is the one that
`create_study` makes when it is given none. It must be in place before a conftest of the suite imports Optuna's lists of
storages, hence `pytest_load_initial_conftests`.

TRIALSTORE_OPTUNA_PLACE: ``folder`` (the default) or ``memory``.
TRIALSTORE_OPTUNA_CONTROL=1: each method of the storage raises. A suite that passes even then tests something else.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import uuid
from contextlib import contextmanager
from typing import Any, Self

import pytest

CONTROL = os.environ.get("TRIALSTORE_OPTUNA_CONTROL") == "1"
PLACE = os.environ.get("TRIALSTORE_OPTUNA_PLACE", "folder")

made: list[Any] = []
"""A mark for each storage that was handed to a test."""

beside: list[Any] = []
"""The storage in whose store the artifacts of a test lie; `create_study` and `InMemoryStorage` are it."""


class BrokenError(Exception):
    """What each method of a storage raises in the negative control."""


def fresh(**how: Any) -> tuple[Any, str]:
    """A storage on an empty place, and the folder to remove afterwards."""
    from trialstore.integrations.optuna import TrialStoreStorage

    made.append(None)
    folder = tempfile.mkdtemp(prefix="trialstore-optuna-")
    place = f"{folder}/store" if PLACE == "folder" else f"memory://{uuid.uuid4().hex}"
    return TrialStoreStorage(place, **how), folder


def install() -> None:
    import optuna
    from optuna.testing import storages as supplied

    from trialstore.integrations.optuna import TrialStoreStorage

    if CONTROL:
        _break(TrialStoreStorage)

    supplied.STORAGE_MODES[:] = ["trialstore"]
    supplied.STORAGE_MODES_HEARTBEAT[:] = ["trialstore"]
    enter, leave = supplied.StorageSupplier.__enter__, supplied.StorageSupplier.__exit__

    def __enter__(self: Any) -> Any:  # noqa: N807
        if self.storage_specifier == "grpc_proxy":
            return enter(self)
        how = {name: value for name, value in self.extra_args.items() if name not in ("redis", "file", "thread_pool")}
        file = self.extra_args.get("file")
        if isinstance(file, StoreInTheWay):
            made.append(None)
            self.storage, self.trialstore_folder = TrialStoreStorage(file.name), file.folder
        else:
            self.storage, self.trialstore_folder = fresh(**how)
        return self.storage

    def __exit__(self: Any, *error: Any) -> None:  # noqa: N807
        if not hasattr(self, "trialstore_folder"):
            leave(self, *error)
            return
        self.storage.close()
        shutil.rmtree(self.trialstore_folder, ignore_errors=True)

    supplied.StorageSupplier.__enter__ = __enter__
    supplied.StorageSupplier.__exit__ = __exit__

    get_storage = optuna.storages.get_storage

    def in_a_store(storage: Any) -> Any:
        if storage is not None:
            return get_storage(storage)
        made.append(None)
        return beside[-1] if beside else TrialStoreStorage(f"memory://{uuid.uuid4().hex}")

    optuna.storages.get_storage = in_a_store


def _break(storage: type) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise BrokenError("the storage is broken on purpose")

    from optuna.storages import BaseStorage

    for name in sorted(BaseStorage.__abstractmethods__):
        setattr(storage, name, broken)


def artifacts_in_a_store(folder: Any) -> Any:
    """Stands for `FileSystemArtifactStore`: the artifacts of a test lie in the store that has its studies."""
    from trialstore.integrations.optuna import TrialStoreArtifactStore, TrialStoreStorage

    beside.append(TrialStoreStorage(os.path.join(folder, "store")))
    return TrialStoreArtifactStore(beside[-1])


def artifacts_in_memory() -> Any:
    """Stands for the `InMemoryArtifactStore` of the suite."""
    from trialstore.integrations.optuna import TrialStoreArtifactStore

    return TrialStoreArtifactStore(f"memory://{uuid.uuid4().hex}")


class StoreInTheWay:
    """Stands for `NamedTemporaryFilePool` of the command line's tests: its name is free, for a store to be made at."""

    def __enter__(self) -> Self:
        self.folder = tempfile.mkdtemp(prefix="trialstore-optuna-")
        self.name = f"{self.folder}/store"
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def one_place() -> Any:
    """Stands for `get_storage` of the suite for servers: all of its tests, and their processes, share one place."""
    from trialstore.integrations.optuna import TrialStoreStorage

    storage = TrialStoreStorage(os.environ["TRIALSTORE_OPTUNA_SERVER"])
    made.append(None)
    try:
        yield storage
    finally:
        storage.close()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(args: list[str]) -> None:
    sys.setswitchinterval(float(os.environ.get("TRIALSTORE_OPTUNA_SWITCH_S", "0.005")))
    install()


def pytest_collection_finish(session: pytest.Session) -> None:
    """What some modules name themselves: servers, classes of Optuna, and the program that they start."""
    import optuna

    from trialstore.integrations.optuna import TrialStoreArtifactStore, TrialStoreStorage

    for module in {item.module for item in session.items if isinstance(item, pytest.Function)}:
        _, _, name = module.__name__.rpartition(".")
        if name == "test_with_server":
            module.get_storage = one_place
        if name == "test_heartbeat":
            module.RDBStorage = TrialStoreStorage
        if name == "test_cli":
            module.JournalStorage, module.NamedTemporaryFilePool = TrialStoreStorage, StoreInTheWay
            optuna.storages.JournalStorage = TrialStoreStorage  # `JournalStorage(JournalFileBackend(path))` is a store
            optuna.storages.journal.JournalFileBackend = str
            _stand_in_the_path()
        if name == "test_filesystem":
            module.FileSystemArtifactStore = TrialStoreArtifactStore
        if name == "test_backoff":
            module.InMemoryArtifactStore = artifacts_in_memory
        if name in ("test_download_artifact", "test_list_artifact_meta", "test_upload_artifact"):
            module.FileSystemArtifactStore = artifacts_in_a_store
            optuna.storages.InMemoryStorage = lambda: optuna.storages.get_storage(None)
        if "visualization_tests" in module.__name__ and importlib.util.find_spec("kaleido") is None:
            _figures_without_images()


def _figures_without_images() -> None:
    """A figure is drawn by a browser, through kaleido; without it what there is to draw is made, and not drawn."""
    from plotly.basedatatypes import BaseFigure

    BaseFigure.write_image = lambda self, *_, **__: self.to_json()


def _stand_in_the_path() -> None:
    """The program `optuna` of the tests' processes is the one that knows stores."""
    folder = tempfile.mkdtemp(prefix="trialstore-optuna-bin-")
    program = os.path.join(folder, "optuna")
    with open(program, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec "{sys.executable}" -m trialstore.integrations.optuna optuna "$@"\n')
    os.chmod(program, 0o755)
    os.environ["PATH"] = os.pathsep.join([folder, os.environ["PATH"]])


def pytest_sessionfinish() -> None:
    folder = os.environ.get("TRIALSTORE_OPTUNA_COUNTS")
    if folder:
        with open(os.path.join(folder, str(os.getpid())), "w", encoding="utf-8") as file:
            file.write(str(len(made)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"trialstore: a storage was handed out {len(made)} times")
