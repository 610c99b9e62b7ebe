"""Times of any zone, wherever the process believes that it is."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytz
from mlos_bench.environments.status import Status

ZONES = [None, "UTC", "America/Chicago", "America/Los_Angeles", "Asia/Kolkata"]
OTHER = "TRIALSTORE_TEST_ZONE"


def zoned(name: str | None) -> datetime:
    """Now in a zone; None for the process's own, without saying so."""
    now = datetime.now() if name is None else datetime.now(pytz.timezone(name))
    return now.replace(microsecond=123456)


@pytest.mark.parametrize("zone", ZONES)
def test_telemetry_keeps_its_instants(experiment: Any, storage: Any, tunables: Any, zone: str | None) -> None:
    start = zoned(zone)
    samples = [(start + timedelta(seconds=n), name, n / 7) for n in range(10) for name in ("cpu", "mem")]
    trial = experiment.new_trial(tunables, start)
    trial.update_telemetry(Status.RUNNING, start, samples)
    trial.update_telemetry(Status.RUNNING, start, samples)
    told = experiment.load_telemetry(trial.trial_id)
    assert told == [(at.astimezone(pytz.UTC), name, str(value)) for at, name, value in samples]
    assert {at.tzinfo for at, _, _ in told} == {pytz.UTC}
    frame = storage.experiments["Test-001"].trials[1].telemetry_df
    assert frame["ts"].tolist() == [at for at, _, _ in told]


@pytest.mark.parametrize("one", ZONES)
@pytest.mark.parametrize("two", [None, "UTC", "America/Chicago"])
def test_the_same_sample_in_two_zones_is_one(experiment: Any, tunables: Any, one: str | None, two: str | None) -> None:
    now = datetime.now().replace(microsecond=123456)
    times = [now if zone is None else now.astimezone(pytz.timezone(zone)) for zone in (one, two)]
    trial = experiment.new_trial(tunables)
    for number, at in enumerate(times):
        trial.update_telemetry(Status.RUNNING, at, [(at, "cpu", number)])
    assert experiment.load_telemetry(1) == [(now.astimezone(pytz.UTC), "cpu", "0")]


@pytest.mark.parametrize("zone", ZONES)
def test_trials_start_and_end_when_they_do(experiment: Any, storage: Any, tunables: Any, zone: str | None) -> None:
    start = zoned(zone)
    hour = timedelta(hours=1)
    trial = experiment.new_trial(tunables, start + hour)
    assert list(experiment.pending_trials(start + hour - timedelta(microseconds=1), running=False)) == []
    (pending,) = experiment.pending_trials((start + hour).astimezone(pytz.UTC), running=False)
    (naive,) = experiment.pending_trials((start + hour).astimezone(None).replace(tzinfo=None), running=False)
    assert pending.trial_id == naive.trial_id == trial.trial_id
    trial.update(Status.RUNNING, start + 2 * hour)
    trial.update(Status.SUCCEEDED, start + 3 * hour, {"score": 1})
    data = storage.experiments["Test-001"].trials[1]
    assert data.ts_start == (start + 2 * hour).astimezone(pytz.UTC)
    assert data.ts_end == (start + 3 * hour).astimezone(pytz.UTC)
    assert data.ts_start.tzinfo == data.ts_end.tzinfo == pytz.UTC


@pytest.mark.skipif(OTHER in os.environ, reason="this is the other process")
@pytest.mark.parametrize("zone", ["UTC", "America/Chicago", "America/Los_Angeles", ""])
def test_in_a_process_elsewhere(zone: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("TZ", "PYTEST_ADDOPTS")}
    environment |= {OTHER: zone} | ({"TZ": zone} if zone else {})
    root = Path(__file__).resolve().parents[3]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--confcutdir={root}/tests/integrations",
    ]
    done = subprocess.run(
        [*command, "-k", "not elsewhere", __file__],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
