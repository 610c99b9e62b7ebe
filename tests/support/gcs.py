"""A Google Cloud Storage server: an emulator, with the conditional write that the real service has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from tests.support.script_server import script_server


@dataclass(frozen=True)
class Gcs:
    endpoint: str

    @property
    def options(self) -> dict[str, Any]:
        return {"endpoint_url": self.endpoint, "token": "anon", "project": "tests"}

    def create_bucket(self, bucket: str) -> None:
        body = json.dumps({"name": bucket}).encode()
        headers = {"Content-Type": "application/json"}
        urlopen(Request(f"{self.endpoint}/storage/v1/b?project=tests", body, headers), timeout=60).close()


@contextmanager
def started_gcs() -> Iterator[Gcs]:
    with script_server("gcs_emulator.py") as port:
        yield Gcs(f"http://127.0.0.1:{port}")
