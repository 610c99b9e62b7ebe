"""Verify, vacuum, repair and checkpoint on a folder, beside writers that come late."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support.small import files, grow_old, small_store
from trialstore.blobs.local import LocalBlobs
from trialstore.journal.journal import Draft
from trialstore.maintenance import waste as waste_module
from trialstore.maintenance.verify import verify_experiment
from trialstore.model.errors import DamagedError, ReadOnlyError, UsageError
from trialstore.tables.live import packed_rows_table
from trialstore.tables.parts import write_part

AT = "2026-11-21T01:02:03.123456Z"
DAY = timedelta(days=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in files(root)}


def reasons(waste: list[Any]) -> dict[str, str]:
    return {item.blob: item.reason for item in waste}


def replaced(waste: list[Any]) -> set[str]:
    return {item.blob for item in waste if item.reason == "a compaction replaced this part"}


def pass_by(monkeypatch: pytest.MonkeyPatch, length: timedelta) -> None:
    """Have the backend's clock be ahead for those who clean up."""
    monkeypatch.setattr(waste_module, "time_of", lambda blobs, writable: datetime.now(UTC) + length)


def unannounced(root: Path, table: str, trial: int = 0) -> str:
    """A part that its writer, who was killed, did not come to announcing."""
    row = [trial, 1, AT, "cpu", 7.5] if table == "telemetry" else [trial, 1, "loss", 1, AT, 7.5]
    return write_part(LocalBlobs(str(root)), "tune", table, packed_rows_table(table, [row]), seq=-1).blob_key("tune")


def samples(store: ts.Store) -> list[float]:
    return sorted(store.frame("telemetry").collect()["value"].to_list())


def test_a_sound_store_has_no_problem_no_waste_and_nothing_to_repair(root: Path) -> None:
    with small_store(root) as store:
        before = names(root)
        assert store.verify().problems == []
        assert store.verify(fast=True).problems == []
        assert store.verify().size_bytes > 1000
        assert store.vacuum(grace=timedelta(0), dry_run=True) == []
        assert store.vacuum() == []
        assert store.repair().done == ()
        assert names(root) == before


def test_what_is_not_old_enough_stays_and_what_is_goes_with_its_reason(root: Path) -> None:
    with small_store(root) as store:
        part = unannounced(root, "metrics")
        left = {
            part: "never announced",
            "inbox/experiment=tune/01JD0000000000000000000000-1-1.jsonl": "nobody waits",
            "leases/experiment=tune/01JD0000000000000000000000.json": "has left",
            "probe/01JD0000000000000000000000/0": "probe",
            "metrics/experiment=tune/.01JD0000000000000000000000.tmp": "temporary",
        }
        for name in left:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if name != part:
                (root / name).write_bytes(b"{}")
        before = names(root)
        assert store.vacuum(dry_run=True) == []
        for name in left:
            time = (root / name).stat().st_mtime - 2 * DAY.total_seconds()
            os.utime(root / name, (time, time))
        found = reasons(store.vacuum(dry_run=True))
        assert found.keys() == left.keys()
        assert all(word in found[name] for name, word in left.items()), found
        assert names(root) == before
        assert reasons(store.vacuum()).items() <= found.items()  # a commit on the way empties the inbox itself
        assert not any((root / name).exists() for name in left)
        assert store.vacuum() == []
        assert store.verify().problems == []


def test_a_live_sessions_lease_stays_however_old(root: Path) -> None:
    with small_store(root) as store:
        assert store.experiment("tune").reserve_trial() is not None
        grow_old(root, 30 * DAY, "leases/*/*")
        assert store.vacuum() == []


def test_a_part_that_was_deleted_can_not_be_announced_late(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its writer was suspended for longer than the grace, and comes back."""
    with small_store(root) as store:
        experiment = store.experiment("tune")
        late = write_part(
            LocalBlobs(str(root)), "tune", "telemetry", packed_rows_table("telemetry", [[0, 1, AT, "cpu", 7.5]]), seq=-1
        )
        grow_old(root, 2 * DAY, f"{late.id}*")
        assert [item.blob for item in store.vacuum()] == [late.blob_key("tune")]
        journal = experiment._ledger.journal
        journal.post(Draft("parts", {"parts": [late.to_json()]}))
        journal.flush()
        assert "too late" in caplog.text
        assert store.verify().problems == []
        assert 7.5 not in samples(store)


def test_replaced_parts_go_after_the_retention_and_a_snapshot_keeps_its_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ts.open(root, retention=2 * DAY).close()
    with small_store(root) as store:
        store.experiment("tune").flush()
        snapshot = store.snapshot()
        rows = snapshot.frame("trials").collect().sort("trial")
        store.compact()
        assert store.vacuum(grace=timedelta(0)) == []
        assert snapshot.frame("trials").collect().sort("trial").equals(rows)
        pass_by(monkeypatch, 1.9 * DAY)
        assert replaced(store.vacuum(grace=timedelta(0))) == set()
        assert snapshot.frame("trials").collect().sort("trial").equals(rows)
        pass_by(monkeypatch, 2.1 * DAY)
        assert replaced(store.vacuum(grace=3 * DAY)) == set()
        found = replaced(store.vacuum(grace=timedelta(0)))
        assert {part.blob_key("tune") for part in snapshot.experiments[0].parts} == found
        assert store.verify().problems == []
        assert store.snapshot().frame("trials").collect().sort("trial").equals(rows)


def test_a_dropped_experiments_folders_go_after_the_retention(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_store(root) as store:
        other = store.create_experiment("Other/one")
        other.register_trial({"a": 1})
        key = other._ledger.key
        store.drop_experiment("Other/one")
        assert store.vacuum(grace=timedelta(0)) == []
        pass_by(monkeypatch, 7.1 * DAY)
        found = [item for item in store.vacuum(grace=timedelta(0)) if key in item.blob]
        assert {item.reason[:26] for item in found} == {"its experiment was dropped"}
        monkeypatch.undo()
        assert not any(key in name for name in names(root))
        again = store.create_experiment("Other/one")
        assert again._ledger.key != key
        assert store.vacuum(grace=timedelta(0)) == []
        assert store.verify().problems == []


def test_commits_go_when_two_checkpoints_have_made_up_for_them_for_the_retention(root: Path) -> None:
    ts.open(root, retention=timedelta(hours=1)).close()
    with small_store(root) as store:
        experiment = store.experiment("tune")
        grow_old(root, timedelta(minutes=20), "checkpoints/*/*")
        experiment.register_trial({"lr": 2.0})
        experiment.checkpoint()
        history = store.frame("trials").collect().sort("trial")
        assert store.vacuum(grace=timedelta(0)) == []
        grow_old(root, timedelta(hours=2), "checkpoints/*/*")
        found = store.vacuum(grace=timedelta(0))
        assert found
        assert all("journal/experiment=tune/" in item.blob for item in found)
        assert min(names(root) & {str(p.relative_to(root)) for p in root.glob("journal/experiment=tune/*")}) > max(
            item.blob for item in found
        )
        assert store.verify().problems == []
        experiment.register_trial({"lr": 3.0})
    with ts.open(root) as store:
        assert store.frame("trials").collect().sort("trial").head(history.height).equals(history)
        store.experiment("tune").register_trial({"lr": 4.0})
        assert store.verify().problems == []


def test_the_retention_is_the_stores_own(root: Path) -> None:
    with ts.open(root, retention=timedelta(hours=1)):
        pass
    with ts.open(root, retention=timedelta(days=3)) as store:
        assert store._session.retention_s == 3600
    with pytest.raises(UsageError, match="too short"):
        ts.open(root.parent / "other", retention=timedelta(seconds=1))
    marker = root / "trialstore.json"
    marker.write_text(marker.read_text().replace("3600.0", '"forever"'))
    with pytest.raises(DamagedError, match="retention"):
        ts.open(root)


def test_repair_takes_in_telemetry_and_removes_other_parts(root: Path) -> None:
    with small_store(root) as store:
        before = samples(store)
        kept = unannounced(root, "telemetry", 0)
        gone = unannounced(root, "metrics", 0)
        strange = unannounced(root, "telemetry", 99)
        torn = unannounced(root, "telemetry", 0)
        (root / torn).write_bytes(b"PAR1")
        assert store.repair().done == ()
        grow_old(root, 2 * DAY, "*.parquet")
        done = {item.blob: item.what for item in store.repair().done}
        assert done.keys() == {kept, gone, strange, torn}
        assert "taken in" in done[kept]
        assert all("removed" in done[blob] for blob in (gone, strange, torn))
        assert samples(store) == sorted([*before, 7.5])
        assert store.repair().done == ()
        assert store.verify().problems == []
        assert not any((root / blob).exists() for blob in done)


def test_repair_writes_the_checkpoint_that_is_missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trialstore.maintenance import repair as module

    monkeypatch.setattr(module, "CHECKPOINT_EVERY", 5)
    with small_store(root) as store:
        for path in root.glob("checkpoints/*/*"):
            path.unlink()
        done = store.repair().done
        assert [item.what for item in done] == ["written anew"]
        assert (root / done[0].blob).exists()
        assert store.verify().problems == []


def test_checkpoint_writes_one_for_every_journal(root: Path) -> None:
    with small_store(root) as store:
        keys = store.checkpoint()
        assert [key.split("/")[1] for key in keys] == ["catalog", "experiment=tune"]
        assert all((root / key).exists() for key in keys)
        assert store.verify().problems == []


def test_reading_alone_may_verify_and_list_but_not_write(root: Path) -> None:
    small_store(root).close()
    before = names(root)
    store = ts.open(root, mode="r")
    assert store.verify().ok
    assert store.vacuum(dry_run=True) == []
    for act in (store.vacuum, store.repair, store.checkpoint, lambda: store.experiment("tune").vacuum()):
        with pytest.raises(ReadOnlyError):
            act()
    assert names(root) == before


def test_what_a_compaction_replaces_while_verify_reads_is_no_problem(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_store(root) as store:
        experiment = store.experiment("tune")
        ledger = experiment._ledger

        def compact_meanwhile(step: str) -> None:
            if step.startswith("artifacts 1/"):
                experiment.flush()
                experiment.compact(grace=timedelta(0))
                store.vacuum(grace=timedelta(0))

        report = verify_experiment(
            ledger.blobs, ledger.key, ledger.stored, ledger.stored.open(), fast=False, progress=compact_meanwhile
        )
        assert report.problems == []


def test_a_trial_in_two_places_and_one_that_is_nowhere_are_found(root: Path) -> None:
    with small_store(root) as store:
        ledger = store.experiment("tune")._ledger
        with ledger.journal.view() as state:
            part = next(part for part in state.manifest.parts.values() if part.table == "trials")
            twin = {**part.to_json(), "id": "01JD0000000000000000000000"}
        (root / f"trials/experiment=tune/{twin['id']}.parquet").write_bytes((root / part.blob_key("tune")).read_bytes())
        ledger.execute_one(Draft("parts", {"parts": [twin]}))
        assert any("two places" in problem.what for problem in store.verify(fast=True).problems)
        ledger.execute_one(
            Draft("replace", {"remove": [part.id, twin["id"]], "add": [], "dropped": {}, "dropped_artifacts": []})
        )
        assert any("were counted" in problem.what for problem in store.verify(fast=True).problems)


def test_without_any_grace_live_writers_lose_nothing(root: Path) -> None:
    """Whoever cleans up without a grace, beside threads that write, takes away nothing that is on its way."""
    small_store(root).close()
    stop = threading.Event()
    errors: list[BaseException] = []

    def clean_up() -> None:
        try:
            with ts.open(root, maintenance=False) as store:
                while not stop.is_set():
                    store.compact(grace=timedelta(0))
                    store.vacuum(grace=timedelta(0))
                    store.repair(grace=timedelta(0), fast=True)
        except BaseException as error:
            errors.append(error)

    def work(name: int) -> None:
        try:
            with ts.open(root, maintenance=False) as store:
                experiment = store.experiment("tune")
                for number in range(4):
                    trial = experiment.register_trial({"worker": name, "number": number}, reserve=True)
                    trial.begin()
                    for step in range(300):  # enough for a part of its own, announced when the trial ends
                        trial.report(step=step, loss=1.0)
                    trial.store({"notes.txt": f"{name} {number}"})
                    trial.success(loss=0.5)
        except BaseException as error:
            errors.append(error)

    cleaner = threading.Thread(target=clean_up)
    workers = [threading.Thread(target=work, args=[name]) for name in range(2)]
    for thread in (cleaner, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    cleaner.join()
    assert errors == []
    with ts.open(root) as store:
        assert store.verify().problems == []
        trials = [trial for trial in store.experiment("tune").trials() if "worker" in trial.params]
        assert len(trials) == 8
        assert all(trial.retrieve("notes.txt") for trial in trials)
        reported = store.sql("SELECT trial, count(*) FROM metrics GROUP BY trial HAVING count(*) > 1").fetchall()
        assert sorted(count for _, count in reported) == [300] * 8


def test_maintenance_works_in_memory(tmp_path: Path) -> None:
    maintain(ts.open(f"memory://{tmp_path.name}-upkeep", maintenance=False))


def test_maintenance_works_on_a_bucket(s3_url: tuple[str, dict[str, Any]]) -> None:
    url, options = s3_url
    maintain(ts.open(url, maintenance=False, storage_options=options))


def maintain(store: ts.Store) -> None:
    """Every verb once, where there are no files."""
    with store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        trial = experiment.register_trial({"lr": 1.0}, reserve=True)
        trial.store({"notes.txt": "first"})
        trial.report(step=0, loss=1.0)
        trial.success(loss=1.0)
        experiment.flush()
        store.checkpoint()
        experiment.compact(grace=timedelta(0))
        assert store.verify().problems == []
        assert store.verify(fast=True).problems == []
        assert store.vacuum(grace=timedelta(0)) == []
        assert store.repair(grace=timedelta(0)).problems == ()
        store._blobs.delete([info.key for info in store._blobs.list("metrics/")])
        assert [problem.kind for problem in store.verify(fast=True).problems] == ["missing"]


def test_what_a_writer_may_be_at_work_on_stays_whatever_the_grace(root: Path) -> None:
    with small_store(root) as store:
        telemetry, metrics = unannounced(root, "telemetry"), unannounced(root, "metrics")
        grow_old(root, timedelta(hours=1), "*.parquet")
        assert store.vacuum(grace=timedelta(0)) == []
        assert store.repair(grace=timedelta(0)).done == ()
        grow_old(root, timedelta(hours=2), "*.parquet")
        assert {item.blob for item in store.repair(grace=timedelta(0)).done} == {telemetry, metrics}
        assert store.vacuum(grace=timedelta(0)) == []
