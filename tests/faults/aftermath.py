"""What must be in a store whose processes were killed: compared with what they told before they died."""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

import trialstore as ts
from tests.faults.lives import NOON, content, loss_of

__all__ = ["check", "read_diaries", "recover"]

Line = dict[str, Any]
TABLES = ("trials", "metrics", "telemetry", "status", "artifacts")


def read_diaries(folder: Path) -> list[Line]:
    """Every whole line; a process that failed instead of being killed fails the test here."""
    lines = [
        json.loads(line)
        for path in sorted(folder.iterdir())
        for line in path.read_bytes().split(b"\n")[:-1]  # what follows the last line break is a line that was cut
    ]
    errors = [line["text"] for line in lines if line["event"] == "error"]
    assert not errors, errors[0]
    return lines


def recover(folder: str, finish: Callable[[ts.Trial], None]) -> None:
    """Open the store, take the trials of those that are dead, finish all there are, and merge everything."""
    for lease in Path(folder).glob("leases/experiment=tune/*.json"):
        os.utime(lease, (0, 0))
    with ts.open(folder, durability="process") as store:
        experiment = store["tune"]
        experiment.fix_lost_trials()
        assert ts.Status.RUNNING not in experiment.counts
        while (trial := experiment.reserve_trial()) is not None:
            finish(trial)
        experiment.compact(grace=timedelta(0))


def check(folder: str, lines: list[Line]) -> None:
    """Nothing that was acknowledged is missing, nothing is there twice, and every reader sees the same."""
    with ts.open(folder, mode="r") as store:
        assert store.verify().problems == []
        experiment = store["tune"]
        snapshot = experiment.snapshot()
        frames = {table: snapshot.frame(table).collect() for table in TABLES}
        check_readers(folder, snapshot, frames)
        check_trials(frames["trials"], experiment, lines)
        check_rows(frames, experiment, lines)
        check_artifacts(Path(folder), frames["artifacts"], experiment)


def check_readers(folder: str, snapshot: Any, frames: dict[str, pl.DataFrame]) -> None:
    """SQL, Polars and the Parquet files themselves have the same rows, and the files are those that were written."""
    (view,) = snapshot.experiments
    assert not any(view.live[table].num_rows for table in TABLES)
    assert not any(view.superseded.values())
    for table, frame in frames.items():
        rows = spelled(frame.rows())
        assert spelled(snapshot.sql(f"SELECT * FROM {table}").pl().rows()) == rows
        plain: list[tuple[Any, ...]] = []
        for part in view.table_parts(table):
            path = Path(folder) / part.blob_key("tune")
            data = path.read_bytes()
            assert (len(data), zlib.crc32(data)) == (part.size_bytes, part.crc32)
            raw = pl.from_arrow(pq.read_table(path, partitioning=None))
            assert isinstance(raw, pl.DataFrame)
            keys = [name for name in ("trial", "attempt", "status", "name", "step", "at", "value") if name in raw]
            plain += raw.select(keys).rows()
        keys = [name for name in ("trial", "attempt", "status", "name", "step", "at", "value") if name in frame]
        assert spelled(frame.select(keys).rows()) == spelled(plain), table


def spelled(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(map(repr, rows))


def check_trials(trials: pl.DataFrame, experiment: ts.Experiment, lines: list[Line]) -> None:
    numbers = trials["trial"].sort().to_list()
    assert numbers == list(range(len(experiment)))
    assert set(trials["status"]) == {"SUCCEEDED"}
    assert experiment.counts == {ts.Status.SUCCEEDED: len(numbers)}
    params = dict(zip(trials["trial"], trials["params"].struct.field("x"), strict=True))
    for line in told(lines, "registered"):
        for number, given in line["trials"].items():
            assert params[int(number)] == given["x"]
    once = Counter((line["trial"], line["attempt"]) for line in told(lines, "claimed"))
    assert set(once.values()) == {1}, "an attempt was given to two processes"
    finished = Counter(line["trial"] for line in told(lines, "finished"))
    assert set(finished.values()) == {1}, "a trial was finished twice"
    attempts = dict(zip(trials["trial"], trials["attempt"], strict=True))
    for line in told(lines, "finished"):
        assert attempts[line["trial"]] == line["attempt"], "a result was acknowledged, and another one counts"
    losses = trials["metrics"].struct.field("loss").to_list()
    assert losses == [loss_of(n, a) for n, a in zip(trials["trial"], trials["attempt"], strict=True)]


def check_rows(frames: dict[str, pl.DataFrame], experiment: ts.Experiment, lines: list[Line]) -> None:
    """The attempt that counts has all that it logged, once."""
    plans = {(line["trial"], line["attempt"]): line for line in told(lines, "finishing")}
    reports, samples = by_attempt(frames["metrics"]), by_attempt(frames["telemetry"])
    steps = frames["status"].filter(pl.col("reason").is_null() | (pl.col("reason") != "late result"))
    ends = Counter(steps.filter(pl.col("status") == "SUCCEEDED")["trial"])
    for trial in experiment.trials():
        owner = (trial.number, trial.attempt)
        plan = plans[owner]
        stepped = sorted((row["step"], row["value"]) for row in reports.get(owner, []) if row["step"] is not None)
        assert stepped == [(step, loss_of(trial.number, step)) for step in range(plan["reports"])], owner
        there = {row["at"]: row["value"] for row in samples.get(owner, [])}
        earlier = {row["at"] for (n, _), rows in samples.items() if n == trial.number for row in rows}
        wanted = {NOON + timedelta(seconds=second): second / 2 for second in range(plan["samples"])}
        assert wanted.keys() <= earlier, owner  # of equal samples of two attempts the first one stays
        assert all(wanted.get(at) == value for at, value in there.items()), owner
        assert ends[trial.number] == 1
        assert [ended["attempt"] for ended in trial.attempts] == list(range(1, trial.attempt))


def check_artifacts(folder: Path, rows: pl.DataFrame, experiment: ts.Experiment) -> None:
    """Every attempt that stored one has it, and that which counts always has."""
    owners = list(zip(rows["trial"], rows["attempt"], strict=True))
    assert len(set(owners)) == len(owners)
    assert {(trial.number, trial.attempt) for trial in experiment.trials()} <= set(owners)
    for owner, path in zip(owners, rows["path"], strict=True):
        assert (folder / path).read_bytes() == content(*owner)
    last = experiment.trial(len(experiment) - 1)
    assert last.retrieve("out.bin") == content(last.number, last.attempt)


def by_attempt(frame: pl.DataFrame) -> dict[tuple[int, int], list[dict[str, Any]]]:
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        found.setdefault((row["trial"], row["attempt"]), []).append(row)
    return found


def told(lines: list[Line], event: str) -> list[Line]:
    return [line for line in lines if line["event"] == event]
