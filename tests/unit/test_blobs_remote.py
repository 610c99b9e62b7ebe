from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.exceptions
import pytest

from tests.support.elsewhere import in_a_fork, in_a_fresh_interpreter
from tests.support.s3 import S3Server
from tests.unit.test_blobs_faults import s3
from trialstore.blobs.remote import RemoteBlobs
from trialstore.blobs.retry import Retry
from trialstore.model.errors import (
    AccessDeniedError,
    MissingExtraError,
    OutcomeUnknownError,
    StorageFullError,
    StoreNotFoundError,
    StoreUnavailableError,
    UsageError,
)

TAKEN = s3("PreconditionFailed", 412)
LOST = botocore.exceptions.ReadTimeoutError(endpoint_url="http://bucket")
REFUSED = botocore.exceptions.EndpointConnectionError(endpoint_url="http://bucket")
BUSY = s3("SlowDown", 503)
NO_BUCKET = s3("NoSuchBucket", 404)


class Script:
    """A filesystem of which each request takes the next outcome: an error, or a value to return."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def request(*_: Any, **options: Any) -> Any:
            self.requests.append((name, options))
            outcome = self.outcomes.pop(0)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return request


def scripted(*outcomes: Any, attempts: int = 4) -> tuple[RemoteBlobs, Script]:
    blobs = RemoteBlobs("s3://bucket/store", {}, retry=Retry(attempts, first_s=0))
    script = Script(*outcomes)
    blobs._connection._mine = (os.getpid(), script, ThreadPoolExecutor(2))
    return blobs, script


class TestCreate:
    def test_asks_for_the_condition(self) -> None:
        blobs, script = scripted(None)
        assert blobs.create("a", b"1") is True
        assert script.requests == [("pipe_file", {"mode": "create"})]

    def test_a_conflict_is_an_answer(self) -> None:
        blobs, script = scripted(TAKEN)
        assert blobs.create("a", b"1") is False
        assert len(script.requests) == 1

    @pytest.mark.parametrize("error", [BUSY, REFUSED, LOST, s3("ConditionalRequestConflict", 409)])
    def test_is_sent_again(self, error: Exception) -> None:
        blobs, script = scripted(error, error, None)
        assert blobs.create("a", b"1") is True
        assert len(script.requests) == 3

    def test_a_conflict_after_a_lost_answer_may_be_with_itself(self) -> None:
        blobs, _ = scripted(LOST, TAKEN)
        assert blobs.create("a", b"1") is False

    def test_no_answer_at_all(self) -> None:
        blobs, script = scripted(*[LOST] * 9)
        with pytest.raises(OutcomeUnknownError, match="it may have happened") as caught:
            blobs.create("a", b"1")
        assert len(script.requests) == 4
        assert caught.value.facts["key"] == "a"

    def test_one_lost_answer_makes_the_outcome_unknown(self) -> None:
        blobs, _ = scripted(REFUSED, LOST, REFUSED, REFUSED)
        with pytest.raises(OutcomeUnknownError):
            blobs.create("a", b"1")

    @pytest.mark.parametrize("error", [BUSY, REFUSED])
    def test_what_was_never_taken_surely_did_not_happen(self, error: Exception) -> None:
        blobs, _ = scripted(*[error] * 9)
        with pytest.raises(StoreUnavailableError) as caught:
            blobs.create("a", b"1")
        assert type(caught.value) is StoreUnavailableError

    @pytest.mark.parametrize(
        ("error", "ours"),
        [
            (s3("AccessDenied", 403), AccessDeniedError),
            (s3("QuotaExceeded", 403), StorageFullError),
            (s3("InvalidBucketName", 400), UsageError),
            (s3("MalformedXML", 400), StoreUnavailableError),
            (NO_BUCKET, StoreNotFoundError),
            (s3("NoSuchKey", 404), StoreNotFoundError),
        ],
    )
    def test_a_refusal_is_not_sent_again(self, error: Exception, ours: type[Exception]) -> None:
        for act in (lambda b: b.create("a", b"1"), lambda b: b.write("a", b"1")):
            blobs, script = scripted(error)
            with pytest.raises(ours):
                act(blobs)
            assert len(script.requests) == 1

    def test_refuses_what_would_go_up_in_parts(self) -> None:
        blobs, script = scripted()
        with pytest.raises(UsageError, match="too large"):
            blobs.create("a", bytes((32 << 20) + 1))
        assert script.requests == []


class TestReads:
    def test_one_request_a_read(self) -> None:
        blobs, script = scripted(b"1", b"2")
        assert (blobs.read("a"), blobs.read("a", 3, 9)) == (b"1", b"2")
        assert script.requests == [
            ("cat_file", {"max_concurrency": 1}),
            ("cat_file", {"max_concurrency": 1, "start": 3, "end": 9}),
        ]

    def test_no_answer_means_unavailable(self) -> None:
        blobs, script = scripted(*[LOST] * 4)
        with pytest.raises(StoreUnavailableError):
            blobs.read("a")
        assert len(script.requests) == 4

    def test_one_failure_among_many_is_told(self) -> None:
        blobs, _ = scripted(b"1", s3("AccessDenied", 403), b"3")
        with pytest.raises(AccessDeniedError):
            blobs.read_many(["a", "b", "c"])


class TestPauses:
    def test_grow_to_a_limit_and_are_part_chance(self) -> None:
        pauses = list(Retry(8, first_s=0.1, longest_s=1.0).pauses(random.Random(1)))
        assert len(pauses) == 7
        for pause, whole in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1, 1, 1], strict=True):
            assert whole / 2 <= pause <= whole
        assert len(set(pauses)) == 7
        assert list(Retry(1).pauses(random.Random(1))) == []
        with pytest.raises(UsageError):
            Retry(0)


class TestAddress:
    def test_two_spellings_are_one_place(self) -> None:
        urls = {RemoteBlobs(url, {}).url for url in ("s3://bucket/a/b", "s3://bucket/a/b/", "s3://bucket//a//b/")}
        assert urls == {"s3://bucket/a/b"}
        blobs = RemoteBlobs("s3://bucket", {})
        assert (blobs.url, blobs.engine_path("k")) == ("s3://bucket", "s3://bucket/k")

    @pytest.mark.parametrize("url", ["s3://", "s3:///", "s3://bucket/../x", "s3://bucket/.hidden"])
    def test_what_is_no_place(self, url: str) -> None:
        with pytest.raises(UsageError):
            RemoteBlobs(url, {})

    def test_a_missing_package_names_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import fsspec

        def missing(scheme: str) -> None:
            raise ImportError(f"install the package of {scheme}")

        monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
        for scheme, extra in [("s3", "s3"), ("gs", "gcs"), ("az", "azure")]:
            with pytest.raises(MissingExtraError) as caught:
                RemoteBlobs(f"{scheme}://bucket", {})
            assert caught.value.hint == f'pip install "trialstore[{extra}]"'

    def test_secrets_are_not_shown(self) -> None:
        assert "hush" not in repr(RemoteBlobs("s3://bucket", {"secret": "hush"}))


class _HangsUp:
    """Takes each request and ends the connection without an answer."""

    def __init__(self) -> None:
        self.requests = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                head = connection.recv(65536)
                if not head:
                    return
                self.requests += 1

    def close(self) -> None:
        with socket.create_connection(self._socket.getsockname()):
            pass
        self._thread.join()
        self._socket.close()


@pytest.fixture
def server_that_hangs_up() -> Iterator[_HangsUp]:
    server = _HangsUp()
    yield server
    server.close()


class TestOnServers:
    def test_a_missing_bucket(self, s3_server: S3Server) -> None:
        blobs = RemoteBlobs("s3://no-such-bucket/x", s3_server.options)
        for act in (
            lambda: blobs.create("a", b"1"),
            lambda: blobs.write("a", b"1"),
            lambda: blobs.write_stream("a", io.BytesIO(b"1")),
            lambda: blobs.read("a"),
            lambda: blobs.read_many(["a", "b"]),
            lambda: list(blobs.list("")),
        ):
            with pytest.raises(StoreNotFoundError) as caught:
                act()
            assert "create the bucket first" in str(caught.value)

    def test_nobody_is_there(self) -> None:
        options = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:1"}
        blobs = RemoteBlobs("s3://bucket/x", options, retry=Retry(2, first_s=0))
        with pytest.raises(StoreUnavailableError, match="failed to create"):
            blobs.create("a", b"1")

    def test_the_client_does_not_try_again_by_itself(self, server_that_hangs_up: _HangsUp) -> None:
        options = {"key": "k", "secret": "s", "endpoint_url": server_that_hangs_up.endpoint}
        for attempts in (1, 3):
            blobs = RemoteBlobs("s3://bucket/x", options, retry=Retry(attempts, first_s=0))
            server_that_hangs_up.requests = 0
            with pytest.raises(OutcomeUnknownError):
                blobs.create("a", b"1")
            # aiohttp, below the client, sends once more when a connection ends without an answer
            assert attempts <= server_that_hangs_up.requests <= 2 * attempts

    def test_a_wrong_secret(self, s3_server: S3Server) -> None:
        if s3_server.name == "moto":
            pytest.skip("moto lets everybody in")
        blobs = RemoteBlobs("s3://trialstore-tests/x", {**s3_server.options, "secret": "wrong"})
        with pytest.raises(AccessDeniedError, match="check the credentials"):
            blobs.create("a", b"1")

    def test_a_wrong_option(self, s3_server: S3Server) -> None:
        blobs = RemoteBlobs("s3://trialstore-tests/x", {**s3_server.options, "kye": "k"})
        with pytest.raises(UsageError, match="storage options"):
            blobs.create("a", b"1")

    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
    def test_a_forked_child_connects_for_itself(self, s3_url: tuple[str, dict[str, Any]]) -> None:
        assert in_a_fresh_interpreter(_write_in_parent_and_child, *s3_url) == [b"1", b"many"]

    def test_engines_have_an_instance_of_their_own(self, s3_url: tuple[str, dict[str, Any]]) -> None:
        blobs = RemoteBlobs(*s3_url)
        blobs.write("folder/a", b"1")
        filesystem = blobs.filesystem
        assert filesystem is blobs.filesystem
        assert filesystem is not blobs._connection._filesystem()
        folder = blobs.engine_path("folder/a").rpartition("/")[0]
        assert len(filesystem.ls(folder)) == 1
        pickle.loads(pickle.dumps(blobs)).write("folder/b", b"1")
        assert len(filesystem.ls(folder)) == 1  # it caches
        assert len(list(blobs.list("folder/"))) == 2  # the other does not

    def test_a_gateway_that_is_killed_and_comes_back(
        self, s3_server: S3Server, s3_url: tuple[str, dict[str, Any]]
    ) -> None:
        if s3_server.ceph is None:
            pytest.skip("moto forgets everything when it ends")
        blobs = RemoteBlobs(*s3_url)
        blobs.write("before", b"1")
        refused = threading.Event()
        blobs._connection._chance = _Telling(refused)
        s3_server.ceph.kill_gateway()
        with ThreadPoolExecutor(3) as pool:
            created = pool.submit(blobs.create, "created", b"2")
            read = pool.submit(blobs.read, "before")
            listed = pool.submit(lambda: [info.key for info in blobs.list("")])
            assert refused.wait(60)
            s3_server.ceph.start_gateway()
            assert (created.result(60), read.result(60)) == (True, b"1")
            assert "before" in listed.result(60)
        assert blobs.read("created") == b"2"


class _Telling(random.Random):
    """Says when a pause is drawn, which is after a request failed."""

    def __init__(self, drawn: threading.Event) -> None:
        super().__init__(1)
        self._drawn = drawn

    def uniform(self, a: float, b: float) -> float:
        self._drawn.set()
        return super().uniform(a, b)


def _write_in_parent_and_child(url: str, options: dict[str, Any]) -> list[bytes | None]:
    blobs = RemoteBlobs(url, options)
    assert blobs.create("parent", b"1")
    in_a_fork(lambda: _write_in_child(blobs))
    return blobs.read_many(["child", "many"])


def _write_in_child(blobs: RemoteBlobs) -> None:
    assert blobs.read("parent") == b"1"
    assert blobs.create("child", b"1")
    blobs.write("many", b"many")
    assert blobs.read_many(["parent", "child", "many"]) == [b"1", b"1", b"many"]
