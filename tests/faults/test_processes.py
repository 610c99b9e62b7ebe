"""Real processes and threads on one folder: no trial is claimed twice, none is lost, whatever is killed or forked."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import trialstore as ts
from tests.support.elsewhere import in_a_fork, in_a_fresh_interpreter
from tests.support.workers import (
    count_up,
    finish_and_tell,
    hold_a_trial,
    register_and_work,
    use_what_was_sent,
    work,
)

SPAWN = multiprocessing.get_context("spawn")
forks = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
DEADLINE_S = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "results")


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change places every microsecond."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def created(folder: str, trials: int, **options: Any) -> ts.Experiment:
    experiment = ts.open(folder, **options).create_experiment("tune", metrics=[ts.Metric("loss")])
    experiment.register_trials([{"x": number} for number in range(trials)])
    return experiment


def until(condition: Callable[[], Any]) -> Any:
    """The first true value of a condition; a test that waits for longer than the deadline has failed."""
    give_up_at = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < give_up_at, "waited in vain"
        pause.wait(0.01)
    return value


def test_a_worker_opened_in_passing_keeps_its_heartbeat_and_its_reports(folder: str) -> None:
    """`ts.open(...).experiment(...)`: nobody holds the store, and the experiment must not lose its session."""
    created(folder, 2)
    worker = ts.open(folder, lease_s=1.0, linger_s=0.1).experiment("tune")
    trial = worker.reserve_trial()
    assert trial is not None
    gc.collect()
    session = worker._ledger.session
    lease = f"leases/experiment=tune/{session.id.current()}.json"
    first = session.blobs.info(lease)
    assert first is not None
    blobs = session.blobs
    until(lambda: blobs.info(lease).modified_at > first.modified_at)  # type: ignore[union-attr]
    trial.report(step=1, loss=0.5)
    reader = ts.open(folder, mode="r")["tune"]
    until(lambda: reader.metrics().collect().height == 1)
    # Handles that are dropped leave nothing behind in memory.
    trial.report(step=2, loss=0.25)
    trial.success(loss=0.125)
    thread = session._thread
    assert thread is not None
    forgotten = weakref.ref(session)
    del trial, worker, session
    until(lambda: gc.collect() >= 0 and forgotten() is None)
    assert reader.metrics().filter(pl.col("step").is_not_null()).collect().height == 2
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def check_whole(experiment: ts.Experiment, trials: int) -> None:
    """Every trial has succeeded with its own result, and has its one report."""
    history = experiment.history().sort("trial").collect()
    assert history["trial"].to_list() == list(range(trials))
    assert history["status"].unique().to_list() == ["SUCCEEDED"]
    assert history["metrics"].struct.field("loss").to_list() == [float(number) for number in range(trials)]
    reports = experiment.metrics().filter(pl.col("step").is_not_null()).sort("trial").collect()
    assert reports["trial"].to_list() == list(range(trials))


def _share(folder: str, method: str) -> list[tuple[int, int]]:
    experiment = created(folder, 60)
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context(method)) as pool:
        done = [pair for result in pool.map(work, [folder] * 4) for pair in result]
    check_whole(experiment, 60)
    return done


@pytest.mark.parametrize("method", [pytest.param("fork", marks=forks), "spawn"])
def test_processes_share_the_trials_without_overlap(folder: str, method: str) -> None:
    done = in_a_fresh_interpreter(_share, folder, method)
    assert sorted(done) == [(number, 1) for number in range(60)]
    check_whole(ts.open(folder, mode="r")["tune"], 60)


def test_processes_that_create_register_and_claim_at_once(folder: str) -> None:
    with ProcessPoolExecutor(4, mp_context=SPAWN) as pool:
        results = list(pool.map(register_and_work, [folder] * 4, range(4), [15] * 4))
    assert sorted(number for numbers, _ in results for number in numbers) == list(range(60))
    assert sorted(pair for _, done in results for pair in done) == [(number, 1) for number in range(60)]
    store = ts.open(folder, mode="r")
    assert len(store) == 1
    check_whole(store["tune"], 60)
    for numbers, _ in results:
        assert numbers == sorted(numbers)


def test_compare_and_set_counts_every_step_of_every_process(folder: str) -> None:
    ts.open(folder).close()
    with ProcessPoolExecutor(3, mp_context=SPAWN) as pool:
        written = [value for result in pool.map(count_up, [folder] * 3, ["n"] * 3, [15] * 3) for value in result]
    assert sorted(written) == list(range(1, 46))
    assert ts.open(folder, mode="r").document("n") == (45, 45)


def test_flushes_and_compactions_beside_workers(folder: str) -> None:
    experiment = created(folder, 80)
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        workers = [pool.submit(work, folder, durability="process") for _ in range(2)]
        rounds = 0
        while not all(worker.done() for worker in workers) or rounds < 3:
            experiment.flush()
            experiment.compact()
            rounds += 1
        done = [pair for worker in workers for pair in worker.result()]
    assert sorted(done) == [(number, 1) for number in range(80)]
    check_whole(experiment, 80)


# Threads


def test_threads_share_one_store(folder: str, restless: None) -> None:
    experiment = created(folder, 0, durability="process")
    claimed: list[tuple[int, int]] = []
    numbers: list[int] = []

    def run(who: int) -> None:
        for number in range(10):
            numbers.append(experiment.register_trial({"who": who, "number": number}).number)
            trial = experiment.reserve_trial()
            if trial is not None:
                trial.report(step=1, loss=float(trial.number))
                trial.success(loss=float(trial.number))
                claimed.append((trial.number, trial.attempt))

    threads = [threading.Thread(target=run, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(60))
    assert sorted(claimed) == [(number, 1) for number in range(60)]
    check_whole(experiment, 60)


def test_what_a_trial_logged_is_durable_when_it_ends_whichever_thread_commits(folder: str, restless: None) -> None:
    """A look from outside, at once after the call that ends the trial, sees all its reports."""
    experiment = created(folder, 30, durability="process")
    missing: list[int] = []

    def run() -> None:
        reader = ts.open(folder, mode="r")["tune"]
        while (trial := experiment.reserve_trial()) is not None:
            for step in range(5):
                trial.report(step=step, loss=0.5)
            trial.success(loss=0.5)
            with reader._ledger.journal.view() as state:
                rows = state.manifest.rows["metrics"].rows
                if sum(row[0] == trial.number and row[3] is not None for row in rows) != 5:
                    missing.append(trial.number)

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []


# Forks and pickles


@forks
def test_a_forked_child_has_a_session_of_its_own(folder: str) -> None:
    in_a_fresh_interpreter(_sessions_on_both_sides_of_a_fork, folder)


def _sessions_on_both_sides_of_a_fork(folder: str) -> None:
    experiment = created(folder, 3)
    parent = experiment.reserve_trial()
    assert parent is not None
    parent.report(step=1, loss=0.5)  # waits in the parent's memory; its background thread runs
    session = experiment._ledger.session

    def child() -> Any:
        trial = experiment.reserve_trial()
        assert trial is not None
        trial.report(step=1, loss=1.5)
        alive = session._thread is not None and session._thread.is_alive()
        trial.success(loss=1.5)
        experiment._ledger.commit_buffered()
        return trial.number, session.id.current(), trial.worker, alive

    number, child_session, worker, alive = in_a_fork(child)
    assert number == 1
    assert child_session != session.id.current()
    assert worker != parent.worker
    assert alive
    parent.success(loss=0.5)
    last = experiment.reserve_trial()
    assert last is not None
    assert (last.number, last.attempt) == (2, 1)
    steps = experiment.metrics().filter(pl.col("step").is_not_null()).sort("trial").collect()
    assert steps.select("trial", "value").rows() == [(0, 0.5), (1, 1.5)]


@forks
def test_a_fork_while_threads_are_busy_never_hangs_or_doubles(folder: str) -> None:
    in_a_fresh_interpreter(_forks_of_busy_threads, folder)


def _forks_of_busy_threads(folder: str) -> None:
    experiment = created(folder, 10, durability="process")
    stop = threading.Event()
    done: list[int] = []

    def one_more() -> int:
        experiment.register_trial({"x": 0})
        trial = experiment.reserve_trial()
        assert trial is not None
        trial.report(step=1, loss=float(trial.number))
        trial.success(loss=float(trial.number))
        return trial.number

    def run() -> None:
        while not stop.is_set():
            done.append(one_more())

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()

    def child() -> list[int]:
        return [one_more() for _ in range(3)]

    try:
        theirs = [number for _ in range(6) for number in in_a_fork(child)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    experiment._ledger.commit_buffered()
    finished = experiment.history().filter(pl.col("status") == "SUCCEEDED").sort("trial").collect()
    assert finished["trial"].to_list() == sorted(done + theirs)
    reports = experiment.metrics().filter(pl.col("step").is_not_null()).sort("trial").collect()
    assert reports["trial"].to_list() == sorted(done + theirs)


def test_handles_may_be_sent_to_a_process_pool(folder: str) -> None:
    experiment = created(folder, 3)
    store = ts.open(folder)
    trial = experiment.reserve_trial()
    assert trial is not None
    data = pickle.dumps((store, experiment, trial))
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        session, number, worker = pool.submit(use_what_was_sent, data).result(DEADLINE_S)
    assert session not in {store._session.id.current(), experiment._ledger.session.id.current()}
    assert number == 1
    assert worker != trial.worker
    assert experiment.trial(0).metrics == {"loss": 0.5}
    assert experiment.counts == {ts.Status.PENDING: 1, ts.Status.SUCCEEDED: 2}


def test_pickled_handles_are_equal_and_share_one_session(folder: str) -> None:
    experiment = created(folder, 1)
    trial = experiment.reserve_trial()
    again, same = pickle.loads(pickle.dumps((experiment, trial)))
    assert (again, same) == (experiment, trial)
    assert again._ledger.session is same._held.ledger.session
    assert again._ledger.session.id.current() != experiment._ledger.session.id.current()


# Killed


def killed(process: Any) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join(DEADLINE_S)


def test_a_trial_of_a_killed_worker_is_finished_by_another(folder: str) -> None:
    experiment = created(folder, 2, lease_s=1.5)
    mine = experiment.reserve_trial()
    assert mine is not None
    receiver, sender = SPAWN.Pipe()
    victim = SPAWN.Process(target=hold_a_trial, args=(folder, 1.5, sender))
    victim.start()
    assert receiver.poll(DEADLINE_S)
    _, number, attempt = receiver.recv()
    assert (number, attempt) == (1, 1)
    with ts.open(folder, lease_s=1.5) as other:
        rescuer = other["tune"]
        assert rescuer.fetch_lost_trials() == []
        assert rescuer.reserve_trial() is None
        killed(victim)
        trial = until(rescuer.reserve_trial)
        assert (trial.number, trial.attempt) == (1, 2)
        assert trial.attempts[0]["reason"] == "lease expired"
        trial.success(loss=1.0)
        # The worker that lives is never taken for lost, however short its lease.
        assert rescuer.fetch_lost_trials() == []
        assert rescuer.trial(0).attempt == 1
    mine.success(loss=0.0)
    assert experiment.counts == {ts.Status.SUCCEEDED: 2}


@pytest.mark.parametrize("acknowledged", [1, 7, 23])
def test_nothing_that_was_acknowledged_before_a_kill_is_lost(folder: str, acknowledged: int) -> None:
    experiment = created(folder, 100)
    pipes, victims = [], []
    for _ in range(2):
        receiver, sender = SPAWN.Pipe()
        pipes.append(receiver)
        victims.append(SPAWN.Process(target=finish_and_tell, args=(folder, sender)))
        victims[-1].start()
        sender.close()
    told = []
    while len(told) < acknowledged:
        ready = multiprocessing.connection.wait(pipes, DEADLINE_S)
        assert ready, "nobody finished a trial"
        told += [pipe.recv() for pipe in ready]  # type: ignore[union-attr]
    for victim in victims:
        killed(victim)
    for pipe in pipes:
        try:
            while pipe.poll():
                told.append(pipe.recv())
        except EOFError:
            pass
    assert len(set(told)) == len(told)
    for number in told:
        trial = experiment.trial(number)
        assert (trial.status, trial.metrics) == (ts.Status.SUCCEEDED, {"loss": float(number)})
    rest = work(folder)
    counts = experiment.counts
    running = counts.get(ts.Status.RUNNING, 0)
    assert running <= len(victims)
    assert counts[ts.Status.SUCCEEDED] == 100 - running
    assert not {number for number, _ in rest} & set(told)
    steps = experiment.metrics().filter(pl.col("step").is_not_null()).group_by("trial").len().collect()
    assert steps["len"].max() == 1
    assert steps.height == 100 - running
