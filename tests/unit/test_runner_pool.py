"""Worker processes that are ended and replaced one at a time."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import psutil
import pytest

from tests.support import functions
from trialstore.model.errors import UsageError
from trialstore.runner.pool import LIMIT, ProcessPool, WorkerDiedError
from trialstore.runner.stopping import Stopped

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    with ProcessPool(2, grace_s=30) as pool:
        yield pool


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


def test_calls_are_answered_by_other_processes_that_stay(pool: ProcessPool) -> None:
    assert [pool.submit(functions.add, n, b=1).result() for n in range(3)] == [1, 2, 3]
    assert list(pool.map(functions.add, range(20), range(20))) == [2 * n for n in range(20)]
    processes = {pool.submit(functions.where).result() for _ in range(20)}
    assert len(processes) <= 2
    assert os.getpid() not in processes


def test_what_is_raised_comes_back(pool: ProcessPool) -> None:
    with pytest.raises(ValueError, match="no"):
        pool.submit(functions.fail).result()
    for function in (functions.unsendable, functions.unsendable_error):
        with pytest.raises(RuntimeError, match="cannot be sent back"):
            pool.submit(function).result()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pool.submit(lambda: 1)
    assert pool.submit(functions.add, 1).result() == 1


def test_a_process_that_dies_takes_its_call_alone(pool: ProcessPool, tmp_path: Path) -> None:
    other = pool.submit(functions.sleep, str(tmp_path / "note"))
    with pytest.raises(WorkerDiedError, match="exit code 3") as caught:
        pool.submit(functions.exit_with, 3).result()
    assert (caught.value.exit_code, caught.value.reason) == (3, None)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert pool.submit(functions.add, 1).result() == 1, "there is a new process"
    assert not other.done()
    assert pool.stop(other, "enough")
    with pytest.raises(Stopped, match="enough"):
        other.result()


@pytest.mark.parametrize("function", [functions.sleep, functions.stubborn], ids=["asked", "killed"])
def test_a_call_that_is_stopped_has_no_process_when_its_future_is_done(tmp_path: Path, function: object) -> None:
    note = tmp_path / "note"
    with ProcessPool(1, grace_s=0.2 if function is functions.stubborn else 30) as pool:
        call = pool.submit(function, str(note))  # type: ignore[arg-type]
        until(lambda: note.exists() and note.read_text() != "")
        waiting = pool.submit(functions.add, 1)
        assert pool.stop(call, "enough")
        with pytest.raises((Stopped, WorkerDiedError), match="enough"):
            call.result(60)
        assert not psutil.pid_exists(int(note.read_text()))
        assert waiting.result() == 1
        assert not pool.stop(call, "again")


@pytest.mark.parametrize("function", [functions.sleep, functions.stubborn], ids=["asked", "killed"])
def test_a_call_over_its_limit_is_stopped(tmp_path: Path, function: object) -> None:
    note = tmp_path / "note"
    with ProcessPool(1, grace_s=0.1 if function is functions.stubborn else 30) as pool:
        assert pool.submit_within(60, functions.add, 1).result() == 1
        with pytest.raises((Stopped, WorkerDiedError), match=LIMIT) as caught:
            pool.submit_within(0.05, function, str(note)).result(60)
        assert caught.value.reason == LIMIT
        assert not note.exists() or not psutil.pid_exists(int(note.read_text()))


def test_a_call_that_has_not_begun_never_does(pool: ProcessPool, tmp_path: Path) -> None:
    busy = [pool.submit(functions.sleep, str(tmp_path / f"{n}")) for n in range(2)]
    until(lambda: all((tmp_path / f"{n}").exists() for n in range(2)))
    waiting = pool.submit(functions.where)
    assert pool.stop(waiting, "enough")
    with pytest.raises(CancelledError):
        waiting.result()
    for call in busy:
        pool.stop(call, "enough")


def test_a_pool_that_is_shut_down_takes_no_more(tmp_path: Path) -> None:
    before = set(psutil.Process().children())  # servers of other tests among them
    pool = ProcessPool(1, grace_s=30)
    assert pool.submit(functions.add, 1).result() == 1
    call = pool.submit(functions.sleep, str(tmp_path / "note"))
    until((tmp_path / "note").exists)
    waiting = pool.submit(functions.add, 1)
    pool.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    pool.stop(call, "enough")
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(functions.add, 1)
    assert set(psutil.Process().children()) <= before


def test_a_pool_has_a_worker() -> None:
    for wrong in ({"workers": 0}, {"workers": 1, "grace_s": -1.0}, {"workers": 1, "grace_s": float("nan")}):
        with pytest.raises(UsageError):
            ProcessPool(**wrong)  # type: ignore[arg-type]


def play(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "script.py"
    path.write_text(script)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, path], env=env, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )


def test_a_program_that_forgets_its_pool_ends(tmp_path: Path) -> None:
    done = play(
        tmp_path,
        "from trialstore.runner.pool import ProcessPool\n"
        "from tests.support.functions import add\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPool(2)\n"
        "    print(pool.submit(add, 1).result(), pool.submit(add, 2).result())\n",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 2\n", "")


def test_a_script_without_a_guard_is_told(tmp_path: Path) -> None:
    done = play(
        tmp_path,
        "from trialstore.runner.pool import ProcessPool\n"
        "from tests.support.functions import add\n"
        "ProcessPool(1).submit(add, 1).result()\n",
    )
    assert done.returncode == 1
    assert "a worker process did not start" in done.stderr
    assert 'hint: guard what a script does with `if __name__ == "__main__":`' in done.stderr
