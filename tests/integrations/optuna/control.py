"""A negative control: the suite of Optuna's wheel on a storage whose methods raise. None of its tests may pass."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from trialstore.integrations.optuna import TrialStoreStorage


class Broken(TrialStoreStorage):
    pass


def _broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the storage is broken on purpose")


for _name in BaseStorage.__abstractmethods__:
    setattr(Broken, _name, _broken)


class TestBroken(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Any) -> Any:
        return Broken(str(tmp_path / "store"))
