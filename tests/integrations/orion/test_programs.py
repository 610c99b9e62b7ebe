"""Programs as users write them: the command line with several workers, the client in several processes, plots."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from orion.client import build_experiment

import trialstore as ts
from benchmarks.orion import main

SCRIPT = """#!{python}
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("-x", type=float)
loss = (parser.parse_args().x - 1) ** 2
with open(os.environ["ORION_RESULTS_PATH"], "w") as file:
    json.dump([{"name": "loss", "type": "objective", "value": loss}], file)
"""


@pytest.fixture
def run(tmp_path: Path, url: str) -> Any:
    """Runs `orion` with arguments, on a store that the environment names; gives what it printed."""
    (tmp_path / "box.py").write_text(SCRIPT.replace("{python}", sys.executable))
    (tmp_path / "box.py").chmod(0o755)
    environment = {**os.environ, "ORION_STORAGE_TYPE": "trialstore", "ORION_DB_ADDRESS": url}
    environment |= {"ORION_DB_TYPE": "trialstoredb", "HOME": str(tmp_path)}  # what `orion db test` looks at
    program = [sys.executable, "-W", "ignore", "-c", "import sys; from orion.core.cli import main; sys.exit(main())"]

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*program, *arguments],
            cwd=tmp_path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

    def finish(process: subprocess.Popen[str]) -> str:
        out, _ = process.communicate(timeout=400)
        assert process.returncode == 0, out
        return out

    finish.start = start  # type: ignore[attr-defined]
    return finish


def test_the_command_line(run: Any, tmp_path: Path, url: str) -> None:
    hunt = ["hunt", "-n", "tune", "--max-trials", "6", "--worker-max-trials", "6", "./box.py"]
    run(run.start("hunt", "--init-only", *hunt[1:], "-x~uniform(-2, 2)"))  # two that make it at once: Oríon has a race
    workers = [run.start(*hunt, "-x~uniform(-2, 2)") for _ in range(2)]
    for worker in workers:
        run(worker)
    with ts.open(url, mode="r") as store:
        rows = store.sql(
            "SELECT params['/x'] AS x, metrics.loss AS loss FROM trials WHERE status = 'SUCCEEDED'"
        ).fetchall()
        assert len(rows) >= 6
        assert all(loss == pytest.approx((x - 1) ** 2) for x, loss in rows)
        assert len({x for x, _ in rows}) == len(rows)
    assert "tune-v1" in run(run.start("list"))
    assert "completed" in run(run.start("status"))
    assert "uniform(-2, 2)" in run(run.start("info", "-n", "tune"))
    run(run.start("insert", "-n", "tune", "./box.py", "-x=0.25"))
    assert "new" in run(run.start("status", "--all"))
    run(run.start("db", "set", "-f", "tune", "status=new", "status=broken"))
    assert "broken" in run(run.start("status", "--all"))
    assert "Success" in run(run.start("db", "test"))
    run(run.start("plot", "regret", "-n", "tune", "-t", "json", "-o", "regret.json"))
    assert (tmp_path / "regret.json").exists()
    run(run.start("db", "rm", "-f", "tune"))
    assert "No experiment found" in run(run.start("list"))


def loss(x: float) -> list[dict[str, Any]]:
    return [{"name": "loss", "type": "objective", "value": x**2}]


def work(url: str, most: int) -> list[str]:
    """Suggest, evaluate and observe until the experiment is done; ids of the trials that this process observed."""
    experiment = build_experiment("tune", storage={"type": "trialstore", "url": url, "durability": "process"})
    from orion.core.utils.exceptions import CompletedExperiment, ReservationTimeout

    mine: list[str] = []
    while len(mine) < most:
        try:
            trial = experiment.suggest(pool_size=4)
        except (CompletedExperiment, ReservationTimeout):
            break
        experiment.observe(trial, loss(trial.params["x"]))
        mine.append(trial.id)
    return mine


def test_the_client_in_several_processes(url: str) -> None:
    storage = {"type": "trialstore", "url": url, "durability": "process"}
    experiment = build_experiment(
        "tune", space={"x": "uniform(-1, 1)"}, algorithm={"random": {"seed": 1}}, max_trials=24, storage=storage
    )
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        observed = pool.starmap(work, [(url, 100)] * 4)
    ids = [trial for some in observed for trial in some]
    assert len(set(ids)) == len(ids)  # nothing twice
    done = experiment.fetch_trials_by_status("completed")
    assert {trial.id for trial in done} == set(ids)  # and nothing lost
    assert len(done) >= 24
    assert experiment.stats.trials_completed == len(done)
    frame = experiment.to_pandas()
    assert set(frame["id"]) >= set(ids)
    assert experiment.plot.regret() is not None


def test_workon(url: str) -> None:
    storage = {"type": "trialstore", "url": url}
    experiment = build_experiment("tune", space={"x": "uniform(-1, 1, discrete=True)"}, max_trials=3, storage=storage)
    experiment.workon(loss, max_trials=3)
    assert experiment.is_done
    assert [type(trial.params["x"]) for trial in experiment.fetch_trials()] == [int] * 3
    with ts.open(url) as store:
        assert store.experiment("tune").max_trials == 3
        assert store.experiment("tune").metadata["tool"] == "orion"


def hired(url: str, told: Any) -> None:
    """One worker process of a crowd: runs what there is, and tells the parameters that it was called with."""
    experiment = build_experiment("crowd", storage={"type": "trialstore", "url": url, "durability": "process"})
    seen: list[float] = []

    def evaluate(x: float) -> list[dict[str, Any]]:
        seen.append(x)
        return loss(x)

    with experiment.tmp_executor("singleexecutor", n_workers=1):
        experiment.workon(evaluate, n_workers=1, max_trials=1000, idle_timeout=300)
    told.put(seen)


def test_thirty_two_workers_of_workon_share_a_store(url: str) -> None:
    goal = int(os.environ.get("TRIALSTORE_ORION_TRIALS", "40"))
    storage = {"type": "trialstore", "url": url, "durability": "process"}
    experiment = build_experiment(
        "crowd", space={"x": "uniform(-1, 1)"}, algorithm={"random": {"seed": 1}}, max_trials=goal, storage=storage
    )
    context = multiprocessing.get_context("fork")  # an import of Oríon for each would take a minute
    told = context.Queue()
    workers = [context.Process(target=hired, args=(url, told)) for _ in range(32)]
    for worker in workers:
        worker.start()
    called = [x for _ in workers for x in told.get(timeout=400)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    done = experiment.fetch_trials_by_status("completed")
    assert len(set(called)) == len(called)  # nothing twice
    assert sorted(trial.params["x"] for trial in done) == sorted(called)  # and nothing lost
    assert all(trial.objective.value == trial.params["x"] ** 2 for trial in done)
    assert len(done) >= goal
    assert not experiment.fetch_trials_by_status("broken")


def reserve(url: str, uid: int) -> list[str]:
    import datetime
    from types import SimpleNamespace

    from orion.core.worker.trial import Trial
    from orion.storage.base import setup_storage

    storage = setup_storage({"type": "trialstore", "url": url, "durability": "process"})
    mine = []
    while (trial := storage.reserve_trial(SimpleNamespace(_id=uid, id=uid))) is not None:
        trial.results = [Trial.Result(name="loss", type="objective", value=1.0)]
        trial.end_time = datetime.datetime.utcnow()
        storage.push_trial_results(trial)
        storage.set_trial_status(trial, "completed")
        mine.append(trial.id)
    return mine


def test_many_processes_lose_nothing_and_double_nothing(url: str) -> None:
    import datetime

    from orion.core.worker.trial import Trial
    from orion.storage.base import setup_storage

    storage = setup_storage({"type": "trialstore", "url": url, "durability": "process"})
    document: dict[str, Any] = {"name": "tune", "version": 1}
    storage.create_experiment(document)
    uid = document["_id"]
    for index in range(160):
        params = [{"name": "x", "type": "integer", "value": index}]
        storage.register_trial(Trial(experiment=uid, params=params, submit_time=datetime.datetime.utcnow()))
    processes = int(os.environ.get("TRIALSTORE_ORION_PROCESSES", "8"))
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        taken = [trial for some in pool.starmap(reserve, [(url, uid)] * processes) for trial in some]
    assert len(taken) == len(set(taken)) == 160
    assert len(storage.fetch_trials(uid=uid, where={"status": "completed"})) == 160


def test_the_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick"]) == 0
    assert "times as quick as PickledDB" in capsys.readouterr().out
