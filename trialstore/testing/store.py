"""The contract of a whole store on a backend, as one suite."""

from __future__ import annotations

from trialstore.testing.store_access import Access
from trialstore.testing.store_outliving import Outliving
from trialstore.testing.store_rows import Rows
from trialstore.testing.store_values import Values
from trialstore.testing.store_working import Working

__all__ = ["StoreContract"]


class StoreContract(Access, Working, Rows, Values, Outliving):
    """All that a user of trialstore is promised, as tests on one place.

    Guarantees tested:
        - a trial is claimed by exactly one worker, in threads at a switch interval of 1 µs and in processes; numbers,
          experiments and revisions of documents are given once;
        - a trial whose worker fell silent is finished by another, and what the first still sends is kept as late;
        - of many that want the algorithm one has it, and no change of its state is lost; deleted trials are in no
          table; versions of an experiment see each other's trials; a copy in another store has every row;
        - reports, samples, artifacts and status are there for everybody when the call that ends the trial returns;
        - a store that is opened again is as it was, and goes on;
        - flush and compaction keep every row exactly once; snapshots never change under them; the past can be read;
        - SQL and Polars see the same rows of every table;
        - values come back equal in type and value, and any text is a name;
        - ``mode="r"`` never writes; what is refused leaves everything as it was;
        - stores, experiments and trials can be pickled, and a forked child is a worker of its own.

    A subclass gives a fixture `place` that returns an empty `Place`, a new one for each test.

    Example:
        >>> import pytest
        >>> from trialstore.testing import Place
        >>> from trialstore.model.identity import new_ulid
        >>> class TestStoreInMemory(StoreContract):
        ...     shared_by_processes = False
        ...
        ...     @pytest.fixture
        ...     def place(self):
        ...         return Place(f"memory://tests/{new_ulid()}")
    """
