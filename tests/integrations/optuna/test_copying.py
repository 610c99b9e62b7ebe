"""Studies from other storages of Optuna come into a store exactly, also in several goes, and go back."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import fakeredis
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend
from optuna.trial import TrialState, create_trial

import trialstore as ts
from tests.support.database_servers import DATABASE_SERVERS
from trialstore.integrations.optuna import TrialStoreStorage, import_studies
from trialstore.integrations.optuna.likeness import differing, first_difference
from trialstore.model.errors import ConflictError, MissingExtraError, NotFoundError, UsageError
from trialstore.model.identity import new_ulid

ROOT = Path(__file__).resolve().parents[3]
KINDS = ("database", "journal", "redis", *DATABASE_SERVERS)


def address(kind: str, folder: Path) -> str:
    return f"sqlite:///{folder}/study.db" if kind == "database" else f"{folder}/study.log"


def storage_at(kind: str, folder: Path) -> Any:
    return opened(address(kind, folder))


def opened(where: str) -> Any:
    """One of Optuna's storages, made where there is none."""
    if where.startswith("redis:"):
        return JournalStorage(JournalRedisBackend(where))
    return RDBStorage(where) if "://" in where else JournalStorage(JournalFileBackend(where))


@pytest.fixture(params=KINDS)
def where(
    request: pytest.FixtureRequest, tmp_path: Path, database_servers: Any, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The address of an empty storage of Optuna's, of each kind."""
    if request.param == "redis":
        monkeypatch.setattr("optuna.storages.journal._redis.redis.Redis", fakeredis.FakeRedis)
        return f"redis://{new_ulid()}.test:6379"
    if request.param in DATABASE_SERVERS:
        unicode = "CHARACTER SET utf8mb4" if request.param == "mariadb" else ""
        return str(database_servers.database(request.param, unicode))
    return address(request.param, tmp_path)


@pytest.fixture
def source(where: str) -> Iterator[Any]:
    """The storage there."""
    storage = opened(where)
    yield storage
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def fill(storage: Any, far: int = 2**33) -> None:
    """Studies with one of everything.

    Args:
        storage: Where.
        far: A step: on a server Optuna's column of them takes 32 bits.
    """
    study = optuna.create_study(study_name="tune / Ω", storage=storage, direction="maximize")
    study.set_user_attr("team", {"name": "db", "sizes": [1, 2.5, None]})
    storage.set_study_system_attr(study._study_id, "dashboard:note_ver", 3)
    choices = (True, 3, "1", None, 2.5)
    distributions: dict[str, Any] = {
        "z": FloatDistribution(1e-8, 1.0, log=True),
        "a": IntDistribution(-5, 2**40),
        "kind": CategoricalDistribution(choices),
        "step": FloatDistribution(0, 1, step=0.25),
    }
    for number, choice in enumerate(choices):
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=(-math.inf, math.inf, 0.1 + 0.2, -0.0, 5e-324)[number],
                params={"z": 0.1 * (number + 1), "a": 2**33 + number, "kind": choice, "step": 0.5},
                distributions=distributions,
                user_attrs={"n": 2**70, "nested": {"b": [None, True, {"c": 1.0}]}},
                system_attrs={"fixed_params": {"z": 0.5}},
                intermediate_values={-3: math.nan, far: math.inf, 0: 1.0},
            )
        )
    study.add_trial(create_trial(state=TrialState.PRUNED, value=2.0, intermediate_values={1: 0.5}))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"why": "out of memory"}))
    study.enqueue_trial({"z": 0.25}, user_attrs={"from": "me"})
    study.add_trial(create_trial(state=TrialState.RUNNING, params={"a": 7}, distributions={"a": IntDistribution(0, 9)}))
    two = optuna.create_study(study_name="two", storage=storage, directions=["minimize", "maximize"])
    two.set_metric_names(["latency", "rate"])
    two.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 2.0), n_trials=3)
    optuna.create_study(study_name="empty", storage=storage)


def same(one: Any, other: Any, name: str) -> None:
    ours, theirs = one.get_study_id_from_name(name), other.get_study_id_from_name(name)
    assert one.get_study_directions(ours) == other.get_study_directions(theirs)
    assert one.get_study_user_attrs(ours) == other.get_study_user_attrs(theirs)
    assert one.get_study_system_attrs(ours) == other.get_study_system_attrs(theirs)
    mine, others = one.get_all_trials(ours), other.get_all_trials(theirs)
    assert len(mine) == len(others)
    assert first_difference(mine, others) is None


def test_everything_comes_over_exactly_and_goes_back(where: str, source: Any, tmp_path: Path, place: str) -> None:
    fill(source, 2**31 - 1 if where.startswith(("postgresql", "mysql")) else 2**33)
    told: list[tuple[str, int, int]] = []

    copied = import_studies(where, place, progress=lambda *what: told.append(what))

    assert {one.name: (one.trials, one.added) for one in copied} == {"tune / Ω": (9, 9), "two": (3, 3), "empty": (0, 0)}
    assert told[-1] == ("empty", 0, 0)
    storage = TrialStoreStorage(place)
    for name in ("tune / Ω", "two", "empty"):
        same(storage, source, name)
    trials = storage.get_all_trials(storage.get_study_id_from_name("tune / Ω"))
    assert list(trials[0].params) == ["z", "a", "kind", "step"]
    assert [type(trial.params["kind"]) for trial in trials[:5]] == [bool, int, str, type(None), float]
    assert ts.open(place)["two"].best("latency") is not None

    back = RDBStorage(f"sqlite:///{tmp_path}/back.db")
    optuna.copy_study(from_study_name="two", from_storage=storage, to_storage=back)
    same(back, storage, "two")


def test_a_source_that_grew_is_copied_again_without_doubling(where: str, source: Any, place: str) -> None:
    study = optuna.create_study(study_name="tune", storage=source)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=5)
    study.enqueue_trial({"x": 0.5})
    study.enqueue_trial({"x": 0.75})
    import_studies(where, place)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)  # those that waited
    running = study.ask()
    running.suggest_float("x", 0, 1)
    (first,) = import_studies(where, place)
    running.report(1.5, 3)
    running.set_user_attr("note", [1])
    study.tell(running, 0.5)
    (second,) = import_studies(where, place)
    (third,) = import_studies(where, place)

    assert (first.added, first.updated) == (1, 2)
    assert (second.added, second.updated) == (0, 1)
    assert (third.added, third.updated, third.trials) == (0, 0, 8)
    same(TrialStoreStorage(place), source, "tune")


def test_a_copy_that_was_killed_goes_on_where_it_stopped(tmp_path: Path, place: str) -> None:
    source = storage_at("journal", tmp_path)
    study = optuna.create_study(study_name="tune", storage=source)
    study.add_trials([create_trial(value=float(n), user_attrs={"n": n}) for n in range(60)])
    program = f"""
import os, signal
from trialstore.integrations.optuna import copying
copying._BATCH_TRIALS = 7
def tell(name, done, total):
    if done >= 28:
        os.kill(os.getpid(), signal.SIGKILL)
copying.import_studies({address("journal", tmp_path)!r}, {place!r}, progress=tell)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(ts.open(place, mode="r")["tune"]) == 28

    (copied,) = import_studies(address("journal", tmp_path), place)

    assert (copied.trials, copied.added) == (60, 32)
    same(TrialStoreStorage(place), source, "tune")


def test_another_study_of_the_name_is_left_alone(tmp_path: Path, place: str) -> None:
    source = storage_at("journal", tmp_path)
    optuna.create_study(study_name="tune", storage=source).optimize(lambda trial: 1.0, n_trials=2)
    storage = TrialStoreStorage(place)
    mine = optuna.create_study(study_name="tune", storage=storage)
    mine.optimize(lambda trial: 2.0, n_trials=1)
    storage.flush()

    with pytest.raises(ConflictError, match=r"another study[\s\S]*reason='its trials are others'"):
        import_studies(source, place)
    assert [trial.value for trial in TrialStoreStorage(place).get_all_trials(mine._study_id)] == [2.0]
    (copied,) = import_studies(source, place, name="theirs")
    assert copied.name == "theirs"
    same_trials = TrialStoreStorage(place)
    assert len(same_trials.get_all_trials(same_trials.get_study_id_from_name("theirs"))) == 2


def test_notes_of_the_dashboard_stay_with_their_trials(tmp_path: Path, place: str) -> None:
    source = storage_at("journal", tmp_path)
    optuna.create_study(study_name="before", storage=source).optimize(lambda trial: 1.0, n_trials=3)
    study = optuna.create_study(study_name="tune", storage=source)
    study.optimize(lambda trial: 1.0, n_trials=2)
    trial = study.trials[1]._trial_id
    source.set_study_system_attr(study._study_id, f"dashboard:{trial}:note_str:0", "well")

    import_studies(source, place, studies=["tune"])

    storage = TrialStoreStorage(place)
    study_id = storage.get_study_id_from_name("tune")
    there = storage.get_trial_id_from_study_id_trial_number(study_id, 1)
    assert storage.get_study_system_attrs(study_id) == {f"dashboard:{there}:note_str:0": "well"}
    assert len(storage.get_all_studies()) == 1


def test_errors_say_what_to_do(tmp_path: Path, place: str) -> None:
    with pytest.raises(NotFoundError, match="journal file"):
        import_studies(tmp_path / "none.log", place)
    with pytest.raises(NotFoundError, match="no such file"):
        import_studies(f"sqlite:///{tmp_path}/none.db", place)
    with pytest.raises(UsageError, match="not an address"):
        import_studies("nothing://host/name", place)
    with pytest.raises(MissingExtraError, match=r"driver[\s\S]*postgresql\+psycopg"):
        import_studies("mysql://host/name", place)
    assert not list(tmp_path.iterdir())
    fill(storage_at("database", tmp_path))
    with pytest.raises(NotFoundError, match="did you mean"):
        import_studies(tmp_path / "study.db", place, studies=["twoo"])
    with pytest.raises(UsageError, match="one study"):
        import_studies(tmp_path / "study.db", place, name="all")


def test_from_a_shell(tmp_path: Path, place: str) -> None:
    fill(storage_at("database", tmp_path))
    command = [
        sys.executable,
        "-c",
        "from trialstore.cli import main; main()",
        "import",
        "optuna",
        f"{tmp_path}/study.db",
        place,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=True)
    again = subprocess.run([*command, "--study", "two"], env=environment, capture_output=True, text=True, check=True)

    assert [one["added"] for one in json.loads(done.stdout)] == [9, 3, 0]
    assert "two" in again.stdout
    assert "tune" not in again.stdout


def test_in_what_trials_differ() -> None:
    started = datetime(2026, 1, 2, 3, 4, 5, 678901)
    choice: Any = CategoricalDistribution((True, 1, math.nan))

    def trial(value: Any, attr: Any = 1) -> Any:
        return optuna.trial.FrozenTrial(
            number=0,
            trial_id=9,
            state=TrialState.COMPLETE,
            value=1.0,
            datetime_start=started,
            datetime_complete=started,
            params={"c": value},
            distributions={"c": choice},
            user_attrs={"a": attr},
            system_attrs={},
            intermediate_values={1: math.nan},
        )

    assert differing(trial(math.nan), trial(math.nan)) == []
    assert differing(trial(True), trial(1)) == ["params"]
    assert differing(trial(1, 1), trial(1, 1.0)) == ["user_attrs"]
