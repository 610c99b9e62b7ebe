"""The two servers that speak S3: the Ceph gateway, and moto with one request at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from tests.support.ceph import KEY, SECRET, Ceph, missing_programs
from tests.support.script_server import script_server


@dataclass(frozen=True)
class S3Server:
    name: str
    endpoint: str
    ceph: Ceph | None = None
    options: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        options = {
            "key": KEY,
            "secret": SECRET,
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": "us-east-1"},
        }
        object.__setattr__(self, "options", options)

    def create_bucket(self, bucket: str) -> None:
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=bucket)
        client.close()


@contextmanager
def started_ceph(new_folder: Callable[[str], Path]) -> Iterator[S3Server]:
    missing = missing_programs()
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} not found; run .ci/servers.sh")
    ceph = _started(new_folder)
    try:
        yield S3Server("ceph", ceph.endpoint, ceph)
    finally:
        ceph.stop()


def _started(new_folder: Callable[[str], Path], attempts: int = 3) -> Ceph:
    while True:
        ceph = Ceph(new_folder("ceph"))
        try:
            ceph.start()
        except Exception:  # a port that was free may be taken before the cluster listens on it
            ceph.stop()
            attempts -= 1
            if not attempts:
                raise
        else:
            return ceph


@contextmanager
def started_moto() -> Iterator[S3Server]:
    with script_server("moto_serial.py") as port:
        yield S3Server("moto", f"http://127.0.0.1:{port}")
