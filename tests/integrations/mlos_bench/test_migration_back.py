"""Experiments of a store go into databases that mlos_bench's own storage reads."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas
import pytest
from mlos_bench.environments.status import Status
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

import trialstore as ts
from tests.integrations.mlos_bench.written import BEGAN, fill, go_on, own_storage
from trialstore.cli.app import app
from trialstore.integrations.mlos_bench import TrialStoreStorage, export_database, import_database
from trialstore.integrations.mlos_bench.migration import rows, stored
from trialstore.model.errors import ConflictError, DuplicateExperimentError, UnsupportedError

pytestmark = pytest.mark.usefixtures("repository")


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    opened = TrialStoreStorage({"url": str(tmp_path / "store"), "durability": "process"})
    yield opened
    opened.store.close()


def test_what_a_store_recorded_is_read_by_mlos_bench_itself(storage: Any, address: str) -> None:
    fill(storage)
    fill(storage, name="other", trials=30, samples=50)
    running = storage.store["other"].trial(11)
    at = BEGAN + timedelta(minutes=11)
    running.update_telemetry(running.status, at, [(at.replace(microsecond=at.microsecond + 9), "cpu0", 1.5)])
    other, tune = export_database(storage.store, address)
    seconds = address.startswith("mysql")
    assert tune.tables["trial"].rows == 12
    assert other.tables["trial_telemetry"].rows + other.joined_samples == 1301
    assert other.joined_samples == int(seconds)
    theirs = own_storage(address).experiments
    assert sorted(theirs) == ["other", "tune redis/ä"]
    for name, experiment in storage.experiments.items():
        ours, copy = experiment.results_df, theirs[name].results_df
        if seconds:
            for column in ("ts_start", "ts_end"):
                ours[column] = ours[column].dt.floor("s")
        pandas.testing.assert_frame_equal(copy, ours[list(copy.columns)], check_dtype=False)
        assert theirs[name].objectives == experiment.objectives
    # mlos_bench goes on where the store was.
    fill(own_storage(address), trials=1)
    assert len(own_storage(address).experiments["tune redis/ä"].trials) == 13


def test_there_and_back_again(tmp_path: Path) -> None:
    fill(own_storage(f"sqlite:///{tmp_path}/one.sqlite"))
    with ts.open(tmp_path / "between", durability="process") as store:
        (taken,) = import_database(store, tmp_path / "one.sqlite")
        (given,) = export_database(store, tmp_path / "two.sqlite")
    assert given.tables == taken.tables
    assert given.kept_configurations
    with ts.open(tmp_path / "beyond", durability="process") as store:
        assert import_database(store, tmp_path / "two.sqlite") == [taken]
    for table in ("experiment", "objectives", "config", "config_param", "trial", "trial_param", "trial_result"):
        one, two = (_rows(tmp_path / name, table) for name in ("one.sqlite", "two.sqlite"))
        assert one == two, table


def _rows(path: Path, table: str) -> list[str]:
    with create_engine(f"sqlite:///{path}").connect() as connection:
        return sorted(map(repr, connection.execute(text(f"SELECT * FROM {table}")).all()))


def test_configurations_that_the_database_knows_keep_its_numbers(storage: Any, tmp_path: Path) -> None:
    fill(own_storage(f"sqlite:///{tmp_path}/one.sqlite"), name="before", trials=2)
    fill(storage, trials=4)
    (given,) = export_database(storage.store, tmp_path / "one.sqlite")
    assert not given.kept_configurations
    theirs = own_storage(f"sqlite:///{tmp_path}/one.sqlite").experiments
    assert len(theirs["before"].trials) == 2
    assert len(theirs["tune redis/ä"].tunable_configs) == 3


def test_a_second_export_brings_what_is_new(storage: Any, tmp_path: Path) -> None:
    fill(storage, trials=6)
    path = tmp_path / "one.sqlite"
    first = export_database(storage.store, path)
    assert export_database(storage.store, path) == first
    fill(storage, trials=3)
    (second,) = export_database(storage.store, path)
    assert second.tables["trial"].rows == 9
    with create_engine(f"sqlite:///{path}").begin() as connection:
        connection.execute(text("UPDATE trial_result SET metric_value = '8' WHERE trial_id = 1"))
    with pytest.raises(DuplicateExperimentError, match="other trials"):
        export_database(storage.store, path)


def test_what_was_logged_for_a_trial_later_is_found_missing(storage: Any, tmp_path: Path) -> None:
    fill(storage)
    export_database(storage.store, tmp_path / "one.sqlite")
    trial = storage.store["tune redis/ä"].trial(0)
    trial.update_telemetry(trial.status, BEGAN, [(BEGAN + timedelta(hours=1), "cpu0", 1.5)])
    with pytest.raises(ConflictError, match="does not hold"):
        export_database(storage.store, tmp_path / "one.sqlite")


def test_a_second_export_brings_what_became_of_open_trials(storage: Any, tmp_path: Path) -> None:
    fill(storage)
    path = tmp_path / "one.sqlite"
    export_database(storage.store, path)
    go_on(storage)
    (second,) = export_database(storage.store, path)
    assert (second.tables["trial"].rows, second.tables["trial_telemetry"].rows) == (12, 50 + 2 * 2)
    theirs = own_storage(f"sqlite:///{path}").experiments["tune redis/ä"].trials
    assert [theirs[number].status for number in (11, 12)] == [Status.RUNNING, Status.SUCCEEDED]
    assert theirs[12].results_dict == {"latency": 1.5, "throughput": 3, "plan": "c"}
    assert theirs[12].ts_end == BEGAN + timedelta(hours=12)
    assert export_database(storage.store, path) == [second]


def test_a_trial_that_both_sides_went_on_with_is_not_written_over(storage: Any, tmp_path: Path) -> None:
    fill(storage)
    path = tmp_path / "one.sqlite"
    export_database(storage.store, path)
    own = own_storage(f"sqlite:///{path}")
    go_on(own)
    ended = storage.store["tune redis/ä"].trial(10)
    ended.fail()
    with pytest.raises(DuplicateExperimentError, match="other trials"):
        export_database(storage.store, path)
    assert own.experiments["tune redis/ä"].trials[11].status is Status.RUNNING


class BrokenOff(BaseException):
    pass


def test_an_export_that_was_broken_off_goes_on(storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_AT_ONCE", 4)
    monkeypatch.setattr(rows, "SAMPLES_AT_ONCE", 20)
    fill(storage)
    finished: list[Any] = []
    for steps in range(1, 20):
        left = steps

        def tell(what: str, done: int, total: int) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise BrokenOff

        path = tmp_path / f"{steps}.sqlite"
        try:
            finished.append(export_database(storage.store, path, progress=tell))
        except BrokenOff:
            finished.append(export_database(storage.store, path))
        if left > 0:
            break
    assert steps > 8
    assert all(each == finished[0] for each in finished)


def test_a_value_that_the_database_cannot_hold(storage: Any, database_servers: Any) -> None:
    fill(storage, trials=1)
    with storage.get_experiment_by_id("tune redis/ä", _tunables(), {"latency": "min"}) as experiment:
        trial = experiment.new_trial(experiment.tunables)
        trial.update(Status.SUCCEEDED, BEGAN, {"latency": 1, "log": "x" * 300})
    url = database_servers.database("postgresql")
    with pytest.raises(UnsupportedError, match="refuses") as error:
        export_database(storage.store, url)
    assert "255" in error.value.facts["reason"]


def _tunables() -> Any:
    from mlos_bench.tunables.tunable_groups import TunableGroups

    from tests.integrations.mlos_bench.written import GROUPS

    return TunableGroups(GROUPS)


def run(*args: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": None})
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_the_command_line_takes_in_and_gives_back(tmp_path: Path) -> None:
    fill(own_storage(f"sqlite:///{tmp_path}/one.sqlite"))
    fill(own_storage(f"sqlite:///{tmp_path}/one.sqlite"), name="other", trials=2)
    place = tmp_path / "store"
    shown = run("import", "mlos", tmp_path / "one.sqlite", place, "--experiment", "tune redis/ä").stdout
    assert "trial_telemetry" in shown
    assert "other" not in shown
    (one,) = json.loads(run("export", "mlos", place, tmp_path / "two.sqlite", "--json").stdout)
    assert one["experiment"] == "tune redis/ä"
    assert one["tables"]["trial"]["checksum"] in shown
    assert one["kept_configurations"]
    run("import", "mlos", tmp_path / "absent.sqlite", place, code=1)
    run("import", "mlos", tmp_path / "one.sqlite", place, "--zone", "Mars/North", code=2)
    assert len(json.loads(run("import", "mlos", tmp_path / "one.sqlite", place, "--json").stdout)) == 2
