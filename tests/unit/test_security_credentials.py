"""Credentials never appear: in errors, in logs, in pickles, in the store, in `repr`, in SQL."""

from __future__ import annotations

import logging
import pickle
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import current_process, get_context
from pathlib import Path
from typing import Any

import pytest

import trialstore as ts
from tests.support.small import files
from trialstore.blobs.anywhere import AnywhereBlobs
from trialstore.blobs.connection import Connection
from trialstore.blobs.resolve import BlobsSpec, open_blobs
from trialstore.blobs.retry import Retry
from trialstore.blobs.sealed import seal
from trialstore.blobs.secrets import Secrets, without_secrets
from trialstore.model.errors import UsageError

KEY, SECRET, TOKEN = "AKIAKEYKEYKEY", "wJalr/XUtnFEMI+K7MDENG", "session-token-1234"
OPTIONS = {
    "key": KEY,
    "secret": SECRET,
    "token": TOKEN,
    "client_kwargs": {"endpoint_url": "http://127.0.0.1:9", "region_name": "eu-west-9", "verify": False},
}


def tells(text: str) -> bool:
    return any(secret in text for secret in (KEY, SECRET, TOKEN, "wJalr%2FXUtnFEMI%2BK7MDENG"))


def everything(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + str(error) + repr(error) + repr(vars(error))


@pytest.mark.parametrize(
    "said",
    [
        f"cannot sign in with {SECRET}",
        f"GET http://h/?sig=wJalr%2FXUtnFEMI%2BK7MDENG&x=1 of {KEY}",
        f"bad argument {OPTIONS!r}",
        "nothing at all",
    ],
)
def test_what_a_client_says_is_told_without_them(said: str, caplog: pytest.LogCaptureFixture) -> None:
    connection = Connection("s3", "s3://bucket/x", OPTIONS, Retry(attempts=1))

    def fail(_: Any) -> None:
        try:
            raise ValueError(said)
        except ValueError as error:
            raise OSError(f"while asking: {error}") from error

    with pytest.raises(ts.TrialStoreError) as caught:
        connection.call("read a blob", fail, key="x")
    error = caught.value
    logging.getLogger("x").exception("failed", exc_info=error)
    for text in (everything(error), caplog.text, everything(pickle.loads(pickle.dumps(error)))):
        assert not tells(text)
        assert "read a blob" in text
    assert ("nothing at all" in everything(error)) == (said == "nothing at all")


def test_an_endpoint_that_refuses_and_one_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trialstore")
    blobs = open_blobs("s3://bucket/x", storage_options=OPTIONS)
    blobs._connection._retry = Retry(attempts=1)  # type: ignore[attr-defined]
    for act in (lambda: blobs.read("x"), lambda: blobs.create("x", b""), lambda: list(blobs.list(""))):
        with pytest.raises(ts.TrialStoreError) as caught:
            act()
        assert "http://127.0.0.1:9" in str(caught.value)
        assert not tells(everything(caught.value) + caplog.text)
    assert not tells(repr(blobs) + blobs.url + repr(BlobsSpec("s3://bucket/x", "machine", OPTIONS)))


def test_options_of_the_wrong_kind_are_not_echoed() -> None:
    with pytest.raises(UsageError) as caught:
        open_blobs("/tmp/x", storage_options=OPTIONS)
    assert not tells(everything(caught.value))
    with pytest.raises(UsageError) as caught:
        ts.open("/tmp/x", key=KEY, secret=SECRET)
    assert not tells(everything(caught.value))
    blobs = open_blobs("s3://bucket/x", storage_options={**OPTIONS, "no_such_option": SECRET})
    with pytest.raises(ts.TrialStoreError) as caught:
        blobs.read("x")
    assert not tells(everything(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        f"s3://{KEY}:{SECRET.replace('/', '')}@bucket/x",
        f"az://container/x?sv=1&sig={SECRET}",
        f"https://me:{SECRET.replace('/', '')}@host/x",
        f"ftp://me:{SECRET.replace('/', '')}@host/x?a=b",
        f"nope://me:{SECRET.replace('/', '')}@host/x",
    ],
)
def test_an_address_with_credentials_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(ts.TrialStoreError) as caught:
        open_blobs(url)
    assert SECRET.replace("/", "")[-8:] not in everything(caught.value)
    assert "://" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a b", "s3://bucket/a b"),
        ("abfss://box@account.dfs.core.windows.net/x", "abfss://box@account.dfs.core.windows.net/x"),
        ("az://box/x?sig=abc", "az://box/x?***"),
        ("s3://bucket/what?", "s3://bucket/what?"),
        ("ftp://me:pw@host/x", "ftp://me:***@host/x"),
    ],
)
def test_what_is_shown_of_an_address(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_what_says_where_a_store_is_may_be_told() -> None:
    secrets = Secrets(OPTIONS | {"token": "anon"})
    assert (
        secrets.hide(f"{KEY} at http://127.0.0.1:9 in eu-west-9, anon")
        == "*** at http://127.0.0.1:9 in eu-west-9, anon"
    )


def test_nothing_of_them_is_in_a_bucket_or_in_sql(bucket_url: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    url, options = bucket_url
    secrets = [text for text in _all_texts(options) if len(text) >= 8 and "://" not in text]
    with ts.open(url, storage_options=options) as store:
        experiment = store.create_experiment("tune", metrics=[ts.Metric("loss")])
        trial = experiment.register_trial({"lr": 0.5}, reserve=True)
        trial.store({"x.txt": "x"})
        trial.success(loss=1.0)
        experiment.flush()
        told = repr((store, experiment, trial, store.snapshot(), store._session, store._blobs))
        for query in ("SELECT * FROM duckdb_secrets()", "SELECT name, value FROM duckdb_settings()", "SHOW ALL TABLES"):
            told += repr(store.sql(query).fetchall())
        told += experiment.history().explain() + repr(experiment.history())
        with pytest.raises(ts.TrialStoreError) as caught:
            store.sql("SELECT nothing FROM trials")
        told += everything(caught.value)
        blobs = store._blobs
        for info in blobs.list(""):
            data = blobs.read(info.key)
            told += info.key
            assert not any(secret.encode() in data for secret in secrets), info.key
    assert not any(secret in told for secret in secrets)
    assert files(tmp_path) == []


def _all_texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for item in items for text in _all_texts(item)]


class TestPickles:
    """Storage options are whole in a pickle for the processes of one family, and tell nobody else a secret."""

    PLACES = (
        BlobsSpec("s3://bucket/x", storage_options=OPTIONS),
        open_blobs("s3://bucket/x", storage_options=OPTIONS),
        AnywhereBlobs("s3://bucket/x", OPTIONS),
    )

    @pytest.mark.parametrize("place", PLACES, ids=lambda place: type(place).__name__)
    def test_hold_no_secret_and_everything(self, place: Any) -> None:
        data = pickle.dumps(place)
        assert not tells(data.decode("latin-1"))
        assert b"http://127.0.0.1:9" in data
        assert options_of(pickle.loads(data)) == OPTIONS

    def test_two_of_one_store_do_not_look_alike(self) -> None:
        assert pickle.dumps(self.PLACES[0]) != pickle.dumps(self.PLACES[0])

    @pytest.mark.parametrize("method", ["spawn", "forkserver"])
    def test_children_find_everything(self, method: str) -> None:
        with ProcessPoolExecutor(1, get_context(method)) as pool:
            assert pool.submit(options_of, self.PLACES[1]).result(60) == OPTIONS

    def test_others_find_what_is_no_secret_and_are_told(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = pickle.dumps(self.PLACES[0])
        monkeypatch.setattr(current_process(), "authkey", b"of another family")
        assert options_of(pickle.loads(data)) == {"client_kwargs": OPTIONS["client_kwargs"]}
        assert "credentials travel in no pickle" in caplog.text

    def test_a_forged_box_is_not_opened(self, caplog: pytest.LogCaptureFixture) -> None:
        kind, (public, box) = seal(OPTIONS).__reduce__()
        assert callable(kind)
        forged = kind(public, box[:-1] + bytes([box[-1] ^ 1]))
        assert forged.options() == public
        assert "credentials travel in no pickle" in caplog.text

    def test_a_store_with_all_its_handles(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = ts.open(tmp_path / "store")
        experiment = store.create_experiment("x", metrics=[ts.Metric("loss")])
        trial = experiment.register_trial({"a": 1})
        monkeypatch.setattr(store._session, "place", self.PLACES[0])
        for handle in (store, experiment, trial):
            assert not tells(pickle.dumps(handle).decode("latin-1"))


def options_of(place: Any) -> Any:
    return place.storage_options if isinstance(place, BlobsSpec) else place._options
