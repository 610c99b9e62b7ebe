"""AMLTK on a store: its schedulers and optimisers run with a bucket that a store keeps, its History goes in and out.

`TrialStoreBucket` is the bucket, `TrialStorePlugin` writes down the trials of a task as they go, `save_report`,
`save_history` and `load_history` are the two ways between AMLTK's reports and a store's rows. ``docs/guide/amltk.md``
shows a program, and what becomes of each field.

``pip install "trialstore[amltk]"``
"""

from __future__ import annotations

from trialstore.model.errors import MissingExtraError

try:
    import amltk  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "amltk cannot be imported", hint='pip install "trialstore[amltk]"', reason=str(error)
    ) from error

from trialstore.integrations.amltk.bucket import TrialStoreBucket
from trialstore.integrations.amltk.drop import ObjectNotFoundError, StoreDrop
from trialstore.integrations.amltk.history import load_history, save_history, save_report
from trialstore.integrations.amltk.plugin import TrialStorePlugin

__all__ = [
    "ObjectNotFoundError",
    "StoreDrop",
    "TrialStoreBucket",
    "TrialStorePlugin",
    "load_history",
    "save_history",
    "save_report",
]
