"""Optuna's artifacts in a store's own table, and at any address."""

from __future__ import annotations

import io
import pickle
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import Backoff, download_artifact, get_all_artifact_meta, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound

import trialstore as ts
from trialstore.integrations.optuna import TrialStoreArtifactStore
from trialstore.model.errors import DamagedError, UsageError


def rows(place: str) -> list[tuple[Any, ...]]:
    with ts.open(place, mode="r") as store:
        query = "SELECT experiment, trial, split_part(name, '/', 2), size_bytes FROM artifacts ORDER BY ALL"
        return list(store.sql(query).fetchall())


def file(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


@pytest.mark.parametrize("scheme", ["path", "memory", "filecache"])
def test_at_an_address(scheme: str, tmp_path: Path) -> None:
    """What the protocol says, wherever fsspec can write."""
    where = {"path": str(tmp_path), "memory": f"memory://{tmp_path.name}/artifacts", "filecache": f"local://{tmp_path}"}
    store = TrialStoreArtifactStore(where[scheme])
    store.write("a-1", io.BytesIO(b"one"))
    store.write("a-1", io.BytesIO(b"two"))
    with store.open_reader("a-1") as reader:
        assert reader.read() == b"two"
    assert pickle.loads(pickle.dumps(store)).open_reader("a-1").read() == b"two"
    store.remove("a-1")
    for call in (store.open_reader, store.remove):
        with pytest.raises(ArtifactNotFound):
            call("a-1")
    for bad in ("", "a/b", "../a", "/a", "."):
        with pytest.raises(UsageError):
            store.open_reader(bad)


def test_on_buckets(bucket_url: tuple[str, dict[str, Any]]) -> None:
    url, options = bucket_url
    store = TrialStoreArtifactStore(url, storage_options=options)
    store.write("a-1", io.BytesIO(b"x" * 100_000))
    assert store.open_reader("a-1").read() == b"x" * 100_000
    store.remove("a-1")
    with pytest.raises(ArtifactNotFound):
        store.open_reader("a-1")


def test_what_is_uploaded_is_a_row_of_its_trial_or_study(storage: Any, place: str, tmp_path: Path) -> None:
    artifacts = TrialStoreArtifactStore(storage)
    study = optuna.create_study(study_name="tune", storage=storage)
    model = file(tmp_path, "model.bin", bytes(range(256)) * 10)

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("id", upload_artifact(artifact_store=artifacts, file_path=model, study_or_trial=trial))
        return 1.0

    study.optimize(objective, n_trials=2)
    of_study = upload_artifact(artifact_store=artifacts, file_path=model, study_or_trial=study)

    assert rows(place) == [("tune", number, "model.bin", 2560) for number in (-1, 0, 1)]
    assert len(list((Path(place) / "artifacts").rglob("sha256/*"))) == 1, "equal bytes are stored once"
    trial = study.trials[1]
    (meta,) = get_all_artifact_meta(trial, storage=storage)
    assert meta.artifact_id == trial.user_attrs["id"]
    assert meta.filename == "model.bin"
    elsewhere = TrialStoreArtifactStore(place)  # as in another process
    target = tmp_path / "back.bin"
    download_artifact(artifact_store=elsewhere, artifact_id=meta.artifact_id, file_path=str(target))
    assert target.read_bytes() == Path(model).read_bytes()
    native = ts.open(place)["tune"].trial(1)
    assert native.retrieve(f"{meta.artifact_id}/model.bin") == Path(model).read_bytes()

    elsewhere.remove(meta.artifact_id)
    assert rows(place) == [("tune", number, "model.bin", 2560) for number in (-1, 0)]
    for call in (artifacts.open_reader, artifacts.remove):
        with pytest.raises(ArtifactNotFound):
            call(meta.artifact_id)
    assert artifacts.open_reader(of_study).read(3) == b"\x00\x01\x02"


def test_artifacts_survive_compaction_and_go_with_their_study(storage: Any, place: str, tmp_path: Path) -> None:
    artifacts = TrialStoreArtifactStore(storage)
    path = file(tmp_path, "x.txt", b"text")
    study = optuna.create_study(study_name="tune", storage=storage)
    trial = study.ask()
    artifact = upload_artifact(artifact_store=artifacts, file_path=path, study_or_trial=trial)
    study.tell(trial, 1.0)
    ts.open(place)["tune"].compact(grace=timedelta(0))
    assert TrialStoreArtifactStore(place).open_reader(artifact).read() == b"text"
    assert artifacts.open_reader(artifact).read() == b"text"

    optuna.delete_study(study_name="tune", storage=storage)
    assert rows(place) == []
    with pytest.raises(ArtifactNotFound):
        TrialStoreArtifactStore(place).open_reader(artifact)


@pytest.mark.parametrize("of_study", [True, False])
def test_what_is_written_before_it_is_linked_becomes_a_row(
    storage: Any, place: str, tmp_path: Path, of_study: bool
) -> None:
    """As `optuna-dashboard` does it; and it is deleted like any other."""
    artifacts = TrialStoreArtifactStore(storage)
    study = optuna.create_study(study_name="tune", storage=storage)
    trial = study.ask()
    artifacts.write("0a-1", io.BytesIO(b"early"))
    artifacts.write("0a-2", io.BytesIO(b"never linked"))
    assert rows(place) == []
    assert artifacts.open_reader("0a-1").read() == b"early"
    link = '{"artifact_id": "0a-1", "filename": "e.txt", "mimetype": "text/plain", "encoding": null}'
    if of_study:
        storage.set_study_system_attr(study._study_id, "artifacts:0a-1", link)
    else:
        storage.set_trial_system_attr(trial._trial_id, "artifacts:0a-1", link)

    assert rows(place) == [("tune", -1 if of_study else 0, "e.txt", 5)]
    other = TrialStoreArtifactStore(place)
    assert other.open_reader("0a-1").read() == b"early"
    other.remove("0a-1")
    other.remove("0a-2")
    assert rows(place) == []
    for name in ("0a-1", "0a-2"):
        with pytest.raises(ArtifactNotFound):
            artifacts.open_reader(name)


def test_a_damaged_artifact_is_found_when_it_is_read_to_its_end(storage: Any, place: str, tmp_path: Path) -> None:
    artifacts = TrialStoreArtifactStore(storage)
    study = optuna.create_study(study_name="tune", storage=storage)
    path = file(tmp_path, "x.bin", b"0123456789")
    artifact = upload_artifact(artifact_store=artifacts, file_path=path, study_or_trial=study)
    (blob,) = (Path(place) / "artifacts").rglob("sha256/*")
    blob.write_bytes(b"0123456780")
    with pytest.raises(DamagedError, match="not hold what was stored"):
        artifacts.open_reader(artifact).read()
    reader = artifacts.open_reader(artifact)
    assert reader.seek(3) == 3
    assert reader.read(2) == b"34"  # what is read in part cannot be compared


def test_large_ones_are_never_whole_in_memory(storage: Any, tmp_path: Path) -> None:
    artifacts = TrialStoreArtifactStore(storage)
    study = optuna.create_study(study_name="tune", storage=storage)
    path = tmp_path / "large.bin"
    with path.open("wb") as sink:
        for number in range(64):
            sink.write(bytes([number]) * (1 << 20))
    tracemalloc.start()
    artifact = upload_artifact(artifact_store=artifacts, file_path=str(path), study_or_trial=study)
    download_artifact(artifact_store=artifacts, artifact_id=artifact, file_path=str(tmp_path / "back.bin"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "back.bin").read_bytes() == path.read_bytes()
    assert peak < 24 << 20


def test_with_optunas_backoff_and_any_file_name(storage: Any, place: str, tmp_path: Path) -> None:
    artifacts = Backoff(TrialStoreArtifactStore(storage.store))
    study = optuna.create_study(study_name="tune", storage=storage)
    for name in ("Ω 1.txt", "a" * 200):
        upload_artifact(artifact_store=artifacts, file_path=file(tmp_path, name, b"x"), study_or_trial=study)
    assert [row[2] for row in rows(place)] == ["a" * 200, "Ω 1.txt"]
