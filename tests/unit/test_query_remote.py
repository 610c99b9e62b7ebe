from __future__ import annotations

from typing import Any

import pytest

from tests.support.snapshots import experiment, record, sample
from trialstore.blobs.resolve import open_blobs
from trialstore.model.errors import UnsupportedError
from trialstore.query import cloud
from trialstore.query.snapshot import Snapshot


class Bucket:
    """Only what the choice of options looks at."""

    def __init__(self, scheme: str, **options: Any) -> None:
        self.url = f"{scheme}://bucket/x"
        self.filesystem = self
        self.storage_options = options


@pytest.mark.parametrize(
    ("bucket", "options"),
    [
        (Bucket("memory"), None),
        (Bucket("s3"), {}),
        (Bucket("s3", use_listings_cache=True, config_kwargs={"retries": {}}), {}),
        (Bucket("s3", anon=True), {"aws_skip_signature": "true"}),
        (
            Bucket("s3", key="k", secret="s", client_kwargs={"endpoint_url": "http://h:1", "region_name": "eu"}),
            {
                "aws_access_key_id": "k",
                "aws_secret_access_key": "s",
                "endpoint_url": "http://h:1",
                "aws_region": "eu",
                "aws_allow_http": "true",
            },
        ),
        (
            Bucket("s3", endpoint_url="https://h", token="t"),
            {"endpoint_url": "https://h", "aws_session_token": "t", "aws_region": "us-east-1"},
        ),
        (Bucket("s3", profile="work"), None),
        (Bucket("s3", client_kwargs={"verify": False}), None),
        (Bucket("gs"), {}),
        (Bucket("gs", token="anon"), None),
        (
            Bucket("az", account_name="a", account_key="k"),
            {"azure_storage_account_name": "a", "azure_storage_account_key": "k"},
        ),
        (Bucket("az", connection_string="x"), None),
    ],
)
def test_options_that_polars_understands_are_handed_on(bucket: Any, options: dict[str, str] | None) -> None:
    assert cloud.native_options(bucket) == options


@pytest.mark.parametrize("native", [True, False], ids=["by Polars itself", "through the blobs"])
def test_a_bucket_is_queried_like_a_folder(
    s3_url: tuple[str, dict[str, Any]], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, options = s3_url
    blobs = open_blobs(url, storage_options=options)
    exp = experiment(
        blobs,
        "a b",
        trials=[[record(n, {"x": n}) for n in range(4)], [record(4, {"x": 0.5, "y": "z"})]],
        live_trials=[record(5), record(1, {"x": 11})],
        superseded={0: {1}},
        rows={"telemetry": [[sample(0, 1, "cpu", 1)], [sample(0, 1, "cpu", 2), sample(1, 1, "cpu", 3)]]},
    )
    if native:
        assert cloud.native_options(blobs)
    else:
        monkeypatch.setattr("trialstore.query.scan.native_options", lambda blobs: None)
    snapshot = Snapshot(blobs, [exp])
    for table in ("trials", "telemetry", "params"):
        frame = snapshot.frame(table).collect()
        rows = snapshot.sql(f"SELECT * FROM {table}").pl()
        assert sorted(map(repr, frame.rows())) == sorted(map(repr, rows.rows()))
    assert snapshot.sql("SELECT trial, params.x FROM trials WHERE trial < 2 ORDER BY ALL").fetchall() == [
        (0, 0),
        (1, 11),
    ]
    assert snapshot.frame("telemetry", trial=0).collect()["value"].to_list() == [1.0]
    other = open_blobs(url, storage_options={**options, "anon": True, "use_ssl": False})
    with pytest.raises(UnsupportedError, match="same storage options"):
        snapshot.attach(Snapshot(other, []), "other")
    snapshot.close()
