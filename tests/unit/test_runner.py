"""Trials on worker processes: claimed there, ended there, and ended for them when their process is gone."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

import trialstore as ts
from tests.support import functions
from trialstore.model.errors import ConflictError, TransitionError, UsageError
from trialstore.runner.runner import Runner

ROOT = Path(__file__).parents[2]
Status = ts.Status


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ts.Store]:
    with ts.open(tmp_path / "store", durability="process") as store:
        yield store


@pytest.fixture
def experiment(store: ts.Store) -> ts.Experiment:
    return store.create_experiment("run", metrics=[ts.Metric("loss")])


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


def noted(path: Path) -> int:
    """Which process evaluates the trial that leaves a note, once it does."""
    until(path.exists)
    return int(path.read_text())


def statuses(experiment: ts.Experiment) -> list[str]:
    return [trial.status.name for trial in experiment.trials()]


def test_each_process_has_a_session_of_its_own_and_what_it_found_is_there(
    store: ts.Store, experiment: ts.Experiment, tmp_path: Path
) -> None:
    experiment.register_trials([{"note": str(tmp_path / f"{n}"), "until": str(tmp_path / "go")} for n in range(2)])
    with Runner(functions.waits, workers=2) as runner:
        assert runner.poll_available_capacity() == 2
        trials = list(experiment.trials())
        metadata = runner.run_multiple(trials)
        assert {number: facts["trial"] for number, facts in metadata.items()} == {0: 0, 1: 1}
        assert json.loads(json.dumps(metadata))["0"]["experiment"] == "run"
        assert set(runner.run_metadata_report_keys) <= metadata[0].keys()
        assert runner.staging_required is False
        assert runner.poll_available_capacity() == 0
        processes = {noted(tmp_path / "0"), noted(tmp_path / "1")}
        assert runner.poll_trial_status(trials) == {Status.RUNNING: {0, 1}}
        with experiment._ledger.journal.view() as state:
            sessions = {state.trials[n].session for n in range(2)}
        assert len(sessions | {store._session.id.current()}) == 3
        assert {trial.worker.rpartition(":")[2] for trial in trials if trial.worker} == set(map(str, processes))
        (tmp_path / "go").touch()
        while runner.poll_available_capacity() < 2:
            runner.wait(60)
        assert runner.poll_trial_status(trials) == {Status.SUCCEEDED: {0, 1}}
        assert {trial.metrics["loss"] for trial in trials} == processes
        assert [runner.poll_exception(trial) for trial in trials] == ["", ""]
        assert experiment.metrics().collect()["name"].to_list() == ["begun", "begun"]


def test_what_a_function_returns_or_does_ends_its_trial(experiment: ts.Experiment, tmp_path: Path) -> None:
    experiment.register_trials([{"x": x} for x in ("nothing", "text", "unknown", "none", "nan")])
    ran = experiment.run(functions.returns, workers=1)
    assert statuses(experiment) == ["CRASHED", "CRASHED", "CRASHED", "CRASHED", "SUCCEEDED"]
    assert list(ran.trials) == [0, 1, 2, 3, 4]
    assert ran.counts == {Status.CRASHED: 4, Status.SUCCEEDED: 1}
    said = [str(trial.exception) for trial in experiment.trials()]
    for text, expected in zip(
        said,
        ("returned None, and did not end", "returned no metrics", "did you mean 'loss'", "'loss' is missing"),
        strict=False,
    ):
        assert expected in text
    assert experiment.trial(4).metrics["loss"] != experiment.trial(4).metrics["loss"]
    experiment.register_trial({"x": 0})
    assert experiment.run(functions.ends_itself, workers=0).trials == {5: Status.PRUNED}
    experiment.register_trial({"x": 0})
    assert experiment.run(functions.gives_back, workers=0, n_trials=1).trials == {6: Status.SUSPENDED}
    assert experiment.trial(6).attempt == 1


def test_what_a_function_is_given(store: ts.Store, experiment: ts.Experiment) -> None:
    experiment.register_trials([{"x": 2.0}, {"x": 3.0}])
    assert experiment.run("tests.support.functions:square", takes="keywords", n_trials=1, workers=1).trials == {
        0: Status.SUCCEEDED
    }
    assert experiment.run(functions.metrics_of, takes="params", workers=0).trials == {1: Status.SUCCEEDED}
    assert [trial.metrics["loss"] for trial in experiment.trials()] == [4.0, 3.5]
    two = store.create_experiment("two", metrics=[ts.Metric("a"), ts.Metric("b")])
    two.register_trial({"x": 1.0})
    two.run(functions.square, takes="keywords", workers=0)
    assert "a mapping of metrics" in str(two.trial(0).exception)


def test_an_exception_is_kept_with_its_traceback_and_what_was_logged(experiment: ts.Experiment) -> None:
    experiment.register_trial({"x": 7})
    with Runner(functions.raises, workers=1) as runner:
        trial = experiment.trial(0)
        runner.run(trial)
        runner.wait(60)
        assert runner.poll_trial_status([trial]) == {Status.CRASHED: {0}}
        assert runner.poll_exception(trial).endswith("ValueError: x is 7\n")
        assert "in raises" in runner.poll_exception(trial)
    assert experiment.metrics().collect().select("name", "value").rows() == [("before", 1.5)]


def test_a_trial_over_its_time_limit_has_no_process_any_more(experiment: ts.Experiment, tmp_path: Path) -> None:
    notes = [tmp_path / "a", tmp_path / "b"]
    experiment.register_trials([{"note": str(note)} for note in notes])
    for function, grace_s in ((functions.hangs, 30.0), (functions.hangs_for_good, 0.2)):
        with Runner(function, workers=1, time_limit_s=0.3, grace_s=grace_s) as runner:
            trial = experiment.trial(0 if function is functions.hangs else 1)
            runner.run(trial)
            (outcome,) = runner.wait(60)
            assert outcome.status is Status.TIMED_OUT
            note = notes[trial.number]
            assert not note.exists() or not psutil.pid_exists(int(note.read_text()))
            assert runner.poll_trial_status([trial]) == {Status.TIMED_OUT: {trial.number}}
    history = experiment.status_history().collect()
    assert history.filter(history["status"] == "TIMED_OUT")["reason"].to_list() == ["time limit"] * 2
    assert [trial.attempt for trial in experiment.trials()] == [1, 1]


def test_a_trial_whose_process_dies_has_crashed_and_others_go_on(experiment: ts.Experiment) -> None:
    experiment.register_trials([{"x": n} for n in range(4)])
    ran = experiment.run(functions.dies, workers=2, retries=1)
    assert dict(sorted(ran.trials.items())) == {
        0: Status.SUCCEEDED,
        1: Status.CRASHED,
        2: Status.SUCCEEDED,
        3: Status.CRASHED,
        4: Status.CRASHED,
        5: Status.CRASHED,
    }
    assert {experiment.trial(n).parent for n in (4, 5)} == {1, 3}
    assert "exit code -9" in str(experiment.trial(1).exception)
    with experiment._ledger.journal.view() as state:
        assert not state.active


def test_a_failed_trial_is_tried_again_as_its_child(store: ts.Store) -> None:
    experiment = store.create_experiment(
        "again", metrics=[ts.Metric("loss")], space={"x": ts.Real(0, 1), "epochs": ts.Fidelity(1, 9)}
    )
    experiment.register_trial({"x": 0.5}, name="first", seed=0, fidelity={"epochs": 3}, attributes={"tag": "a"})
    ran = experiment.run(functions.raises_at_first, workers=0, retries=3, n_trials=1)
    assert ran.trials == {0: Status.CRASHED, 1: Status.SUCCEEDED}
    assert ran.retried == {0: 1}
    again = experiment.trial(1)
    assert (again.parent, again.seed, again.fidelity, again.name) == (0, 0, {"epochs": 3}, "first")
    assert dict(again.attributes) == {"tag": "a", "retry": 1}
    experiment.register_trial({"x": 0.5})
    ran = experiment.run(functions.raises, workers=0, retries=2)
    assert ran.retried == {2: 3, 3: 4}
    assert [trial.parent for trial in experiment.trials()] == [None, 0, None, 2, 3]
    assert len(ran.trials) == 3
    strict = store.create_experiment("strict", repeats=False)
    with pytest.raises(UsageError, match="allows no repeats"):
        strict.run(functions.raises, retries=1)


def test_stopping_a_trial_ends_it_for_good(experiment: ts.Experiment, tmp_path: Path) -> None:
    experiment.register_trials([{"note": str(tmp_path / f"{n}")} for n in range(3)])
    one, two, three = experiment.trials()
    with Runner(functions.hangs, workers=1) as runner:
        runner.run_multiple([one, two])
        process = noted(tmp_path / "0")
        assert runner.stop(two, "not needed")["reason"] == "not needed"
        stopped = runner.stop(one, "looks bad")
        assert json.loads(json.dumps(stopped))["reason"] == "looks bad"
        assert not psutil.pid_exists(process)
        runner.stop(three)
        assert runner.poll_trial_status([one, two, three]) == {Status.CANCELED: {0, 1, 2}}
        assert runner.poll_available_capacity() == 1
        runner.stop(one)
    history = experiment.status_history(0).collect()
    assert history["status"].to_list() == ["PENDING", "RUNNING", "CANCELED"]
    assert history["reason"].to_list()[-1] == "looks bad"
    assert experiment.metrics(0).collect()["name"].to_list() == ["begun"], "what it logged is kept"
    assert not (tmp_path / "1").exists()


def test_stopping_leaves_alone_what_another_evaluates(store: ts.Store, experiment: ts.Experiment) -> None:
    experiment.register_trial({"x": 1})
    mine = experiment.trial(0)
    other = experiment.reserve_trial()
    assert other is not None
    with Runner(functions.hangs, workers=1) as runner:
        runner.stop(mine)
        with pytest.raises(TransitionError, match="cannot be handed"):
            runner.run(experiment.trial(0))
    assert mine.refresh().status is Status.RUNNING
    other.success(loss=1)


def test_a_trial_that_another_took_first_is_left_alone(experiment: ts.Experiment) -> None:
    experiment.register_trial({"x": 1})
    seen = experiment.trial(0)
    other = experiment.reserve_trial()
    assert other is not None
    with Runner(functions.process, workers=0) as runner:
        runner.run(seen)
        (outcome,) = runner.settle()
    assert outcome.status is None
    assert seen.refresh().attempt == 1
    other.success(loss=1)


def test_two_runs_share_a_queue(tmp_path: Path, experiment: ts.Experiment) -> None:
    experiment.register_trials([{"x": n} for n in range(30)])
    results: list[Any] = []

    def work() -> None:
        with ts.open(tmp_path / "store", durability="process") as store:
            results.append(store["run"].run(functions.process, workers=0))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for ran in results for number in ran.trials) == list(range(30))
    assert {trial.attempt for trial in experiment.trials()} == {1}


def test_a_number_of_trials_is_drawn_from_the_space(store: ts.Store) -> None:
    space = {"x": ts.Real(-1, 1), "kind": ts.Categorical(["a", "b"]), "epochs": ts.Fidelity(1, 9)}
    drawn = []
    for name in ("one", "two"):
        experiment = store.create_experiment(name, metrics=[ts.Metric("loss")], space=space)
        experiment.register_trial({"x": 0.5, "kind": "a"})
        ran = experiment.run(functions.process, n_trials=3, workers=0)
        assert list(ran.trials) == [0, 1, 2]
        experiment.run(functions.process, n_trials=2, workers=0)
        drawn.append([dict(trial.params) for trial in experiment.trials()])
        assert experiment.trial(4).fidelity == {"epochs": 9}
    assert drawn[0] == drawn[1]
    assert len({params["x"] for params in drawn[0]}) == 5, "a second run goes on"
    other = store.create_experiment("other", metrics=[ts.Metric("loss")], space=space)
    other.run(functions.process, n_trials=5, workers=0, seed=1)
    assert dict(other.trial(1).params) != drawn[0][1]


def test_another_may_be_asked_for_trials(experiment: ts.Experiment) -> None:
    asked = iter([{"x": 1}, {"x": 2}, None, {"x": 3}])
    ran = experiment.run(functions.process, n_trials=9, workers=0, ask=lambda: next(asked))
    assert [dict(trial.params) for trial in experiment.trials()] == [{"x": 1}, {"x": 2}]
    assert len(ran.trials) == 2
    with pytest.raises(UsageError, match="must return a mapping"):
        experiment.run(functions.process, n_trials=1, workers=0, ask=lambda: [1])  # type: ignore[arg-type,return-value]
    with pytest.raises(UsageError, match="not so many trials"):
        experiment.run(functions.process, n_trials=1, workers=0)


def test_a_run_ends_when_the_experiment_does(store: ts.Store) -> None:
    experiment = store.create_experiment("done", metrics=[ts.Metric("loss")], max_trials=3, max_broken=2)
    experiment.register_trials([{"x": n} for n in range(8)])
    ran = experiment.run(functions.process, workers=0)
    assert (len(ran.trials), ran.stopped) == (3, "max_trials reached")
    store.update_experiment("done", max_trials=None)
    ran = store["done"].run(functions.raises, workers=0)
    assert (len(ran.trials), ran.stopped) == (2, "max_broken reached")
    assert statuses(experiment)[5:] == ["PENDING"] * 3


def test_threads_run_trials_too(experiment: ts.Experiment, tmp_path: Path) -> None:
    experiment.register_trials([{"x": n} for n in range(6)])
    with ThreadPoolExecutor(2) as threads:
        ran = experiment.run(functions.process, executor=threads)
        assert ran.counts == {Status.SUCCEEDED: 6}
        assert {trial.metrics["loss"] for trial in experiment.trials()} == {float(os.getpid())}
        experiment.register_trial({"note": str(tmp_path / "note")})
        assert experiment.run(functions.hangs_for_good, executor=threads, time_limit_s=0.5, workers=1).trials == {
            6: Status.TIMED_OUT
        }


def test_an_executor_that_cannot_stop_a_trial_loses_it(experiment: ts.Experiment, tmp_path: Path) -> None:
    experiment.register_trials([{"note": str(tmp_path / f"{n}"), "until": str(tmp_path / "go")} for n in range(3)])
    with ThreadPoolExecutor(1) as threads, Runner(functions.waits, executor=threads, workers=3) as runner:
        trials = list(experiment.trials())
        runner.run_multiple(trials)
        noted(tmp_path / "0")
        runner.interrupt("enough")
        assert runner.poll_trial_status(trials) == {Status.INTERRUPTED: {0}, Status.PENDING: {1, 2}}
        (tmp_path / "go").touch()
    trial = experiment.trial(0)
    assert trial.status is Status.INTERRUPTED
    assert trial.attempts[0]["late"]["metrics"] == {"loss": float(os.getpid())}


def test_ctrl_c_gives_trials_back_and_the_next_run_goes_on(tmp_path: Path, experiment: ts.Experiment) -> None:
    experiment.register_trials([{"note": str(tmp_path / f"{n}"), "until": str(tmp_path / "go")} for n in range(4)])
    script = (
        "import trialstore as ts\n"
        "from tests.support import functions\n"
        "if __name__ == '__main__':\n"
        f"    with ts.open({str(tmp_path / 'store')!r}, durability='process') as store:\n"
        "        store['run'].run(functions.waits, workers=2)\n"
    )
    (tmp_path / "script.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    workers = [noted(tmp_path / "0"), noted(tmp_path / "1")]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, the workers as well
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert said.decode().rstrip().endswith("KeyboardInterrupt")
    assert said.count(b"Traceback") == 1, "the workers have nothing to say"
    assert not any(psutil.pid_exists(worker) for worker in workers)
    assert statuses(experiment) == ["INTERRUPTED", "INTERRUPTED", "PENDING", "PENDING"]
    (tmp_path / "go").touch()
    assert experiment.run(functions.waits, workers=1).counts == {Status.SUCCEEDED: 4}
    assert [trial.attempt for trial in experiment.trials()] == [2, 2, 1, 1]


def test_a_killed_runner_leaves_what_its_workers_find(tmp_path: Path, experiment: ts.Experiment) -> None:
    experiment.register_trials([{"note": str(tmp_path / f"{n}"), "until": str(tmp_path / "go")} for n in range(3)])
    script = (
        "import trialstore as ts\n"
        "from tests.support import functions\n"
        "if __name__ == '__main__':\n"
        f"    ts.open({str(tmp_path / 'store')!r}, durability='process')['run'].run(functions.waits, workers=2)\n"
    )
    (tmp_path / "script.py").write_text(script)
    process = subprocess.Popen([sys.executable, tmp_path / "script.py"], env={**os.environ, "PYTHONPATH": str(ROOT)})
    workers = [noted(tmp_path / "0"), noted(tmp_path / "1")]
    process.kill()
    process.wait()
    (tmp_path / "go").touch()
    until(lambda: not any(psutil.pid_exists(worker) for worker in workers))
    assert statuses(experiment) == ["SUCCEEDED", "SUCCEEDED", "PENDING"]


def test_a_runner_is_made_again_from_what_json_says_of_it(store: ts.Store) -> None:
    runner = Runner(functions.square, workers=2, time_limit_s=1.5, takes="keywords", grace_s=1)
    said = Runner.serialize_init_args(runner)
    assert (
        json.loads(json.dumps(said))
        == said
        == {
            "function": "tests.support.functions:square",
            "workers": 2,
            "time_limit_s": 1.5,
            "takes": "keywords",
            "grace_s": 1,
        }
    )
    again = Runner(**Runner.deserialize_init_args(said))
    assert Runner.serialize_init_args(again) == said
    assert runner.clone() == runner != again
    assert hash(runner.clone()) == hash(runner)
    with pytest.raises(UsageError, match="no name"):
        Runner.serialize_init_args(Runner(lambda trial: 1, workers=0))
    with ThreadPoolExecutor(1) as threads, pytest.raises(UsageError, match="on an executor"):
        Runner.serialize_init_args(Runner(functions.square, executor=threads))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": 3}, "not a function"),
        ({"function": "no colon"}, "not the name of a function"),
        ({"function": "nowhere.to.be.found:f"}, "cannot be found"),
        ({"function": "tests.support.functions:nothing"}, "cannot be found"),
        ({"function": "tests.support.functions:ROOT"}, "cannot be found"),
        ({"function": lambda trial: 1}, "cannot be sent"),
        ({"workers": -1}, "workers must be"),
        ({"workers": True}, "workers must be"),
        ({"workers": 0, "executor": ThreadPoolExecutor(1)}, "workers must be"),
        ({"time_limit_s": 0}, "above 0"),
        ({"time_limit_s": float("nan")}, "above 0"),
        ({"time_limit_s": 1, "workers": 0}, "no time limit"),
        ({"takes": "args"}, "what a function can take"),
        ({"grace_s": -1}, "grace"),
    ],
    ids=itertools.count(),  # a function's text has an address in it, which no two processes share
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Runner(**{"function": functions.square, **arguments})


def test_wrong_calls_are_refused_before_anything_runs(
    experiment: ts.Experiment, store: ts.Store, tmp_path: Path
) -> None:
    experiment.register_trial({"x": 1})
    for arguments in ({"n_trials": 0}, {"n_trials": 1.0}, {"retries": -1}, {"retries": 1.5}):
        with pytest.raises(UsageError, match="must be a whole number"):
            experiment.run(functions.process, workers=0, **arguments)  # type: ignore[arg-type]
    with ts.open("memory://runner") as memory:
        inside = memory.create_experiment("run", metrics=[ts.Metric("loss")])
        inside.register_trial({"x": 1.0})
        with pytest.raises(UsageError, match="cannot see a store in this process's memory"):
            inside.run(functions.process)
        assert inside.run(functions.process, workers=0).trials == {0: Status.SUCCEEDED}
    with ts.open(tmp_path / "store", mode="r") as reader, pytest.raises(UsageError, match="opened for reading"):
        reader["run"].run(functions.process, workers=0)
    assert statuses(experiment) == ["PENDING"]
    assert issubclass(TransitionError, ConflictError)


def test_a_function_that_workers_cannot_load_is_told_and_no_trial_is_lost(
    experiment: ts.Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden.py").write_text("def here(trial):\n    return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    from hidden import here

    monkeypatch.undo()
    experiment.register_trials([{"x": n} for n in range(3)])
    with pytest.raises(ModuleNotFoundError, match="hidden"):
        experiment.run(here, workers=2)
    assert statuses(experiment) == ["PENDING"] * 3
    asked = iter([{"x": 7}, {"x": 8}, {"x": 9}])
    with pytest.raises(ModuleNotFoundError, match="hidden"):
        experiment.run(here, workers=1, n_trials=9, ask=lambda: next(asked))
    assert len(experiment) == 3


def test_a_process_that_dies_before_it_begins_is_told(experiment: ts.Experiment, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, sys\n"
        "if any('spawn_main' in word for word in sys.orig_argv):\n"
        "    os._exit(7)\n"
        "def here(trial):\n"
        "    return 1.0\n"
    )
    script = (
        "import trialstore as ts\n"
        "from deadly import here\n"
        "if __name__ == '__main__':\n"
        f"    ts.open({str(tmp_path / 'store')!r}, durability='process')['run'].run(here, workers=2)\n"
    )
    (tmp_path / "script.py").write_text(script)
    experiment.register_trial({"x": 1})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert b"exit code 7" in done.stderr or b"exit_code=7" in done.stderr
    assert statuses(experiment) == ["PENDING"]


def test_jobs_travel_as_values(experiment: ts.Experiment) -> None:
    from trialstore.runner.evaluate import Job, Outcome, evaluate

    experiment.register_trial({"x": 3.0})
    job = Job(experiment._ledger, experiment.declared_metrics, 0, 0, functions.square, "keywords")
    assert evaluate(pickle.loads(pickle.dumps(job))) == Outcome(0, Status.SUCCEEDED)
    assert experiment.trial(0).metrics == {"loss": 9.0}
    assert evaluate(Job(experiment._ledger, (), 99, 0, functions.square, "trial")) == Outcome(99, None)
