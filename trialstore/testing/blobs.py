"""The contract of a blob backend, as one suite."""

from __future__ import annotations

from trialstore.testing.blob_reading import Addressing, Listing, Reading
from trialstore.testing.blob_writing import Creating, Writing

__all__ = ["BlobsContract"]


class BlobsContract(Creating, Writing, Reading, Listing, Addressing):
    """All that a store relies on in a backend, as tests. A backend that passes keeps `Blobs`' promises.

    Guarantees tested:
        - of all callers of `create`, in threads at a switch interval of 1 µs and in processes, exactly one gets True;
        - a blob is seen whole or not at all, while it is created and while it is replaced;
        - what a returned call wrote is seen by the next call of any instance: nothing is cached;
        - listings have every blob, at any depth, by key, with size and time;
        - a write that fails midway leaves what was there;
        - a missing blob, a bad key and a bad range are the errors that `Blobs` names;
        - the blobs can be pickled, and read by DuckDB and Polars.

    Not tested, since no test can force them: durability through a crash of the machine, and errors of a backend that
    is out of reach.

    A subclass gives a fixture `blobs` that returns an empty backend, a new one for each test.

    Example:
        >>> import pytest
        >>> from trialstore.blobs.memory import MemoryBlobs
        >>> from trialstore.model.identity import new_ulid
        >>> class TestMyBlobs(BlobsContract):
        ...     shared_by_processes = False
        ...
        ...     @pytest.fixture
        ...     def blobs(self):
        ...         return MemoryBlobs(f"tests/{new_ulid()}")
    """
