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

from importlib import import_module
from typing import TYPE_CHECKING

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
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'trialstore.integrations.optuna' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"trialstore.integrations.optuna.{home}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "optuna":
            raise
        from trialstore.model.errors import MissingExtraError

        raise MissingExtraError(
            "Optuna is not installed", hint="pip install 'trialstore[optuna]'", module=error.name
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
