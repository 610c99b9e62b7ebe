"""Suites that prove a backend: `BlobsContract` for the blobs, `StoreContract` for the whole store on them.

Subclass one in a test file, give it the one fixture it asks for, and run pytest; see ``docs/TESTING.md``.
"""

from __future__ import annotations

from trialstore.model.errors import MissingExtraError

try:
    import pytest
except ImportError:
    raise MissingExtraError("the suites need pytest", hint='pip install "trialstore[testing]"') from None

# Before they are imported: a failed assertion then shows its values, also outside this project.
_SUITES = ("blob_reading", "blob_writing", "store_access", "store_rows", "store_values", "store_working")
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in _SUITES))

from trialstore.testing.blobs import BlobsContract  # noqa: E402
from trialstore.testing.place import Place  # noqa: E402
from trialstore.testing.store import StoreContract  # noqa: E402

__all__ = ["BlobsContract", "Place", "StoreContract"]
