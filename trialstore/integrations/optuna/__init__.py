"""Optuna on a store: one folder or bucket is the storage of its studies, without a database.

Needs the extra ``optuna``. What is here is imported when it is first used.

==================================  ===============================================================================
`TrialStoreStorage`                 a storage for `optuna.create_study`, with heartbeats
`TrialStoreArtifactStore`           Optuna's artifacts, in the store's own table of them, or at any address
`import_studies`, `CopiedStudy`     studies from Optuna's other storages, copied into a store
`trials_frame`, `reports_frame`     a study's trials, and what they reported step by step, as Polars frames
==================================  ===============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trialstore.integrations.exporting import exported

if TYPE_CHECKING:
    from trialstore.integrations.optuna.artifacts import TrialStoreArtifactStore
    from trialstore.integrations.optuna.copying import CopiedStudy, import_studies
    from trialstore.integrations.optuna.frames import reports_frame, trials_frame
    from trialstore.integrations.optuna.storage import TrialStoreStorage

__all__ = [
    "CopiedStudy",
    "TrialStoreArtifactStore",
    "TrialStoreStorage",
    "import_studies",
    "reports_frame",
    "trials_frame",
]

_HOMES = {
    "CopiedStudy": "copying",
    "TrialStoreArtifactStore": "artifacts",
    "TrialStoreStorage": "storage",
    "import_studies": "copying",
    "reports_frame": "frames",
    "trials_frame": "frames",
}


def __getattr__(name: str) -> object:
    value = exported(__name__, name, _HOMES, tool="Optuna", extra="optuna", needed=("optuna",))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
