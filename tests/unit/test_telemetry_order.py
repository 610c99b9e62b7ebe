"""Of equal samples the first that was logged stays, by whatever way each came, before and after any maintenance."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import trialstore as ts
from trialstore.journal.journal import Draft
from trialstore.maintenance import compact as compact_module
from trialstore.maintenance.compact import _crowded, _merge
from trialstore.maintenance.flush import flush
from trialstore.model.part import Part

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCHEMA = {"at": pl.Datetime("us", "UTC"), "name": pl.String, "value": pl.Int64}


def at(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


def log(trial: ts.Trial, way: str, seconds: list[int], value: int, commit: bool = True) -> None:
    """The same samples as tuples that ride the journal, or as a frame that becomes a part."""
    samples: Any = [(at(second), "x", value) for second in seconds]
    if way == "frame":
        samples = pl.DataFrame(samples, SCHEMA, orient="row")
    trial.update_telemetry(trial.status, NOON, samples)
    if commit:
        trial._held.ledger.commit_buffered()


def shown(experiment: ts.Experiment) -> dict[tuple[int, int], int]:
    """By trial and second the value; alike by SQL, by Polars, and by Polars of one trial."""
    snapshot = experiment.snapshot()
    rows = snapshot.sql('SELECT trial, "at", value::BIGINT FROM telemetry').fetchall()
    frames = [snapshot.frame("telemetry"), *(snapshot.frame("telemetry", trial=n) for n in range(len(experiment)))]
    whole, *parts = [frame.select("trial", "at", pl.col("value").cast(pl.Int64)).collect() for frame in frames]
    assert sorted(rows) == sorted(whole.rows()) == sorted(pl.concat(parts).rows())
    return {(trial, round((time - NOON).total_seconds())): value for trial, time, value in rows}


@pytest.fixture
def experiment(tmp_path: Path) -> ts.Experiment:
    store = ts.open(tmp_path / "store", durability="process", maintenance=False, linger_s=3600)
    return store.create_experiment("e")


def series(experiment: ts.Experiment) -> list[Part]:
    with experiment._ledger.journal.view() as state:
        return [part for part in state.manifest.parts.values() if part.table == "telemetry"]


def merge_some(experiment: ts.Experiment) -> None:
    """What the background merge does, without a flush before it."""
    ledger = experiment._ledger
    _merge(ledger.blobs, ledger.key, ledger.journal, "telemetry", _crowded)


@pytest.mark.parametrize("together", [True, False], ids=["one commit", "a commit each"])
@pytest.mark.parametrize("ways", [("frame", "tuple"), ("tuple", "frame"), ("tuple", "frame", "tuple"), ("frame",) * 2])
def test_the_first_stays_whichever_way_it_came(
    experiment: ts.Experiment, ways: tuple[str, ...], together: bool
) -> None:
    trial = experiment.register_trial({}, reserve=True)
    expected: dict[tuple[int, int], int] = {}
    for value, way in enumerate(ways):
        log(trial, way, [0, value + 1], value, commit=not together)
        expected |= {(0, 0): 0, (0, value + 1): value}
    assert shown(experiment) == expected
    for maintain in (experiment.flush, experiment.compact):
        maintain()
        assert shown(experiment) == expected


def test_a_frame_is_not_overtaken_by_rows_enough_for_a_part(experiment: ts.Experiment) -> None:
    """Tuples enough for a part of their own, logged after a frame, in one commit with it."""
    trial = experiment.register_trial({}, reserve=True)
    log(trial, "frame", [0], 0, commit=False)
    for value in range(1, 4):
        log(trial, "tuple", list(range(100)), value, commit=False)
    assert shown(experiment) == {(0, 0): 0} | {(0, second): 1 for second in range(1, 100)}


@pytest.mark.parametrize("seed", range(12))
def test_any_arrival_and_any_maintenance_in_between(
    experiment: ts.Experiment, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sessions, three trials, few moments, and parts of few sizes, so that much meets."""
    monkeypatch.setattr(compact_module, "_TIER", 2)
    chance = random.Random(seed)
    url = experiment._ledger.blobs.url
    other = ts.open(url, durability="process", maintenance=False, linger_s=3599)["e"]
    mine = [experiment.register_trial({}, reserve=True) for _ in range(3)]
    trials = [mine, [other.trial(trial.number) for trial in mine]]
    expected: dict[tuple[int, int], int] = {}
    for value in range(30):
        trial = chance.choice(chance.choice(trials))
        seconds = [chance.randrange(8) for _ in range(chance.randrange(1, 4))]
        log(trial, chance.choice(["frame", "tuple"]), seconds, value)
        for second in seconds:
            expected.setdefault((trial.number, second), value)
        act = chance.choice([None, None, None, experiment.flush, other.compact, lambda: merge_some(experiment)])
        if act is not None:
            act()
        if value % 10 == 9:
            assert shown(experiment) == expected
    experiment.compact()
    assert shown(experiment) == expected


@pytest.mark.parametrize("flush_waits", [True, False], ids=["flush", "merge"])
def test_a_flush_and_a_merge_that_cross(
    experiment: ts.Experiment, monkeypatch: pytest.MonkeyPatch, flush_waits: bool
) -> None:
    """Each looks, then the other commits: whichever comes second finds that its parts would stand wrongly."""
    monkeypatch.setattr(compact_module, "_TIER", 2)
    trial, second = (experiment.register_trial({}, reserve=True) for _ in range(2))
    log(second, "tuple", [7], 0)
    log(trial, "frame", [5], 1)
    log(second, "tuple", [8], 2)
    log(second, "frame", [9], 3)
    log(trial, "tuple", [5, 6], 4)
    expected = {(1, 7): 0, (0, 5): 1, (1, 8): 2, (1, 9): 3, (0, 6): 4}
    assert shown(experiment) == expected
    ledger = experiment._ledger

    def flush_now() -> object:
        return flush(ledger.blobs, ledger.key, ledger.journal)

    def merge_now() -> object:
        return merge_some(experiment)

    slow, quick = (flush_now, merge_now) if flush_waits else (merge_now, flush_now)
    monkeypatch.setattr(ledger, "journal", Crossed(ledger.journal, "flush" if flush_waits else "replace", quick))
    slow()
    assert shown(experiment) == expected
    experiment.compact()
    assert shown(experiment) == expected


class Crossed:
    """A journal on which something else happens right before the first command of a kind."""

    def __init__(self, journal: Any, kind: str, act: Callable[[], object]) -> None:
        self._journal, self._kind, self._act = journal, kind, [act]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def execute(self, *drafts: Draft) -> Any:
        if self._act and drafts[0].kind == self._kind:
            self._act.pop()()
        return self._journal.execute(*drafts)


def test_rows_before_merged_parts_stay_before_them(experiment: ts.Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact_module, "_TIER", 2)
    trial = experiment.register_trial({}, reserve=True)
    log(trial, "tuple", [0], 0)
    for value in (1, 2):
        log(trial, "frame", [0, value], value)
    merge_some(experiment)
    assert len(series(experiment)) == 1
    assert shown(experiment) == {(0, 0): 0, (0, 1): 1, (0, 2): 2}


def test_parts_between_are_merged_as_well(experiment: ts.Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too large to be worth it stands between two that are not."""
    monkeypatch.setitem(compact_module.PART_ROWS, "telemetry", 10)
    trial = experiment.register_trial({}, reserve=True)
    for value, count in enumerate([2, 6, 2]):
        log(trial, "frame", list(range(count)), value)
    experiment.compact()
    assert [part.rows for part in series(experiment)] == [6]
    assert shown(experiment) == {(0, second): 0 if second < 2 else 1 for second in range(6)}


def test_parts_that_share_no_sample_do_not_cut_a_flush(experiment: ts.Experiment) -> None:
    trials = [experiment.register_trial({}, reserve=True) for _ in range(2)]
    for second in range(20):
        log(trials[0], "tuple", [second], second)
        log(trials[1], "frame", [second], second)
    experiment.flush()
    assert sorted(part.rows for part in series(experiment)) == [1] * 20 + [20]
