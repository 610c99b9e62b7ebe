"""`Experiment.acquire_algorithm_lock`: one holder, a state that is given back or left alone, a lease, and a fence."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from trialstore.algorithms import INLINE_BYTES, NAME, lock_of
from trialstore.model.errors import AlgorithmChangedError, LockAcquisitionTimeout, LostLockError, UsageError


@pytest.fixture
def experiment(tmp_path: Path) -> ts.Experiment:
    return ts.open(tmp_path / "store").create_experiment("tune", metrics=[ts.Metric("loss")])


def elsewhere(experiment: ts.Experiment) -> ts.Experiment:
    """The experiment as another session has it."""
    return ts.open(experiment._ledger.blobs.url).experiment(experiment.name)


def let_leases_run_out(experiment: ts.Experiment) -> None:
    """Age all heartbeats by a day."""
    old = time.time() - 86400
    for lease in Path(experiment._ledger.blobs.url.removeprefix("file://"), "leases").rglob("*.json"):
        os.utime(lease, (old, old))


def states(experiment: ts.Experiment) -> list[int]:
    """Sizes of the states that are kept as artifacts."""
    return sorted(experiment.artifacts().collect().filter(name=NAME)["size_bytes"].to_list())


def test_a_state_is_given_to_the_next_holder(experiment: ts.Experiment) -> None:
    with experiment.acquire_algorithm_lock() as algorithm:
        assert algorithm.state is None
        algorithm.state = {"seen": (1, 2), "best": float("inf")}
    with elsewhere(experiment).acquire_algorithm_lock() as algorithm:
        assert algorithm.state == {"seen": (1, 2), "best": float("inf")}


@pytest.mark.parametrize("large", [b"\x00\xff" * INLINE_BYTES, {"history": ["x" * INLINE_BYTES, (1, None)]}])
def test_a_large_state_is_an_artifact_and_not_in_the_journal(experiment: ts.Experiment, large: Any) -> None:
    for state in (large, [large], large):
        with experiment.acquire_algorithm_lock() as algorithm:
            algorithm.set_state(state)
        with elsewhere(experiment).acquire_algorithm_lock() as algorithm:
            assert algorithm.state == state
    journal = Path(experiment._ledger.blobs.url.removeprefix("file://"), "journal", "experiment=tune")
    assert sum(commit.stat().st_size for commit in journal.iterdir()) < 8 * INLINE_BYTES
    assert len(states(experiment)) <= 2  # the present one, and the one before it


def test_an_unchanged_state_is_not_written_again(experiment: ts.Experiment) -> None:
    for _ in range(3):
        with experiment.acquire_algorithm_lock() as algorithm:
            algorithm.state = b"s" * 10_000
    assert states(experiment) == [10_000]


def test_an_exception_leaves_the_state_as_it_was_and_frees_the_lock(experiment: ts.Experiment) -> None:
    with experiment.acquire_algorithm_lock() as algorithm:
        algorithm.state = 1
    with contextlib.suppress(ZeroDivisionError), experiment.acquire_algorithm_lock() as algorithm:
        algorithm.state = 2
        raise ZeroDivisionError
    with elsewhere(experiment).acquire_algorithm_lock(timeout=0) as algorithm:
        assert algorithm.state == 1


def test_reset_takes_a_change_back(experiment: ts.Experiment) -> None:
    with experiment.acquire_algorithm_lock() as algorithm:
        algorithm.state = 2
        algorithm.reset()
        assert algorithm.state is None
    assert lock_of(experiment._ledger).info().state is None  # type: ignore[union-attr]


def test_who_waits_too_long_is_told_so(experiment: ts.Experiment) -> None:
    with experiment.acquire_algorithm_lock():
        for other in (experiment, elsewhere(experiment)):
            with (
                pytest.raises(LockAcquisitionTimeout, match="locked"),
                other.acquire_algorithm_lock(timeout=0.02, retry_interval=0.01),
            ):
                pytest.fail("it is held")


def test_who_waits_gets_it_when_it_is_free(experiment: ts.Experiment) -> None:
    entered = threading.Event()
    got: list[Any] = []

    def wait() -> None:
        entered.set()
        with elsewhere(experiment).acquire_algorithm_lock(timeout=60, retry_interval=0.001) as algorithm:
            got.append(algorithm.state)

    thread = threading.Thread(target=wait)
    with experiment.acquire_algorithm_lock() as algorithm:
        thread.start()
        assert entered.wait(60)
        algorithm.state = "first"
    thread.join(60)
    assert got == ["first"]


def test_eight_threads_of_two_sessions_count_without_losing_one(experiment: ts.Experiment) -> None:
    def count(mine: ts.Experiment) -> None:
        for _ in range(5):
            with mine.acquire_algorithm_lock(timeout=60, retry_interval=0.001) as algorithm:
                algorithm.state = (algorithm.state or 0) + 1

    other = elsewhere(experiment)
    threads = [threading.Thread(target=count, args=(one,)) for one in (experiment, other) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert lock_of(experiment._ledger).info().state == 40  # type: ignore[union-attr]


def test_a_holder_whose_lease_ran_out_loses_the_lock_and_cannot_write(experiment: ts.Experiment) -> None:
    slow = elsewhere(experiment)
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(LostLockError, match="no longer locked"))
        late = stack.enter_context(slow.acquire_algorithm_lock())
        late.state = b"late" * INLINE_BYTES
        let_leases_run_out(experiment)
        with experiment.acquire_algorithm_lock(timeout=0) as algorithm:
            algorithm.state = "new"
            assert algorithm.fence > late.fence
    assert lock_of(experiment._ledger).info().state == "new"  # type: ignore[union-attr]
    assert states(experiment) == []  # what was written too late has no row


def test_a_lock_that_is_released_by_force_is_lost(experiment: ts.Experiment) -> None:
    lock = lock_of(elsewhere(experiment)._ledger)
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(LostLockError))
        algorithm = stack.enter_context(experiment.acquire_algorithm_lock())
        algorithm.state = 1
        info = lock.info()
        assert info is not None
        assert (info.locked, info.worker) == (True, experiment._ledger.session.worker)
        assert lock.release()
        assert not lock.release()
    assert lock.release(7) is False
    assert lock.info().state == 7  # type: ignore[union-attr]


def test_a_lock_can_be_made_once_and_deleted(experiment: ts.Experiment) -> None:
    lock = lock_of(experiment._ledger)
    assert lock.info() is None
    assert not lock.delete()
    with pytest.raises(LockAcquisitionTimeout, match="no algorithm lock"), lock.acquire(timeout=0):
        pytest.fail("there is none")
    assert lock.initialize({"random": {"seed": 1}}, b"x" * 10_000)
    assert not lock.initialize({"other": {}})
    with lock.acquire() as algorithm:
        assert algorithm.configuration == {"random": {"seed": 1}}
        assert algorithm.state == b"x" * 10_000
        algorithm.state = b"y" * 10_000
    assert lock.delete()
    assert lock.info() is None
    assert states(experiment) == []


def test_a_state_that_cannot_be_stored_is_refused_and_frees_the_lock(experiment: ts.Experiment) -> None:
    with pytest.raises(UsageError, match="stored exactly"), experiment.acquire_algorithm_lock() as algorithm:
        algorithm.state = object()
    with experiment.acquire_algorithm_lock(timeout=0) as algorithm:
        assert algorithm.state is None


@pytest.mark.parametrize("times", [{"timeout": -1}, {"retry_interval": -1}])
def test_times_are_not_negative(experiment: ts.Experiment, times: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="negative"), experiment.acquire_algorithm_lock(**times):
        pytest.fail("it was acquired")


class Counting:
    """An algorithm as Oríon's are: a configuration, and a state that is set and asked for."""

    def __init__(self, step: int) -> None:
        self.configuration = {"counting": {"step": step}}
        self.step, self.count = step, 0

    @property
    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def set_state(self, state: dict[str, int]) -> None:
        self.count = state["count"]


def test_an_algorithm_comes_with_its_state(experiment: ts.Experiment) -> None:
    for mine in (experiment, elsewhere(experiment)):
        mine.algorithms = Counting(2)
        with mine.acquire_algorithm_lock() as algorithm:
            assert algorithm is mine.algorithms
            algorithm.count += algorithm.step
    assert lock_of(experiment._ledger).info().state == {"count": 4}  # type: ignore[union-attr]


def test_an_algorithm_that_is_configured_otherwise_is_refused(experiment: ts.Experiment) -> None:
    experiment.algorithms = Counting(1)
    with experiment.acquire_algorithm_lock():
        pass
    experiment.algorithms = Counting(2)
    with pytest.raises(RuntimeError, match="configuration changed") as refusal, experiment.acquire_algorithm_lock():
        pytest.fail("it was acquired")
    assert isinstance(refusal.value, AlgorithmChangedError)
    experiment.algorithms = Counting(1)
    with experiment.acquire_algorithm_lock(timeout=0):
        pass


HOLDER = """
import sys
import trialstore as ts
with ts.open(sys.argv[1]).experiment("tune").acquire_algorithm_lock() as algorithm:
    algorithm.state = "half done"
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_holder_that_is_killed_leaves_the_state_and_then_the_lock(experiment: ts.Experiment) -> None:
    with experiment.acquire_algorithm_lock() as algorithm:
        algorithm.state = "whole"
    command = [sys.executable, "-c", HOLDER, experiment._ledger.blobs.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        child.kill()
    lock = lock_of(experiment._ledger)
    with pytest.raises(LockAcquisitionTimeout), lock.acquire(timeout=0):
        pytest.fail("its lease has not run out")
    let_leases_run_out(experiment)
    with lock.acquire(timeout=0) as algorithm:
        assert algorithm.state == "whole"
