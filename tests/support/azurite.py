"""Azurite, Microsoft's own emulator of Azure Blob Storage, on Node."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "3.35.0"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # published, and fixed
_LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Azurite:
    port: int

    @property
    def options(self) -> dict[str, Any]:
        endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
        parts = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": ACCOUNT,
            "AccountKey": KEY,
            "BlobEndpoint": endpoint,
        }
        return {"connection_string": "".join(f"{name}={value};" for name, value in parts.items())}

    def create_container(self, name: str) -> None:
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(self.options["connection_string"]) as client:
            client.create_container(name)


def program() -> Path:
    """Where ``.ci/servers.sh`` puts it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "trialstore", f"azurite-{VERSION}", "node_modules/azurite/dist/src/blob/main.js")


@contextmanager
def started_azurite(new_folder: Callable[[str], Path]) -> Iterator[Azurite]:
    node = shutil.which("node")
    if node is None or not program().exists():
        raise FileNotFoundError(f"{'node' if node is None else program()} not found; run .ci/servers.sh")
    end_with_parent = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
    options = ("--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck", "--blobPort", "0")
    with subprocess.Popen(
        (*end_with_parent, node, str(program()), *options),
        cwd=new_folder("azurite"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                listens = _LISTENS.search(line)
                if listens:
                    yield Azurite(int(listens[1]))
                    return
                said.append(line)
            raise RuntimeError(f"azurite did not start: {''.join(said)[-2000:]}")
        finally:
            process.kill()
