"""Snapshots of the past: by number, by time and by id, as long as the store keeps it, and a clear error after that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support.small import grow_old, small_store
from trialstore.maintenance import waste as waste_module
from trialstore.model.citation import Citation, is_citation
from trialstore.model.errors import (
    ExperimentNotFoundError,
    InvalidTimeError,
    SnapshotNotFoundError,
    UsageError,
)
from trialstore.query.snapshot import Snapshot

NONE = timedelta(0)
DAY = timedelta(days=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def seq(snapshot: Snapshot) -> int:
    return snapshot.experiments[0].seq


def rows(snapshot: Snapshot) -> dict[str, list[Any]]:
    """Every row of every table, by SQL and by Polars alike."""
    found = {}
    for table in ("trials", "params", "metrics", "telemetry", "status", "artifacts", "experiments"):
        framed = snapshot.frame(table).collect()
        asked = snapshot.sql(f"SELECT * FROM {table}").pl()
        found[table] = sorted(map(repr, framed.select(sorted(framed.columns)).rows()))
        assert found[table] == sorted(map(repr, asked.select(sorted(asked.columns)).rows())), table
    return found


def succeed(experiment: ts.Experiment, loss: float) -> None:
    trial = experiment.register_trial({"lr": loss}, reserve=True)
    trial.report(step=0, loss=loss)
    trial.success(loss=loss)


def test_every_state_can_be_had_again_by_number_by_id_and_by_time(root: Path) -> None:
    """Also after flushes, compactions and a checkpoint, in this process and in another one."""
    past: list[tuple[int, datetime, str, str, dict[str, list[Any]], dict[str, list[Any]]]] = []
    with small_store(root) as store:
        experiment = store.experiment("tune")
        moves: list[Callable[[], object]] = [
            lambda: experiment.register_trial({"lr": 9.0}),
            lambda: succeed(experiment, 0.5),
            experiment.flush,
            lambda: experiment.trial(0).annotate(tag="late"),
            store.compact,
            lambda: experiment.trial(1).delete_from_storage(["notes.txt"]),
            lambda: store.update_experiment("tune", max_trials=50),
            store.checkpoint,
            lambda: store.create_experiment("other", metrics=[ts.Metric("loss")]),
            lambda: succeed(store["other"], 1.0) if "other" in store else None,
            store.compact,
            lambda: store.drop_experiment("other"),
            lambda: succeed(experiment, 0.25),
        ]
        for move in moves:
            one, whole = experiment.snapshot(), store.snapshot()
            past.append((seq(one), datetime.now(UTC), one.id, whole.id, rows(one), rows(whole)))
            move()
        for reader in (store, ts.open(root, mode="r")):
            for number, moment, one_id, whole_id, one_rows, whole_rows in past:
                one = reader["tune"].snapshot(as_of=one_id)
                if reader is store:
                    assert rows(reader.snapshot(whole_id)) == whole_rows
                else:
                    assert rows(one) == one_rows
                assert reader.snapshot(as_of=moment).id == reader.snapshot(moment.isoformat()).id == whole_id
                assert reader["tune"].snapshot(as_of=moment).id == reader.snapshot(as_of=one_id).id == one_id
                assert reader["tune"].snapshot(as_of=whole_id).id == one_id
                by_number = reader["tune"].snapshot(as_of=number)
                assert by_number.experiments[0].changed == one.experiments[0].changed


def test_an_id_changes_with_what_readers_see_and_with_nothing_else(root: Path) -> None:
    with small_store(root) as store:
        experiment = store.experiment("tune")
        same = store.snapshot().id
        assert is_citation(same)
        moves: list[Callable[[], object]] = [
            store.flush,
            experiment.flush,
            store.compact,
            lambda: experiment.compact(grace=NONE),
            store.checkpoint,
            store.vacuum,
            store.repair,
            lambda: experiment.fix_lost_trials(),
        ]
        for move in moves:
            move()
            assert store.snapshot().id == same
        assert ts.open(root, mode="r").snapshot().id == same
        trial = experiment.reserve_trial()
        assert trial is not None
        seen = {same, store.snapshot().id}
        with pytest.raises(ts.TrialStoreError):
            store.create_experiment("tune")
        assert store.snapshot().id in seen
        changes: list[Callable[[], object]] = [
            lambda: trial.success(loss=1.0),
            lambda: trial.annotate(tag=1),
            lambda: store.update_experiment("tune", max_trials=7),
            lambda: store.create_experiment("other"),
            lambda: store.set_document("d", 1),
            lambda: experiment.set_document("d", 1),
        ]
        for change in changes:
            change()
            assert store.snapshot().id not in seen
            seen.add(store.snapshot().id)


def test_a_worker_that_finds_nothing_to_do_changes_no_id(root: Path) -> None:
    with ts.open(root) as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        succeed(experiment, 1.0)
        same = store.snapshot().id
        assert experiment.reserve_trial() is None
        assert store.snapshot().id == same
        experiment.compact(grace=NONE)
        experiment.register_trial({"lr": 2.0})
        assert rows(store.snapshot(same))["trials"] == rows(experiment.snapshot(same))["trials"]


def test_an_id_holds_for_ever_while_nothing_changes_and_in_every_copy(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ts.open(root, retention=timedelta(hours=1)).close()
    with small_store(root) as store:
        before, cited = rows(store.snapshot()), store.snapshot().id
        for _ in range(3):
            store.compact(grace=NONE)
            store.checkpoint()
            grow_old(root, 2 * DAY)
            monkeypatch.setattr(waste_module, "time_of", lambda blobs, writable: datetime.now(UTC) + 2 * DAY)
            store.vacuum(grace=NONE)
            monkeypatch.undo()
        assert not (root / "journal/experiment=tune/00000000000000000000.jsonl").exists()
        assert rows(store.snapshot(cited)) == before
        shutil.copytree(root, tmp_path / "copy")
        succeed(store["tune"], 1.0)
    assert rows(ts.open(tmp_path / "copy", mode="r").snapshot(cited)) == before


def test_a_change_after_a_compaction_leaves_what_was_cited_before_it(root: Path) -> None:
    """The files that the compaction replaced are gone, and those that it wrote hold the same rows."""
    with small_store(root) as store:
        before, cited = rows(store.snapshot()), store.snapshot().id
        store.compact(grace=NONE)
        succeed(store["tune"], 1.0)
        store["tune"].flush()
        assert rows(store.snapshot(cited)) == before


def test_what_was_deleted_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_store(root) as store:
        experiment = store.experiment("tune")
        cited, number, moment = store.snapshot().id, seq(experiment.snapshot()), datetime.now(UTC)
        succeed(experiment, 1.0)
        store["tune"].flush()
        store.compact(grace=NONE)
        for as_of in (cited, moment):
            with pytest.raises(SnapshotNotFoundError, match="files of that time were deleted") as error:
                store.snapshot(as_of)
            assert any("experiment=tune" in blob for blob in error.value.facts["blobs"])  # type: ignore[attr-defined]
        with pytest.raises(SnapshotNotFoundError, match="files of that time were deleted"):
            experiment.snapshot(number)
    ts.open(root.parent / "short", retention=timedelta(hours=1)).close()
    with small_store(root.parent / "short") as store:
        experiment = store.experiment("tune")
        cited, moment = experiment.snapshot().id, datetime.now(UTC)
        for _ in range(3):
            succeed(experiment, 1.0)
            store.checkpoint()
            grow_old(root.parent / "short", timedelta(minutes=50), "checkpoints/*/*")
        store.vacuum(grace=NONE)
        for as_of in (cited, moment, 3):
            with pytest.raises(SnapshotNotFoundError, match="history of that time is no longer kept"):
                experiment.snapshot(as_of)


def test_a_dropped_experiment_is_in_the_past_until_the_retention_is_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_store(root) as store:
        before, cited, moment = rows(store.snapshot()), store.snapshot().id, datetime.now(UTC)
        store.drop_experiment("tune")
        assert len(store.snapshot().experiments) == 0
        store.vacuum(grace=NONE)
        assert rows(store.snapshot(cited)) == rows(store.snapshot(moment)) == before
        monkeypatch.setattr(waste_module, "time_of", lambda blobs, writable: datetime.now(UTC) + 8 * DAY)
        store.vacuum(grace=NONE)
        with pytest.raises(SnapshotNotFoundError, match="the experiment was dropped") as error:
            store.snapshot(cited)
        assert error.value.facts["experiment"] == "tune"


def test_an_id_of_another_store_or_of_another_history_is_refused(root: Path, tmp_path: Path) -> None:
    with small_store(root) as store:
        shutil.copytree(root, tmp_path / "copy")
        one, whole = store["tune"].snapshot().id, store.snapshot().id
        with small_store(tmp_path / "other") as other:
            for cited in (one, whole):
                with pytest.raises(SnapshotNotFoundError, match="never was in the state"):
                    other.snapshot(cited)
        with ts.open(tmp_path / "copy") as fork:
            succeed(store["tune"], 1.0)
            succeed(fork["tune"], 1.0)
            assert seq(store["tune"].snapshot()) == seq(fork["tune"].snapshot())
            with pytest.raises(SnapshotNotFoundError, match="never was in the state"):
                fork.snapshot(store.snapshot().id)
            succeed(store["tune"], 1.0)
            with pytest.raises(SnapshotNotFoundError, match="no commit of this number yet"):
                fork.snapshot(store.snapshot().id)
        empty = store.create_experiment("empty")
        with pytest.raises(SnapshotNotFoundError, match="does not have this experiment"):
            empty.snapshot(as_of=one)
        with pytest.raises(UsageError, match="has an id"):
            Snapshot(store._blobs, []).id  # noqa: B018


def test_what_is_no_moment_is_refused_with_a_hint(root: Path) -> None:
    with small_store(root) as store:
        experiment, cited = store["tune"], store.snapshot().id
        for as_of in (-2, True, 1.5, "yesterday", "", cited.upper(), "ts" + "a" * 12, {"tune": "x"}):
            with pytest.raises(UsageError):
                store.snapshot(as_of)  # type: ignore[arg-type]
        for mistyped in (cited[:-1], cited + "a", cited[:5] + "x" + cited[6:], cited[:-2] + "zz"):
            if mistyped != cited:
                with pytest.raises((UsageError, SnapshotNotFoundError)):
                    store.snapshot(mistyped)
        with pytest.raises(UsageError, match="belongs to one experiment"):
            store.snapshot(3)
        with pytest.raises(UsageError, match="alone"):
            experiment.snapshot({"tune": 1})
        with pytest.raises(InvalidTimeError, match="no zone"):
            store.snapshot("2026-11-21T01:02:03")
        with pytest.raises(SnapshotNotFoundError, match="no commit of this number yet"):
            experiment.snapshot(10_000)
        with pytest.raises(ExperimentNotFoundError, match="tune"):
            store.snapshot({"tunes": 3})


def test_numbers_by_experiment_leave_the_others_as_they_are(root: Path) -> None:
    with small_store(root) as store:
        number = seq(store["tune"].snapshot())
        other = store.create_experiment("other", metrics=[ts.Metric("loss")])
        succeed(other, 1.0)
        succeed(store["tune"], 1.0)
        found = store.snapshot({"tune": number})
        assert rows(found)["trials"] == rows(store.snapshot({"tune": number, "other": seq(other.snapshot())}))["trials"]
        assert found.frame("trials", experiment="tune").collect().height == 6
        assert found.frame("trials", experiment="other").collect().height == 1
        assert rows(store.snapshot(found.id)) == rows(found)


def test_a_time_before_everything_shows_nothing_and_one_to_come_shows_the_present(root: Path) -> None:
    with small_store(root) as store:
        assert store.snapshot(datetime(2000, 1, 1, tzinfo=UTC)).experiments == ()
        assert rows(store["tune"].snapshot(-1))["trials"] == []
        assert store.snapshot(datetime.now(UTC) + DAY).id == store.snapshot().id


def test_attached_stores_show_the_same_time(root: Path, tmp_path: Path) -> None:
    with small_store(root) as store, small_store(tmp_path / "other") as other:
        moment, cited = datetime.now(UTC), store.snapshot().id
        succeed(store["tune"], 1.0)
        succeed(other["tune"], 1.0)
        store.attach(other, "theirs")
        both = "SELECT (SELECT count(*) FROM trials), (SELECT count(*) FROM theirs.trials)"
        assert store.sql(both).fetchone() == (7, 7)
        assert store.sql(both, as_of=moment).fetchone() == (6, 6)
        assert store.sql(both, as_of=cited).fetchone() == (6, 7)


def test_a_number_without_an_end_is_no_id() -> None:
    with pytest.raises(UsageError, match="not the id"):
        Citation.parse("ts" + "7" * 4_000_000)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_an_id_tells_what_was_put_in(count: int) -> None:
    marks = [(number, (number * 1000 - 1, number * 77)) for number in range(count)]
    cited = Citation.of("01JD", (5, 99), marks)
    assert Citation.parse(str(cited)) == cited
    assert len(str(cited)) <= 15 + 5 * count
    for other in (("01JE", (5, 99), marks), ("01JD", (5, 98), marks), ("01JD", (5, 99), [*marks, (99, (0, 0))])):
        assert str(Citation.of(*other)) != str(cited)
