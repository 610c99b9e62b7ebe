"""`StorageTestCase` of the installed Optuna, unchanged, on each kind of place; its source's suites; and controls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from tests.integrations.optuna import own_suites
from trialstore.integrations.optuna import TrialStoreStorage

EVERY_NODE = "TRIALSTORE_OPTUNA_ALL" in os.environ
MODERATE = ("storages", "heartbeat", "server", "callbacks")


class TestFolder(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Any]:
        opened = TrialStoreStorage(str(tmp_path / "store"))
        yield opened
        opened.close()


class TestMemory(StorageTestCase):
    @pytest.fixture
    def storage(self) -> Iterator[Any]:
        opened = TrialStoreStorage(f"memory://{uuid.uuid4().hex}")
        yield opened
        opened.close()


class TestStrict(StorageTestCase):
    """Each call waits until it is durable."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Any]:
        opened = TrialStoreStorage(str(tmp_path / "store"), durability="strict")
        yield opened
        opened.close()


class TestHurriedThreads(TestFolder):
    """Threads change places every microsecond."""

    @pytest.fixture(autouse=True)
    def hurried(self) -> Iterator[None]:
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(before)


class TestBucket(StorageTestCase):
    """On S3: moto, one request at a time, and the Ceph gateway where it is installed."""

    @pytest.fixture
    def storage(self, s3_url: tuple[str, dict[str, Any]]) -> Iterator[Any]:
        url, options = s3_url
        opened = TrialStoreStorage(url, storage_options=options)
        yield opened
        opened.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", own_suites.SUITES if EVERY_NODE else MODERATE)
def test_the_suites_of_its_source(name: str) -> None:
    """Those that take a minute; all, when TRIALSTORE_OPTUNA_ALL is set."""
    ran = own_suites.run(name, whole=EVERY_NODE)
    assert ran.ends.keys() <= {"passed", "skipped", "xfailed"}, ran.text
    assert ran.ends["passed"] >= 5, ran.text
    assert ran.storages >= ran.ends["passed"] / 4, "they did not ask for a storage"


def test_the_suites_fail_when_the_storage_does() -> None:
    ran = own_suites.run("storages", TRIALSTORE_OPTUNA_CONTROL="1")
    assert "passed" not in ran.ends, ran.text
    assert ran.ends["failed"] >= 60, ran.text


def test_the_wheels_suite_fails_when_the_storage_does(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("control.py"), tmp_path / "test_control.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_control.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert " passed" not in done.stdout, done.stdout
    assert " failed" in done.stdout, done.stdout
