"""Writes the golden stores of this format: `python tests/format/write_golden.py NAME FOLDER`.

They are written once for each format that is released, kept in git, and read by every later version. Times, identifiers
and the machine's name are made up, so that writing again gives the same bytes of commits and of descriptions; the
bytes of Parquet files and of gzip also depend on the libraries that write them.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

import trialstore as ts
from trialstore import session as session_module
from trialstore.blobs import local
from trialstore.blobs.barrier import Flushing
from trialstore.model import identity, times
from trialstore.model.codec import decode, encode
from trialstore.model.profile import MemoryInterval, MemoryUnit, Profile, TimeInterval, TimeKind

START = datetime(2026, 11, 21, 1, 2, 3, 456789, tzinfo=UTC)
TABLES = ("trials", "params", "profiles", "metrics", "telemetry", "status", "artifacts", "experiments")
ODD = {
    "nan": float("nan"),
    "inf": float("-inf"),
    "big": 2**70,
    "none": None,
    "true": True,
    "one": 1,
    "float": 1.0,
    "text": "näme 🚀\n\0",
    "bytes": b"\x00\xff",
    "list": [1, "a", None, (2.5, {"x": []})],
    "$dollar": {"$x": 1, 3: 4},
}


class _Clock:
    """The time module as the project uses it, a millisecond later each time it is asked."""

    strftime, gmtime = time.strftime, time.gmtime

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def time_ns(self) -> int:
        return int(START.timestamp() * 1000) * 10**6 + next(self._ticks) * 10**6


class _Chance:
    """The os module as far as identifiers need it."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def urandom(self, size: int) -> bytes:
        return next(self._numbers).to_bytes(size, "big")


class _Host:
    @staticmethod
    def gethostname() -> str:
        return "golden"


@contextmanager
def made_up() -> Iterator[None]:
    """Have time, chance and names be the same each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(times, "time", _Clock())
        patch.setattr(identity, "time", _Clock())
        patch.setattr(identity, "os", _Chance())
        patch.setattr(session_module, "socket", _Host())
        patch.setattr(local, "flushing", lambda folder: Flushing.BOTH)  # hidden names draw on chance too
        yield


def open_new(root: Path) -> ts.Store:
    store = ts.open(root, maintenance=False, lease_s=86400, linger_s=3600)
    store._session.worker = "golden:1"
    store._session.leases._worker = "golden:1"
    return store


def run_trial(experiment: ts.Experiment, loss: float) -> ts.Trial:
    trial = experiment.reserve_trial()
    assert trial is not None
    for step in range(3):
        trial.report(step=step, loss=loss + 1 / (step + 1))
    samples = [(START + timedelta(seconds=k), "cpu", k / 4) for k in range(5)]
    trial.update_telemetry(trial.status, START, [*samples, (START, "phase", "warm-up"), (START, "up", True)])
    trial.store({"notes.txt": f"loss {loss}", "config.json": {"loss": loss}})
    trial.success(loss=loss)
    return trial


def gathered(experiment: ts.Experiment, name: str) -> ts.Trial:
    """A trial with one of everything that a trial can gather; what is measured is made up."""
    trial = experiment.register_trial({name: 1}, info={"asked": (1, 2)}, seed=2**65, reserve=True)
    trial.set_trial_runner(7)
    trial.summary.update(odd=ODD, rate=float("nan"), count=2**70)
    trial.attach_extra("plugin", ODD)
    profiles = trial._held.keep().profiles
    profiles["trial"] = Profile(
        TimeInterval(1.5, 4.25, TimeKind.WALL), MemoryInterval(1.5, 2.5, 3.0, 4.0, 0.5, 0.5, MemoryUnit.MEGABYTES)
    )
    profiles["trial:fit"] = Profile(TimeInterval(0.125, 0.25, TimeKind.PROCESS), MemoryInterval())
    trial.store({"model.bin": b"elsewhere"}, where=lambda name, items: None)
    return trial


def journal(store: ts.Store) -> None:
    """Everything that a journal alone holds: no Parquet, so that every byte of it is the project's own."""
    experiment = store.create_experiment(
        "odd/näme",
        metrics=[ts.Metric("loss", bounds=(0, float("inf"))), ts.Metric("ops", minimize=False)],
        space=None,
        max_trials=9,
        metadata={"odd": ODD},
    )
    experiment.register_trials([ODD, {"lr": 0.1}, {"lr": 0.2}])
    experiment.register_trial({"lr": 0.3}, name="later", seed=7, fidelity={"s": 30}, ready_at=START + timedelta(1))
    first = experiment.reserve_trial()
    assert first is not None
    first.report(step=0, loss=0.5)
    first.success(loss=0.25, ops=3)
    second = experiment.reserve_trial()
    assert second is not None
    second.crashed("out of memory", "line 1\nline 2")
    gathered(experiment, "lr").success(loss=ts.Observation(0.5, sem=0.125, n=40), ops=ts.Observation(2, n=3))
    experiment.trial(1).attach_extra("late", (1, None))
    experiment.set_document("state", {"step": 1, "odd": ODD})
    store.set_document("locks", ["a", 1])
    store.intern_many([{"lr": 0.1}, ODD])
    store.update_experiment("odd/näme", max_trials=20)
    store.create_experiment("gone", metadata={})
    store.drop_experiment("gone")
    store.checkpoint()
    experiment.reserve_trial()


def tables(store: ts.Store) -> None:
    """Parts of every table: flushed, compacted, superseded, imported, with artifacts deleted and rows still live."""
    experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")], metadata={})
    experiment.register_trials([{"lr": 0.1 * k, "mixed": [1, "auto", None, True, 2.5][k % 5]} for k in range(12)])
    for number in range(4):
        run_trial(experiment, 1.0 + number)
    experiment.flush()
    for number in range(4):
        run_trial(experiment, 5.0 + number)
    experiment.flush()
    experiment.compact(grace=timedelta(0))
    experiment.trial(2).annotate(tag="revived", odd=ODD)
    experiment.trial(3).delete_from_storage(["notes.txt"])
    run_trial(experiment, 9.0)
    gathered(experiment, "lr").fail(loss=ts.Observation(0.5, sem=float("nan")))
    experiment.flush()
    run_trial(experiment, 10.0)
    experiment.trial(2).annotate(more=True)
    store.checkpoint()
    run_trial(experiment, float("nan"))


STORES: dict[str, Callable[[ts.Store], None]] = {"format-1-journal": journal, "format-1-tables": tables}


def contents(store: ts.Store) -> dict[str, Any]:
    """Everything that a user can read, in the exact JSON of the format."""
    found: dict[str, Any] = {"id": store.id, "created_at": store.created_at, "tables": {}, "experiments": {}}
    for table in TABLES:
        rows = store.frame(table).collect()
        found["tables"][table] = {"columns": rows.columns, "rows": sorted(rows.rows(), key=repr)}
    for experiment in store:
        found["experiments"][experiment.name] = {
            "key": experiment._ledger.key,
            "metadata": dict(experiment.metadata),
            "counts": {status.name: count for status, count in experiment.counts.items()},
            "state": experiment.document("state"),
            "reports": [report.to_dict() for report in experiment.reports()],
            "trials": [
                {
                    "params": dict(trial.params),
                    "status": trial.status.name,
                    "attributes": dict(trial.attributes or {}),
                    "artifacts": {item.name: trial.retrieve(item.name) for item in trial.artifacts().values()},
                }
                for trial in experiment.trials()
            ],
        }
    found["documents"] = {name: store.document(name) for name in ("locks", "none")}
    with store._catalog.view() as catalog:
        numbers = list(catalog.configurations)
    found["configurations"] = [store.configuration(number) for number in numbers]
    return found


def exact(value: Any) -> Any:
    """What the file of expected values gives back for it."""
    return decode(encode(value))


def write(name: str, root: Path) -> None:
    """Write one of the stores into a folder that does not exist."""
    with made_up(), open_new(root) as store:
        STORES[name](store)
    for folder in (*root.glob(".*"), root / "probe", root / "inbox"):
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    name, folder = sys.argv[1:]
    root = Path(folder) / name
    write(name, root)
    root.with_name(f"{name}.json").write_bytes(encode(contents(ts.open(root, mode="r"))) + b"\n")


if __name__ == "__main__":
    main()
