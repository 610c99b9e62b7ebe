"""mlos_bench on a store: its experiments and trials as the store's own, its data classes and frames over them.

Needs the extra ``mlos``. What is here is imported when it is first used.

`TrialStoreStorage` is mlos_bench's storage. In its own configuration::

    {"class": "trialstore.integrations.mlos_bench.TrialStoreStorage", "config": {"url": "results"}}

mlos_bench's validation knows this after `register_schema`, which ``python -m trialstore.integrations.mlos_bench`` calls
before it goes on as mlos_bench's own command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialstore.integrations.exporting import exported

if TYPE_CHECKING:
    from trialstore.integrations.mlos_bench.migration.giving import export_database
    from trialstore.integrations.mlos_bench.migration.taking import import_database
    from trialstore.integrations.mlos_bench.schema import register_schema
    from trialstore.integrations.mlos_bench.storage import TrialStoreStorage

__all__ = ["TrialStoreStorage", "export_database", "import_database", "register_schema"]

_HOMES = {
    "TrialStoreStorage": "storage",
    "export_database": "migration.giving",
    "import_database": "migration.taking",
    "register_schema": "schema",
}
_NEEDED = ("mlos_bench", "pandas", "pytz", "sqlalchemy")


def __getattr__(name: str) -> object:
    value = exported(__name__, name, _HOMES, tool="mlos_bench", extra="mlos", needed=_NEEDED)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
