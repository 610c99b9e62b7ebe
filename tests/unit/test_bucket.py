"""A bucket gives back what was stored, by name, wherever its files are."""

from __future__ import annotations

import io
import math
import os
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem

import trialstore as ts
from trialstore.model.errors import (
    AccessDeniedError,
    ArtifactNotFoundError,
    BlobNotFoundError,
    DamagedError,
    InvalidNameError,
    MissingExtraError,
    StoreUnavailableError,
    UnsafeBackendError,
    UsageError,
)


class Elsewhere(LocalFileSystem):  # type: ignore[misc]
    """A filesystem that trialstore knows nothing of."""

    protocol = ("elsewhere",)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, str):
            path = path.removeprefix("elsewhere://")
        return LocalFileSystem._strip_protocol(path)


fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)


@pytest.fixture(params=["local", "memory", "elsewhere"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ts.Bucket]:
    urls = {"local": str(tmp_path / "b"), "memory": f"memory://{tmp_path}", "elsewhere": f"elsewhere://{tmp_path}/b"}
    bucket = ts.Bucket(urls[request.param])
    yield bucket
    bucket.clear()


class Unknown:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unknown)

    __hash__ = None  # type: ignore[assignment]


TABLE = pa.table({"a": [1, 2], "b": ["x", "é"]})
ARRAYS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.array([], dtype=np.int8)}
NESTED = {"z": [1, 1.0, None, True, "é\n"], "a": {"nan": math.nan, "inf": -math.inf, "1": "1"}}


def same_arrays(a: Any, b: Any) -> bool:
    return list(a) == list(b) and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("a.json", {"t": (1, math.inf), "k": [None, 2**70], "b": b"\0"}, lambda a, b: a == b),
        ("a.yaml", NESTED, lambda a, b: repr(a) == repr(b)),
        ("a.YML", "text: no mapping", lambda a, b: a == b),
        ("a.txt", "é\n\r\n\0", lambda a, b: a == b),
        ("deep/er/a.log", "", lambda a, b: a == b),
        ("a.csv", pl.DataFrame({"a": [1, 2]}), lambda a, b: a.equals(b)),
        ("a.parquet", TABLE, lambda a, b: a.to_arrow().to_pydict() == b.to_pydict()),
        ("a.arrow", TABLE, lambda a, b: a.equals(b)),
        ("a.npy", ARRAYS["x"], lambda a, b: a.dtype == b.dtype and np.array_equal(a, b)),
        ("a.npz", ARRAYS, same_arrays),
        ("a.bin", b"\x00\xff", lambda a, b: a == b),
        ("no ending, and % # ? é", b"", lambda a, b: a == b),
    ],
)
def test_what_is_stored_comes_back(bucket: ts.Bucket, name: str, value: Any, same: Any) -> None:
    (stored,) = bucket.store({name: value})
    assert (stored.name, stored.exists, name in bucket, list(bucket)) == (name, True, True, [name])
    assert same(stored.load(), value)
    assert same(bucket.fetch(name)[name], value)
    assert bucket.sizes() == {name: stored.size_bytes}
    again = pickle.loads(pickle.dumps(stored))
    assert again == stored
    assert same(again.load(), value)


def test_names_are_those_of_plain_files(tmp_path: Path) -> None:
    bucket = ts.Bucket(tmp_path / "b")
    assert (list(bucket), len(bucket), bucket.sizes(), (tmp_path / "b").exists()) == ([], 0, {}, False)
    bucket.store({"config.json": {"lr": 0.1}, "plots/loss curve.svg": "<svg/>"})
    assert (tmp_path / "b" / "config.json").read_text() == '{"lr":0.1}'
    assert (tmp_path / "b" / "plots" / "loss curve.svg").read_text() == "<svg/>"
    (tmp_path / "b" / "by hand.yaml").write_text("a: [1, 2]\n")
    assert bucket["by hand.yaml"].load() == {"a": [1, 2]}


def test_it_can_be_used_as_a_mapping(bucket: ts.Bucket) -> None:
    bucket["a.txt"] = "1"
    bucket["a.txt"] = "2"
    bucket["b.txt"] = "b"
    assert {name: stored.load() for name, stored in bucket.items()} == {"a.txt": "2", "b.txt": "b"}
    assert (len(bucket), "a.txt" in bucket, "c.txt" in bucket, 3 in bucket) == (2, True, False, False)
    del bucket["a.txt"]
    with pytest.raises(ArtifactNotFoundError):
        del bucket["a.txt"]
    assert bucket.remove(["a.txt", "b.txt"]) == {"a.txt": False, "b.txt": True}
    assert list(bucket) == []
    with pytest.raises(UsageError, match="several"):
        bucket.remove("a.txt")


def test_fetching(bucket: ts.Bucket) -> None:
    bucket.store({"config.json": 1, "model.bin": b"2"})
    assert bucket.fetch() == {}
    assert list(bucket.fetch("model.bin", "config.json").items()) == [("model.bin", b"2"), ("config.json", 1)]
    assert bucket.fetch("config.json", loader="bytes") == {"config.json": b"1"}
    with pytest.raises(ArtifactNotFoundError, match=r"did you mean 'config\.json'\?"):
        bucket.fetch("config.jsn")
    assert bucket.fetch("x", "config.json", default=None) == {"x": None, "config.json": 1}
    assert bucket.fetch("x", "y", default={"x": 7}) == {"x": 7, "y": None}
    for call in (lambda: bucket["x"].size_bytes, bucket["x"].load, bucket["x"].open, lambda: bucket["x"].save("y")):
        with pytest.raises(ArtifactNotFoundError, match="no such object"):
            call()
    assert not os.path.exists("y")
    assert bucket["config.json"].load(check=int) == 1
    with pytest.raises(TypeError, match=r"'config\.json' holds int, not str"):
        bucket["config.json"].load(check=str)


def test_finding(bucket: ts.Bucket) -> None:
    bucket.store({f"trial_{n}/{kind}.txt": f"{n}{kind}" for n in (1, 2) for kind in ("a", "b")})
    assert sorted(bucket.find("_1/")) == ["trial_1/a.txt", "trial_1/b.txt"]
    assert {key: found.load() for key, found in bucket.find(r"trial_(\d+)/a").items()} == {"1": "1a", "2": "2a"}
    assert sorted(bucket.find(r"trial_(\d+)/(.)")) == [("1", "a"), ("1", "b"), ("2", "a"), ("2", "b")]
    assert bucket.find("none") == {}
    with pytest.raises(UsageError, match="two names have one key"):
        bucket.find(r"trial_(\d+)")
    with pytest.raises(UsageError, match="regular expression"):
        bucket.find("(")


def test_a_bucket_in_a_bucket(bucket: ts.Bucket) -> None:
    sub = bucket.sub("trials") / "7"
    assert (list(sub), sub == bucket.sub("trials/7"), sub.url) == ([], True, f"{bucket.url}/trials/7")
    sub["x.txt"] = "1"
    bucket["y.txt"] = "2"
    assert (list(sub), sorted(bucket), sub.sizes()) == (["x.txt"], ["trials/7/x.txt", "y.txt"], {"x.txt": 1})
    assert pickle.loads(pickle.dumps(sub)).fetch("x.txt") == {"x.txt": "1"}
    sub.clear()
    assert list(bucket) == ["y.txt"]


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b"])
def test_a_name_does_not_reach_outside(bucket: ts.Bucket, name: Any) -> None:
    for call in (
        lambda: bucket.store({name: b"1"}),
        lambda: bucket[name],
        lambda: bucket.fetch(name),
        lambda: bucket.sub(name),
        lambda: bucket.remove([name]),
    ):
        with pytest.raises(InvalidNameError):
            call()
    assert list(bucket) == []


def test_nothing_is_pickled_or_unpickled_unless_asked(bucket: ts.Bucket) -> None:
    value = Unknown()
    for name in ("a.pkl", "a.joblib", "a.json", "a.yaml", "a.txt", "a.csv", "a.npy", "a.npz"):
        with pytest.raises(UsageError, match=r"ask for loader|cannot be stored exactly"):
            bucket.store({name: value})
    with pytest.raises(UsageError, match="object fields"):
        bucket.store({"a.npy": np.array([value], dtype=object)})
    assert list(bucket) == []
    bucket.store({"a.pkl": value}, loader="pickle")
    bucket.store({"a.joblib": value}, loader="joblib")
    assert bucket["a.pkl"].load() == pickle.dumps(value), "bytes, unless it is asked for"
    assert bucket["a.pkl"].load(loader="pickle") == value
    assert bucket["a.joblib"].load(loader="joblib") == value
    for name, dump in (("a.npy", np.save), ("a.npz", np.savez)):
        file = io.BytesIO()
        dump(file, np.array([value], dtype=object), allow_pickle=True)  # type: ignore[operator]
        bucket.store({name: file.getvalue()})
        with pytest.raises(DamagedError, match="pickle"):
            bucket[name].load()
    bucket.store({"a.yaml": b"!!python/object/apply:os.system ['touch /tmp/pwned']"})
    with pytest.raises(DamagedError, match="yaml"):
        bucket["a.yaml"].load()


def test_what_a_format_would_change_is_refused(bucket: ts.Bucket) -> None:
    for name, value in (
        ("a.yaml", (1, 2)),
        ("a.yaml", {1, 2}),
        ("a.npz", {"file": ARRAYS["x"]}),
        ("a.npz", {1: ARRAYS["x"]}),
        ("a.npz", [ARRAYS["x"]]),
        ("a.npy", [1.0]),
        ("a.txt", b"1".decode() + "\ud800"),
        ("a.txt", 1),
        ("a.csv", [1]),
    ):
        with pytest.raises(UsageError, match=r"^object cannot be stored as"):
            bucket.store({name: value})
    with pytest.raises(UsageError, match="no such loader"):
        bucket.store({"a": b""}, loader="yml")
    assert list(bucket) == []


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.txt", "a.csv", "a.parquet", "a.arrow", "a.npy", "a.npz"])
def test_a_damaged_file_is_named(bucket: ts.Bucket, name: str) -> None:
    bucket.store({name: b"\xff\x00 [{"})
    with pytest.raises(DamagedError, match=r"cannot be read") as caught:
        bucket[name].load()
    assert caught.value.facts["name"] == name


def test_large_files_are_copied_in_pieces(bucket: ts.Bucket, tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(24 << 20)
    source = tmp_path / "source"
    source.write_bytes(data)
    bounded = not bucket.url.startswith("memory:")
    tracemalloc.start()
    bucket.store({"by path.bin": source})
    with open(source, "rb") as file:
        bucket.store({"by file.bin": file})
        assert file.tell() == len(data)
    bucket["by path.bin"].save(tmp_path / "target")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 21 << 20 or not bounded
    assert (tmp_path / "target").read_bytes() == data
    assert bucket["by file.bin"].size_bytes == len(data)
    with bucket["by file.bin"].open() as reader:
        reader.seek(20 << 20)
        assert reader.read(9) == data[20 << 20 : (20 << 20) + 9]
    bucket.store({"in memory.bin": data})
    assert bucket["in memory.bin"].load() == data
    with pytest.raises(UsageError, match="binary mode"):
        bucket.store({"text": io.StringIO("x")})
    with pytest.raises(UsageError, match="cannot be read"):
        bucket.store({"c.bin": tmp_path / "absent"})
    assert sorted(bucket) == ["by file.bin", "by path.bin", "in memory.bin"]


def test_a_stream_that_breaks_off_leaves_what_was_there(bucket: ts.Bucket) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ZeroDivisionError

    bucket.store({"a.bin": b"old"})
    for name in ("a.bin", "b.bin"):
        with pytest.raises((ZeroDivisionError, StoreUnavailableError)):
            bucket.store({name: Breaking()})
    assert bucket.sizes() == {"a.bin": 3}
    assert bucket["a.bin"].load() == b"old"


def test_addresses_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        ts.Bucket(tmp_path / "file")
    with pytest.raises(UsageError, match="unknown scheme"):
        ts.Bucket("nowhere://x")
    with pytest.raises(UsageError, match="not an address"):
        ts.Bucket("")
    with pytest.raises(MissingExtraError):
        ts.Bucket("dropbox://x")


def test_a_store_is_not_kept_where_two_writers_may_win(tmp_path: Path) -> None:
    with pytest.raises(UnsafeBackendError):
        ts.open(f"elsewhere://{tmp_path}/s")
    blobs = ts.Bucket(f"elsewhere://{tmp_path}/s")._blobs
    with pytest.raises(UnsafeBackendError):
        blobs.create("a", b"")
    with pytest.raises(BlobNotFoundError):
        blobs.read("a")
    blobs.write("a", b"12345")
    assert blobs.read("a", 1, 3) == b"23"
    assert blobs.read_many(["b", "a"]) == [None, b"12345"]


def test_errors_of_another_filesystem_are_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = ts.Bucket(f"elsewhere://{tmp_path}/s")
    bucket["a"] = b"1"

    def refuse(*args: object, **kwargs: object) -> Any:
        raise PermissionError(13, "Permission denied")

    def fail(*args: object, **kwargs: object) -> Any:
        raise RuntimeError("the server said no")

    for error, kind in ((refuse, AccessDeniedError), (fail, StoreUnavailableError)):
        for name in ("cat_file", "pipe_file", "info", "find", "rm_file"):
            monkeypatch.setattr(Elsewhere, name, error)
        for call in (bucket["a"].load, lambda: bucket.store({"a": b"2"}), lambda: list(bucket), bucket["a"].remove):
            with pytest.raises(kind):
                call()
    monkeypatch.undo()
    assert bucket["a"].load() == b"1"
    assert os.listdir(tmp_path / "s") == ["a"]


def test_on_a_real_bucket(s3_url: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    url, options = s3_url
    bucket = ts.Bucket(f"{url}/objects", storage_options=options)
    data = np.random.default_rng(0).bytes(17 << 20)
    (tmp_path / "large").write_bytes(data)
    bucket.store({"a.json": {"x": (1,)}, "deep/large.bin": tmp_path / "large"})
    assert bucket.sizes() == {"a.json": bucket["a.json"].size_bytes, "deep/large.bin": len(data)}
    bucket["deep/large.bin"].save(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert bucket.fetch("a.json") == {"a.json": {"x": (1,)}}
    assert bucket.remove(["a.json", "b"]) == {"a.json": True, "b": False}
    with ts.open(f"{url}/store", storage_options=options) as store:
        experiment = store.create_experiment("tune")
        experiment.register_trials([{"x": 1}, {"x": 2}])
        for _ in range(2):
            trial = experiment.reserve_trial()
            assert trial is not None
            trial.store({"large.bin": tmp_path / "large"})
            trial.success()
        trial.retrieve_file("large.bin", tmp_path / "artifact")
        assert (tmp_path / "artifact").read_bytes() == data
        assert sum("/sha256/" in info.key for info in store._blobs.list("")) == 1
