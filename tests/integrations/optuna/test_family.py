"""Optuna's samplers, pruners, plots, proxy, dashboard and command line, as they were released, on a store."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from optuna import pruners, samplers
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages._grpc.server import make_server
from optuna.trial import TrialState

import trialstore as ts
from trialstore.integrations.optuna import TrialStoreArtifactStore, TrialStoreStorage

ROOT = Path(__file__).resolve().parents[3]

SAMPLERS: dict[str, Callable[[], Any]] = {
    "random": lambda: samplers.RandomSampler(seed=1),
    "tpe": lambda: samplers.TPESampler(seed=1, n_startup_trials=3),
    "tpe multivariate, group, constant liar": lambda: samplers.TPESampler(
        seed=1, n_startup_trials=3, multivariate=True, group=True, constant_liar=True
    ),
    "cmaes": lambda: samplers.CmaEsSampler(seed=1, n_startup_trials=2),
    "nsga2": lambda: samplers.NSGAIISampler(seed=1, population_size=4),
    "nsga3": lambda: samplers.NSGAIIISampler(seed=1, population_size=4),
    "qmc": lambda: samplers.QMCSampler(seed=1),
    "grid": lambda: samplers.GridSampler({"x": [0.0, 0.5], "n": [1, 2], "kind": ["a", "b"]}, seed=1),
    "brute force": lambda: samplers.BruteForceSampler(seed=1),
    "partial": lambda: samplers.PartialFixedSampler({"x": 0.5}, samplers.RandomSampler(seed=1)),
}


def stepped(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1, step=0.5)
    n = trial.suggest_int("n", 1, 2)
    return x * n + (trial.suggest_categorical("kind", ["a", "b"]) == "a")


def outcome(trial: Any) -> tuple[Any, ...]:
    return trial.number, trial.state, trial.values, trial.params, trial.intermediate_values


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_chooses_what_it_chooses_in_memory(storage: Any, name: str) -> None:
    """Trial for trial, also when another handle on the store goes on with the study."""
    reference = optuna.create_study(sampler=SAMPLERS[name](), study_name="tune")
    reference.optimize(stepped, n_trials=8)
    study = optuna.create_study(sampler=SAMPLERS[name](), study_name="tune", storage=storage)
    study.optimize(stepped, n_trials=5)
    other = TrialStoreStorage(storage.url)
    again = optuna.load_study(study_name="tune", storage=other, sampler=study.sampler)
    again.optimize(stepped, n_trials=len(reference.trials) - 5)
    assert [outcome(trial) for trial in again.trials] == [outcome(trial) for trial in reference.trials]
    other.close()


PRUNERS: dict[str, Callable[[], Any]] = {
    "median": lambda: pruners.MedianPruner(n_startup_trials=2),
    "percentile": lambda: pruners.PercentilePruner(40.0, n_startup_trials=2),
    "halving": lambda: pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    "hyperband": lambda: pruners.HyperbandPruner(min_resource=1, max_resource=6, reduction_factor=2),
    "threshold": lambda: pruners.ThresholdPruner(upper=3.0),
    "patient": lambda: pruners.PatientPruner(pruners.MedianPruner(n_startup_trials=2), patience=1),
    "wilcoxon": lambda: pruners.WilcoxonPruner(p_threshold=0.4, n_startup_steps=1),
}


def learning(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 4)
    for step in range(6):
        trial.report(x + 1 / (step + 1), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return x


@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_prunes_what_it_prunes_in_memory(storage: Any, name: str) -> None:
    trials = []
    for where in (None, storage):
        sampler = samplers.RandomSampler(seed=3)
        study = optuna.create_study(study_name="tune", storage=where, sampler=sampler, pruner=PRUNERS[name]())
        study.optimize(learning, n_trials=12)
        trials.append([outcome(trial) for trial in study.trials])
    assert trials[0] == trials[1]
    if name in ("median", "halving", "threshold"):
        assert any(trial[1] is TrialState.PRUNED for trial in trials[1])


def test_several_objectives_with_constraints(storage: Any) -> None:
    def constraints(trial: Any) -> list[float]:
        return [trial.params["x"] - 1.0]

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x, y = trial.suggest_float("x", 0, 2), trial.suggest_float("y", 0, 2)
        return x**2 + y, (x - 2) ** 2 + y

    best = []
    for where in (None, storage):
        sampler = samplers.NSGAIISampler(seed=2, population_size=6, constraints_func=constraints)
        study = optuna.create_study(
            study_name="tune", storage=where, sampler=sampler, directions=["minimize", "minimize"]
        )
        study.set_metric_names(["latency", "cost"])
        study.optimize(objective, n_trials=30)
        best.append([outcome(trial) for trial in study.best_trials])
    assert best[0] == best[1]
    assert best[1]
    assert all(trial[3]["x"] <= 1.0 for trial in best[1])
    storage.flush()
    with ts.open(storage.url, mode="r") as store:
        query = "SELECT min(metrics.latency), count(params.y) FROM trials"
        least, count = store.sql(query).fetchone() or (None, None)
    assert (least, count) == (min(trial.values[0] for trial in study.trials), 30)


def test_studies_have_frames_importances_and_plots(storage: Any) -> None:
    study = optuna.create_study(study_name="tune", storage=storage, sampler=samplers.RandomSampler(seed=1))
    study.optimize(learning, n_trials=10)
    frame = study.trials_dataframe()
    assert list(frame["params_x"]) == [trial.params["x"] for trial in study.trials]
    assert set(optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())) == {"x"}
    plots = optuna.visualization
    drawn = (
        plots.plot_optimization_history,
        plots.plot_intermediate_values,
        plots.plot_slice,
        plots.plot_edf,
        plots.plot_timeline,
        plots.plot_parallel_coordinate,
        plots.plot_rank,
    )
    for plot in drawn:
        assert plot(study).data, plot.__name__
    (history,) = (trace for trace in plots.plot_optimization_history(study).data if trace.name == "Objective Value")
    assert list(history.y) == [trial.value for trial in study.trials if trial.state is TrialState.COMPLETE]


@contextmanager
def proxied(storage: Any) -> Iterator[Any]:
    """A proxy on a free port, and a client of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = make_server(storage, "127.0.0.1", port, thread_pool=ThreadPoolExecutor(8))
    server.start()
    client = optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port)
    try:
        client.wait_server_ready(timeout=30)
        yield client
    finally:
        client.close()
        server.stop(None).wait()


def test_behind_the_grpc_proxy(storage: Any, place: str, tmp_path: Path) -> None:
    """Workers that speak to the proxy, workers that speak to the store, and artifacts, in one study."""
    with proxied(storage) as proxy:
        study = optuna.create_study(study_name="tune", storage=proxy)
        (tmp_path / "x.txt").write_text("x")
        artifacts = TrialStoreArtifactStore(place)

        def objective(trial: optuna.Trial) -> float:
            path = str(tmp_path / "x.txt")
            optuna.artifacts.upload_artifact(artifact_store=artifacts, file_path=path, study_or_trial=trial)
            return learning(trial)

        far = threading.Thread(target=lambda: study.optimize(objective, n_trials=8))
        far.start()
        optuna.load_study(study_name="tune", storage=storage).optimize(learning, n_trials=8)
        far.join()
        assert [trial.number for trial in study.trials] == list(range(16))
        assert all(trial.state.is_finished() for trial in study.trials)
        storage.flush()
    with ts.open(place, mode="r") as store:
        rows = store.sql("SELECT count(*), min(trial) FROM artifacts").fetchone()
    assert rows is not None
    assert rows[0] == 8
    assert rows[1] >= 0, "what is uploaded through the proxy is its trial's"


class Dashboard:
    """The dashboard's application, called without a server."""

    def __init__(self, storage: Any, artifacts: Any = None) -> None:
        self._app = optuna_dashboard.wsgi(storage, artifact_store=artifacts)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        data = b"" if body is None else json.dumps(body).encode()
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_TYPE": "application/json"}
        environ |= {"CONTENT_LENGTH": str(len(data)), "wsgi.input": io.BytesIO(data)}
        setup_testing_defaults(environ)
        status: list[int] = []
        answer = self._app(environ, lambda line, *_: status.append(int(line.split()[0])))
        return status[0], b"".join(answer)

    def json(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        got, data = self.ask(method, path, body)
        assert got == status, (path, data)
        return json.loads(data) if data else None


def test_the_dashboard(storage: Any, place: str) -> None:
    dashboard = Dashboard(storage, TrialStoreArtifactStore(storage))
    made = dashboard.json("POST", "/api/studies", {"study_name": "seen", "directions": ["minimize"]}, status=201)
    study_id = made["study_summary"]["study_id"]
    study = optuna.load_study(study_name="seen", storage=storage, sampler=samplers.RandomSampler(seed=1))
    study.optimize(learning, n_trials=6)
    waiting = study.ask()
    storage.flush()

    detail = dashboard.json("GET", f"/api/studies/{study_id}")
    assert [trial["number"] for trial in detail["trials"]] == list(range(7))
    assert len(detail["trials"][0]["intermediate_values"]) >= 1
    assert detail["best_trials"][0]["number"] == study.best_trial.number
    for plot in ("slice", "edf", "timeline", "parallel_coordinate", "rank"):
        dashboard.json("GET", f"/api/studies/{study_id}/plot/{plot}")
    note = {"body": "looks well", "version": 1}
    dashboard.ask("PUT", f"/api/studies/{study_id}/note", note)
    dashboard.ask("PUT", f"/api/studies/{study_id}/{study.trials[2]._trial_id}/note", note)
    detail = dashboard.json("GET", f"/api/studies/{study_id}")
    assert detail["note"]["body"] == "looks well"
    assert detail["trials"][2]["note"]["body"] == "looks well"

    uri = "data:text/plain;base64," + base64.b64encode(b"a file").decode()
    path = f"/api/artifacts/{study_id}/{waiting._trial_id}"
    sent = dashboard.json("POST", path, {"file": uri, "filename": "f.txt"}, status=201)
    status, data = dashboard.ask("GET", f"/artifacts/{study_id}/{waiting._trial_id}/{sent['artifact_id']}")
    assert (status, data) == (200, b"a file")
    with ts.open(place, mode="r") as store:
        assert store.sql("SELECT trial, split_part(name, '/', 2) FROM artifacts").fetchall() == [(6, "f.txt")]
    dashboard.json("DELETE", f"{path}/{sent['artifact_id']}", status=204)

    trial_id = waiting._trial_id
    dashboard.json("POST", f"/api/trials/{trial_id}/tell", {"state": "Complete", "values": [1.5]}, status=204)
    assert study.trials[6].value == 1.5
    renamed = dashboard.json("POST", f"/api/studies/{study_id}/rename", {"study_name": "again"}, status=201)
    assert [one["study_name"] for one in dashboard.json("GET", "/api/studies")["study_summaries"]] == ["again"]
    assert [one.value for one in optuna.load_study(study_name="again", storage=storage).trials][-1] == 1.5
    dashboard.json("DELETE", f"/api/studies/{renamed['study_id']}", {}, status=204)
    assert dashboard.json("GET", "/api/studies")["study_summaries"] == []


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "trialstore.integrations.optuna", *arguments]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def optuna_says(*arguments: str, status: int = 0, **more: str) -> str:
    done = subprocess.run(
        program("optuna", *arguments), env=environment(**more), capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if not status else done.stderr


def test_the_command_line(place: str, tmp_path: Path) -> None:
    at = ("--storage", place)
    named = optuna_says("create-study", *at, "--study-name", "tune", "--directions", "minimize", "maximize").strip()
    assert named == "tune"
    optuna_says("study", "set-user-attr", *at, "--study-name", "tune", "--key", "team", "--value", "db")
    space = '{"x": {"name": "FloatDistribution", "attributes": {"low": 0.0, "high": 1.0}}}'
    told = ("--study-name", "tune", "--sampler", "RandomSampler", "--search-space", space, "-f", "json")
    asked = [json.loads(optuna_says("ask", *at, *told)) for _ in range(2)]
    assert [trial["number"] for trial in asked] == [0, 1]
    optuna_says("tell", *at, "--study-name", "tune", "--trial-number", "0", "--values", "0.5", "2.0")
    optuna_says("tell", *at, "--study-name", "tune", "--trial-number", "1", "--state", "fail")

    studies = json.loads(optuna_says("studies", "-f", "json", OPTUNA_STORAGE=place))
    assert [(study["name"], study["n_trials"]) for study in studies] == [("tune", 2)]
    trials = json.loads(optuna_says("trials", *at, "--study-name", "tune", "-f", "json"))
    assert [trial["state"] for trial in trials] == ["COMPLETE", "FAIL"]
    assert trials[0]["params"] == asked[0]["params"]
    (best,) = json.loads(optuna_says("best-trials", *at, "--study-name", "tune", "-f", "json"))
    assert best["values"] == [0.5, 2.0]
    with ts.open(place, mode="r") as store:
        query = "SELECT params.x FROM trials WHERE status = 'SUCCEEDED'"
        assert store.sql(query).fetchall() == [(asked[0]["params"]["x"],)]
    optuna_says("delete-study", *at, "--study-name", "tune")
    assert json.loads(optuna_says("studies", *at, "-f", "json")) == []

    database = f"sqlite:///{tmp_path}/study.db"
    optuna_says("create-study", "--storage", database, "--study-name", "elsewhere")
    assert "elsewhere" in optuna_says("studies", "--storage", database)
    assert "usage:" in subprocess.run(program(), capture_output=True, text=True, env=environment(), check=False).stderr
    assert "error: the place holds something else" in optuna_says("studies", "--storage", str(tmp_path), status=2)


def test_the_dashboards_program(storage: Any, place: str) -> None:
    optuna.create_study(study_name="seen", storage=storage).optimize(learning, n_trials=2)
    storage.flush()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = program("optuna-dashboard", place, "--port", str(port), "--server", "wsgiref", "--quiet")
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stderr is not None
            for line in running.stderr:
                if "Listening" in line:
                    break
            deadline = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/meta", timeout=10) as answer:
                        meta = json.load(answer)
                    break
                except OSError:  # it says so before it listens
                    assert time.monotonic() < deadline
                    assert running.poll() is None
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=10) as answer:
                studies = json.load(answer)["study_summaries"]
        finally:
            running.kill()
    assert meta["artifact_is_available"] is True
    assert [study["study_name"] for study in studies] == ["seen"]
