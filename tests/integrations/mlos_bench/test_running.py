"""mlos_bench's own programs on a store: its command line, its scheduler, and several runners at once."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytz
from jsonschema import ValidationError
from mlos_bench.environments.mock_env import MockEnv
from mlos_bench.environments.status import Status
from mlos_bench.optimizers.mock_optimizer import MockOptimizer
from mlos_bench.schedulers.sync_scheduler import SyncScheduler
from mlos_bench.storage import storage_factory

import trialstore as ts
from tests.integrations.mlos_bench.experiments import opened, suggestions, tunable_groups
from trialstore.integrations.mlos_bench import TrialStoreStorage, register_schema
from trialstore.integrations.mlos_bench.repository import Repository

NAME = "trialstore.integrations.mlos_bench.TrialStoreStorage"


def written(folder: Path, **config: Any) -> str:
    """The path of a storage configuration."""
    path = folder / "storage.jsonc"
    path.write_text(json.dumps({"class": NAME, "config": config}), "utf-8")
    return str(path)


def started(module: str, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command line of mlos_bench in a folder that is no repository."""
    where = {"GIT_CEILING_DIRECTORIES": str(folder.parent), "PYTHONPATH": os.getcwd()}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **where, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def mock(folder: Path, storage: str, *more: str) -> list[str]:
    """What mlos_bench's own mock environment and optimizer are started with."""
    return [
        *("--environment", "environments/mock/mock_env.jsonc", "--optimizer", "optimizers/mock_opt.jsonc"),
        *("--storage", storage, "--experiment_id", "mock", "--log_level", "WARNING", *more),
    ]


def test_the_command_line_runs_and_goes_on(tmp_path: Path) -> None:
    module = "trialstore.integrations.mlos_bench"
    storage = written(tmp_path, url=str(tmp_path / "results"))
    for runs, more in ((5, ()), (15, ("--trial_config_repeat_count", "2"))):
        done = started(module, *mock(tmp_path, storage, *more), folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        with ts.open(tmp_path / "results", mode="r") as store:
            assert store["mock"].counts == {ts.Status.SUCCEEDED: runs}
    opened_again = storage_factory_from(storage)
    frame = opened_again.experiments["mock"].results_df
    assert frame["result.score"].between(60, 120).all()
    assert frame["trial_id"].tolist() == list(range(1, 16))
    first = opened_again.experiments["mock"].trials[1]
    assert first.metadata_dict["is_defaults"] == "True"
    assert opened_again.experiments["mock"].default_tunable_config_id == first.tunable_config_id == 1
    best = opened_again.store.sql("SELECT min(metrics.score) FROM trials").fetchone()
    assert best == (frame["result.score"].min(),)


def test_a_killed_command_line_goes_on_and_nothing_that_it_told_of_is_lost(tmp_path: Path) -> None:
    storage = written(tmp_path, url=str(tmp_path / "results"))
    more = ("--log_level", "INFO", "--trial_config_repeat_count", "2")
    command = [sys.executable, "-m", "trialstore.integrations.mlos_bench", *mock(tmp_path, storage, *more)]
    where = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent), "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(command, env=where, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        told = []
        for line in running.stderr:
            told.append(line)
            if "Execute trial # 5/" in line:
                running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    # A line says: trial 3 of the experiment "mock" with configuration 2.
    scheduled = dict(re.findall(r"QUEUE: Add new trial: mock:(\d+):(\d+)", "".join(told)))
    ended = dict(
        re.findall(r"QUEUE: Update trial results: mock:(\d+):\d+ :: Status.SUCCEEDED .*?([\d.]+)\)", "".join(told))
    )
    assert len(scheduled) >= 6
    assert len(ended) >= 4
    with ts.open(tmp_path / "results", mode="r") as store:
        rows = {trial.number + 1: trial for trial in store["mock"].trials()}
        assert sorted(rows) == list(range(1, len(rows) + 1))
        assert rows.keys() >= set(map(int, scheduled))
        for number, score in ended.items():
            assert (rows[int(number)].status, rows[int(number)].metrics["score"]) == (ts.Status.SUCCEEDED, float(score))
        before = {number: trial.ended_at for number, trial in rows.items() if trial.status.is_final}
    again = started("trialstore.integrations.mlos_bench", *mock(tmp_path, storage, *more), folder=tmp_path)
    assert again.returncode == 0, again.stderr
    frame = storage_factory_from(storage).experiments["mock"].results_df.set_index("trial_id")
    assert (frame["status"] == "SUCCEEDED").all()  # also that which ran when it was killed
    assert frame.index.tolist() == list(range(1, len(frame) + 1))
    assert len(frame) >= len(rows) + 2
    assert frame["tunable_config_id"].loc[list(map(int, scheduled))].tolist() == list(map(int, scheduled.values()))
    assert all(frame["ts_end"][number] == at for number, at in before.items())  # they were not run again


def storage_factory_from(path: str) -> Any:
    register_schema()
    return storage_factory.from_config(path)


def test_without_the_wrapper_mlos_bench_refuses_the_class_unless_it_does_not_validate(tmp_path: Path) -> None:
    storage = written(tmp_path, url=str(tmp_path / "results"))
    refused = started("mlos_bench.run", *mock(tmp_path, storage), folder=tmp_path)
    assert refused.returncode != 0
    assert "Failed to validate config" in refused.stderr
    assert not (tmp_path / "results").exists()
    skipped = started(
        "mlos_bench.run", *mock(tmp_path, storage), folder=tmp_path, MLOS_BENCH_SKIP_SCHEMA_VALIDATION="true"
    )
    assert skipped.returncode == 0, skipped.stdout + skipped.stderr
    with ts.open(tmp_path / "results", mode="r") as store:
        assert len(store["mock"]) == 5


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"url": "memory://ill", "urls": "x"},
        {"url": ""},
        {"url": 7},
        {"url": "memory://ill", "durability": "none"},
        {"database": "x"},
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrialStoreStorage(config)
    path = written(tmp_path, **config)
    with pytest.raises(ValueError, match="Failed to validate config"):
        storage_factory_from(path)


def test_mlos_benchs_own_configuration_is_still_checked() -> None:
    for _ in range(2):
        register_schema()
    own = {"class": "mlos_bench.storage.sql.storage.SqlStorage"}
    storage_factory.from_config(json.dumps({**own, "config": {"drivername": "sqlite", "database": ":memory:"}}))
    for wrong in ({"drivername": "sqlite"}, {"url": "results"}):
        with pytest.raises(ValueError, match="Failed to validate config"):
            storage_factory.from_config(json.dumps({**own, "config": wrong}))


def test_a_global_value_replaces_one_of_the_configuration(tmp_path: Path) -> None:
    register_schema()
    url = str(tmp_path / "elsewhere")
    made: Any = storage_factory.from_config(written(tmp_path, url="nowhere"), url=url)
    assert made.store.url == f"file://{url}"


def scheduler(storage: Any, trials: int, **more: Any) -> SyncScheduler:
    tunables = tunable_groups()
    environment = MockEnv(
        name="mock",
        config={"tunable_params": list(tunables.get_covariant_group_names()), "mock_env_seed": 13},
        tunables=tunables,
    )
    config = {"experiment_id": "scheduled", "trial_id": 1, "max_trials": trials, "teardown": False, **more}
    optimizer = MockOptimizer(tunables=tunables, config={"seed": 1, "max_suggestions": trials}, service=None)
    return SyncScheduler(
        config=config,
        global_config={},
        environment=environment,
        optimizer=optimizer,
        storage=storage,
        root_env_config="environment.jsonc",
    )


def test_a_scheduler_runs_stops_and_goes_on(storage: Any) -> None:
    for last in (4, 8):
        with scheduler(storage, 4, trial_config_repeat_count=2) as running:
            running.start()
            running.teardown()
        assert running.trial_count >= 4
        assert len(storage.experiments["scheduled"].trials) >= last
    frame = storage.experiments["scheduled"].results_df
    assert (frame["status"] == "SUCCEEDED").all()
    sizes = frame.groupby("tunable_config_id")["trial_id"].count()
    assert (sizes % 2 == 0).all()


def _runner(url: str, runner: int, barrier: Any) -> list[int]:
    """Take and run what others have not taken, until nothing is pending."""
    storage = TrialStoreStorage({"url": url, "durability": "process"})
    ran = []
    with opened(storage, tunable_groups()) as experiment:
        barrier.wait()
        while pending := list(
            experiment.pending_trials(datetime.now(pytz.UTC), running=False, trial_runner_assigned=False)
        ):
            for trial in pending:
                if trial.set_trial_runner(runner) == runner:
                    trial.update(Status.RUNNING, datetime.now(pytz.UTC))
                    trial.update_telemetry(
                        Status.RUNNING, datetime.now(pytz.UTC), [(datetime.now(pytz.UTC), "cpu", runner)]
                    )
                    trial.update(Status.SUCCEEDED, datetime.now(pytz.UTC), {"score": runner})
                    ran.append(trial.trial_id)
    return ran


def test_several_runners_share_the_trials_of_an_experiment(tmp_path: Path) -> None:
    url = str(tmp_path / "s")
    storage = TrialStoreStorage({"url": url, "durability": "process"})
    with opened(storage, tunable_groups()) as experiment:
        for config in suggestions(tunable_groups(), 12):
            experiment.new_trial(config)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(3) as pool:
        barrier = manager.Barrier(3)
        ran = pool.starmap(_runner, [(url, runner, barrier) for runner in (1, 2, 3)])
    assert sorted(number for some in ran for number in some) == list(range(1, 13))
    frame = storage.experiments["Test-001"].results_df
    assert (frame["status"] == "SUCCEEDED").all()
    assert (frame["trial_runner_id"] == frame["result.score"]).all()
    rows = storage.store.sql("SELECT trial + 1, value FROM telemetry ORDER BY trial").fetchall()
    assert rows == list(zip(frame["trial_id"], frame["trial_runner_id"], strict=True))


def test_a_scheduler_spreads_its_trials_over_its_runners(experiment: Any, storage: Any, tunables: Any) -> None:
    """As mlos_bench's main branch does it: in turns, each runner is given trials, and runs those that it was given."""
    runners, repeats, last = (1, 2, 3), 2, -1
    turn = itertools.cycle(runners)
    for config in suggestions(tunables, 3):
        last = max(experiment.load(last)[0], default=last)
        for repeat in range(1, repeats + 1):
            experiment.new_trial(config.copy(), config={"repeat_i": repeat})
        now = datetime.now(pytz.UTC)
        for trial in experiment.pending_trials(now, running=False, trial_runner_assigned=False):
            assert (trial.trial_runner_id, trial.status) == (None, Status.PENDING)
            runner = next(turn)
            assert trial.set_trial_runner(runner) == runner
            trial.add_new_config_data({"runner_of": runner})
        assert list(experiment.pending_trials(now, running=False, trial_runner_assigned=False)) == []
        for trial in experiment.pending_trials(now, running=False, trial_runner_assigned=True):
            again = pickle.loads(pickle.dumps(storage)).get_experiment_by_id("Test-001", tunables, {"score": "min"})
            there = again.get_trial_by_id(trial.trial_id)  # in the runner's own process
            assert there.trial_runner_id == trial.trial_runner_id
            assert there.config()["runner_of"] == str(trial.trial_runner_id)
            there.update_telemetry(Status.SUCCEEDED, now, [(now, "cpu", 0.5)])
            there.update(Status.SUCCEEDED, now, {"score": trial.trial_id})
    data = storage.experiments["Test-001"]
    assert list(data.trials) == list(range(1, 7))
    for number, trial in data.trials.items():
        assert trial.tunable_config_id == (number - 1) // repeats + 1
        assert trial.trial_runner_id == (number - 1) % len(runners) + 1
        repeat = (number - 1) % repeats + 1
        assert trial.metadata_dict == {"repeat_i": repeat, "runner_of": trial.trial_runner_id}
        assert trial.results_dict == {"score": number}
        assert len(trial.telemetry_df) == 1


def test_one_of_several_processes_ends_a_trial(tmp_path: Path, storage: Any, experiment: Any, tunables: Any) -> None:
    for _ in range(10):
        experiment.new_trial(tunables)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(3) as pool:
        barrier = manager.Barrier(3)
        ended = pool.starmap(_end_all, [(storage.store.url, score, barrier) for score in (1, 2, 3)])
    winners = {number: score for score, some in enumerate(ended, start=1) for number in some}
    assert sorted(number for some in ended for number in some) == list(range(1, 11))
    scores = storage.experiments["Test-001"].results_df.set_index("trial_id")["result.score"].to_dict()
    assert scores == winners


def _end_all(url: str, score: int, barrier: Any) -> list[int]:
    storage = TrialStoreStorage({"url": url, "durability": "process"})
    ended = []
    with opened(storage, tunable_groups()) as experiment:
        trials = list(experiment.pending_trials(datetime.now(pytz.UTC), running=True))
        barrier.wait()
        for trial in trials:
            try:
                trial.update(Status.SUCCEEDED, datetime.now(pytz.UTC), {"score": score})
            except RuntimeError:
                continue
            ended.append(trial.trial_id)
    return ended


def test_where_a_configuration_comes_from(tmp_path: Path, storage: Any, tunables: Any, repository: Path) -> None:
    (repository / "env").mkdir()
    path = str(repository / "env" / "root.jsonc")
    commit = Repository.of(path).git_commit
    assert len(commit) == 40
    with opened(storage, tunables, root_env_config=path):
        pass
    known = ("env/root.jsonc", "https://example.com/bench.git", commit)
    assert storage.experiments["Test-001"].root_env_config == known
    subprocess.run(["git", "-C", str(repository), "remote", "remove", "origin"], check=True)
    assert Repository.of(path) == Repository(f"file://{repository}", commit, "env/root.jsonc")
    subprocess.run(["git", "-C", str(repository), "update-ref", "-d", "HEAD"], check=True)
    assert Repository.of(path) == Repository(f"file://{repository}", "", "env/root.jsonc")
    with opened(storage, tunables, root_env_config=path):
        pass  # another commit is told in the log
    assert storage.experiments["Test-001"].root_env_config == known


def test_a_configuration_outside_of_any_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    for path in ("root.jsonc", str(tmp_path / "none" / "root.jsonc")):
        assert Repository.of(path) == Repository("", "", path)
    monkeypatch.setenv("PATH", "")
    assert Repository.of("root.jsonc") == Repository("", "", "root.jsonc")


def test_a_broken_storage_fails_these_tests(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what the scheduler does passes through the storage, and nothing else."""
    import trialstore.integrations.mlos_bench.experiment as home

    def broken(*_: Any) -> None:
        raise OSError("broken on purpose")

    monkeypatch.setattr(home, "register", broken)
    with pytest.raises(OSError, match="on purpose"), scheduler(storage, 2) as running:
        running.start()
