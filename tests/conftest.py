from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests.support, also in processes that tests start
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # an emulator has no hierarchical buckets; read at import

from tests.support.servers import bucket_url, s3_server, s3_url, servers

__all__ = ["bucket_url", "s3_server", "s3_url", "servers"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "servers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)
