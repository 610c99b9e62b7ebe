"""`Trial.begin` and `Trial.profile`: what is measured, what is caught, and that both are stored."""

from __future__ import annotations

import json
import math
import mmap
import threading
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support.trials import experiment_in, running
from trialstore.life import measuring
from trialstore.model.errors import TransitionError, UsageError


@pytest.fixture
def experiment(tmp_path: Path) -> ts.Experiment:
    return experiment_in(tmp_path)


@pytest.fixture
def trial(experiment: ts.Experiment) -> ts.Trial:
    return running(experiment)


def burn() -> float:
    """Enough work for a processor's clock to move."""
    return sum(math.sqrt(number) for number in range(20000))


def test_begin_measures_time_and_memory(experiment: ts.Experiment, trial: ts.Trial) -> None:
    assert math.isnan(trial.time.duration)
    assert trial.memory.unit is None
    with trial.begin():
        ballast = mmap.mmap(-1, 8 << 20)
        ballast.write(b"x" * (8 << 20))
    assert trial.time.kind == "wall"
    assert trial.time.unit == "seconds"
    assert trial.time.duration > 0
    assert trial.started_at is not None
    assert abs(trial.time.start - trial.started_at.timestamp()) < 60
    assert trial.memory.unit == "bytes"
    assert trial.memory.rss_used > 4 << 20
    assert trial.memory.vms_used > 4 << 20
    assert trial.memory.start_rss >= trial.memory.start_shared > 0
    ballast.close()
    report = trial.success(loss=1, acc=1)
    assert repr(report.time) == repr(trial.time)
    stored = experiment.trial(0)
    assert repr(dict(stored.profiles)) == repr(report.profiles) == repr(dict(trial.profiles))
    assert repr(stored.memory) == repr(trial.memory)


def test_the_block_ends_a_trial_inside_of_it(experiment: ts.Experiment, trial: ts.Trial) -> None:
    """What is still measured when the trial ends counts up to there, and no further."""
    with trial.begin(), trial.profile("fit"):
        report = trial.success(loss=1, acc=1)
        burn()
    assert set(report.profiles) == {"trial", "trial:fit"}
    assert report.time.duration > 0
    assert repr(experiment.report(0).profiles) == repr(report.profiles) == repr(dict(trial.profiles))


def test_an_exception_is_kept_with_its_traceback(experiment: ts.Experiment, trial: ts.Trial) -> None:
    with trial.begin():
        raise ValueError("x must be positive")
    assert isinstance(trial.exception, ValueError)
    assert "x must be positive" in (trial.traceback or "")
    assert "test_trial_running.py" in (trial.traceback or "")
    assert trial.time.duration > 0
    report = trial.fail()
    assert report.exception == "ValueError: x must be positive"
    assert experiment.report(0).traceback == report.traceback == trial.traceback


def test_an_exception_after_the_end_is_not_swallowed(trial: ts.Trial) -> None:
    with pytest.raises(ZeroDivisionError), trial.begin():
        raise ZeroDivisionError(trial.success(loss=1, acc=1))
    assert trial.status is ts.Status.SUCCEEDED


def test_an_interrupt_after_the_end_goes_on(trial: ts.Trial) -> None:
    with pytest.raises(KeyboardInterrupt), trial.begin():
        raise KeyboardInterrupt(trial.success(loss=1, acc=1))
    assert trial.status is ts.Status.SUCCEEDED


def test_an_exception_given_for_a_trial_that_nobody_holds_is_kept(experiment: ts.Experiment) -> None:
    trial = experiment.register_trial({"lr": 1})
    trial.crashed(MemoryError("gone"))
    assert experiment.trial(0).exception == "MemoryError: gone"


def test_a_second_attempt_begins_without_the_first_ones_exception(experiment: ts.Experiment, trial: ts.Trial) -> None:
    with trial.begin():
        raise ValueError("first")
    trial.interrupt()
    with trial.begin():
        assert trial.exception is None
    trial.success(loss=1, acc=1)
    assert experiment.trial(0).exception is None


@pytest.mark.parametrize("kind", ["wall", "cpu", "process", "WALL", None])
def test_every_clock_is_there(trial: ts.Trial, kind: Any) -> None:
    with trial.begin(time=kind):
        burn()
    assert trial.time.kind == (kind or "wall").lower()
    assert trial.time.duration > 0
    assert (trial.time.start > 1e9) == (trial.time.kind == "wall")


def test_processor_time_is_of_work_and_not_of_waiting(trial: ts.Trial) -> None:
    """The thread's clock stands still while the thread waits, and while another one works."""
    with trial.profile("cpu", time="cpu"), trial.profile("process", time="process"):
        thread = threading.Thread(target=lambda: [burn() for _ in range(30)])
        thread.start()
        thread.join()
    cpu, process = trial.profiles["cpu"].time.duration, trial.profiles["cpu:process"].time.duration
    assert cpu < process / 2


@pytest.mark.parametrize(("unit", "size"), [("B", 1), ("KB", 1024), ("MB", 1024**2), ("gigabytes", 1024**3)])
def test_memory_comes_in_the_unit_asked_for(trial: ts.Trial, unit: str, size: int) -> None:
    with trial.profile("a", memory_unit=unit):
        pass
    memory = trial.profiles["a"].memory
    assert memory.unit is not None
    assert memory.unit.in_bytes == size
    in_bytes = memory.to_unit("B")
    assert in_bytes.start_rss == memory.start_rss * size
    assert in_bytes.start_rss % 1024 == 0
    assert 1 << 20 < in_bytes.start_rss < 1 << 40
    assert repr(in_bytes.to_unit(unit)) == repr(memory)
    report = trial.success(loss=1, acc=1)
    assert repr(report.profiles["a"].memory) == repr(memory)


def test_memory_is_known_where_there_is_no_proc(trial: ts.Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    rss, vms, shared = measuring.memory_bytes()
    monkeypatch.setattr(measuring, "_STATM", "/nowhere")
    other = measuring.memory_bytes()
    assert other[0] == pytest.approx(rss, rel=0.2)
    assert other[1] == pytest.approx(vms, rel=0.2)
    assert other[2] == pytest.approx(shared, rel=0.2)


@pytest.mark.parametrize("options", [{"time": "lunar"}, {"memory_unit": "TB"}, {"time": 3}, {"memory_unit": 3}])
def test_what_cannot_be_measured_is_refused_before_anything_happens(
    experiment: ts.Experiment, options: dict[str, Any]
) -> None:
    trial = experiment.register_trial({"lr": 1})
    with pytest.raises(UsageError, match="not a"), trial.begin(**options):
        raise AssertionError("never gets here")
    assert experiment.trial(0).status is ts.Status.PENDING
    with pytest.raises(UsageError, match="not a"), trial.profile("a", **options):
        raise AssertionError("never gets here")


# profile


def test_names_of_nested_blocks_are_joined(trial: ts.Trial) -> None:
    with trial.profile("before"):
        pass
    with trial.begin(), trial.profile("fit"), trial.profile("fold"):
        assert math.isnan(trial.profiles["trial:fit:fold"].time.duration)
    with trial.profile("after"):
        pass
    assert list(trial.profiles) == ["before", "trial", "trial:fit", "trial:fit:fold", "after"]
    assert all(profile.time.duration >= 0 for profile in trial.profiles.values())


def test_begin_keeps_its_name_inside_of_another_block(trial: ts.Trial) -> None:
    with trial.profile("all"), trial.begin(), trial.profile("trial"):
        pass
    assert list(trial.profiles) == ["all", "trial", "trial:trial"]
    assert trial.time.duration > 0


def test_a_block_that_raises_is_measured_and_the_next_is_not_inside_of_it(trial: ts.Trial) -> None:
    with pytest.raises(KeyError), trial.profile("outer"), trial.profile("inner"):
        raise KeyError("a")
    with trial.profile("next"):
        pass
    assert list(trial.profiles) == ["outer", "outer:inner", "next"]
    assert all(profile.time.duration >= 0 for profile in trial.profiles.values())
    with trial.begin(), trial.profile("fit"):
        raise KeyError("b")
    trial.fail()
    assert trial.profiles["trial:fit"].time.duration >= 0


def test_threads_measure_inside_of_begin_and_not_of_one_another(trial: ts.Trial) -> None:
    both = threading.Barrier(2)

    def fold(number: int) -> None:
        with trial.profile(f"fold-{number}"):
            both.wait(timeout=30)
            with trial.profile("fit"):
                both.wait(timeout=30)

    with trial.begin():
        threads = [threading.Thread(target=fold, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    folds = {f"trial:fold-{number}{rest}" for number in range(2) for rest in ("", ":fit")}
    assert set(trial.profiles) == {"trial", *folds}


def test_a_profile_joins_the_summary_when_asked(experiment: ts.Experiment, trial: ts.Trial) -> None:
    with trial.begin(), trial.profile("fit", summary=True, memory_unit="KB", time="process"):
        burn()
    with trial.profile("quiet"):
        pass
    profile = trial.profiles["trial:fit"]
    wanted = profile.to_dict(prefix="trial:fit")
    assert trial.summary == wanted
    assert {"trial:fit:time:duration", "trial:fit:memory:diff_rss", "trial:fit:memory:unit"} <= wanted.keys()
    trial.success(loss=1, acc=1)
    assert experiment.trial(0).summary == wanted


def test_the_block_yields_what_it_measures(trial: ts.Trial) -> None:
    with trial.profile("a") as profile:
        assert math.isnan(profile.time.end)
    assert profile is trial.profiles["a"]
    assert profile.time.end >= profile.time.start


def test_a_trial_that_has_ended_is_not_measured(trial: ts.Trial) -> None:
    trial.success(loss=1, acc=1)
    with pytest.raises(TransitionError), trial.profile("late"):
        raise AssertionError("never gets here")


def test_profiles_are_rows_in_sql_and_polars(experiment: ts.Experiment, trial: ts.Trial) -> None:
    with trial.begin(memory_unit="MB"), trial.profile("fit", time="cpu"):
        burn()
    trial.success(loss=1, acc=1)
    running(experiment).success(loss=1, acc=1)
    for step in (lambda: None, experiment.flush, lambda: experiment.trial(0).annotate(a=1), experiment.compact):
        step()
        rows = experiment.sql("SELECT * FROM profiles").pl()
        assert rows.equals(experiment.profiles().collect())
        assert rows["name"].to_list() == ["trial", "trial:fit"]
        assert rows["time_kind"].to_list() == ["wall", "cpu"]
        assert rows["memory_unit"].to_list() == ["megabytes", "bytes"]
        profile = trial.profiles["trial:fit"]
        assert rows["duration_s"][1] == profile.time.duration
        assert rows["start_rss_bytes"].to_list() == [trial.memory.start_rss * 2**20, profile.memory.start_rss]
        assert experiment.profiles(1).collect().is_empty()
    longest = experiment.sql("SELECT trial FROM trials WHERE len(profiles) = 2").fetchall()
    assert longest == [(0,)]


def test_a_trial_that_gathers_nothing_writes_no_more_than_its_metrics(
    experiment: ts.Experiment, trial: ts.Trial
) -> None:
    trial.success(loss=1, acc=2)
    commits = Path(experiment._ledger.blobs.url.removeprefix("file://"), "journal", "experiment=tune")
    last = max(commits.iterdir()).read_text().splitlines()[-1]
    body = json.loads(last)
    assert set(body) - {"session", "counter", "opens", "at", "kind"} == {"trial", "attempt", "status", "metrics"}
