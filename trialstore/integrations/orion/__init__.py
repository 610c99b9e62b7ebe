"""Oríon on a trialstore: its experiments and trials are the store's, and its factory finds the storage by name.

Install ``trialstore[orion]`` and configure Oríon with ``storage: {type: trialstore, url: <path or URL>}``.
"""

from trialstore.integrations.orion.database import TrialStoreDB
from trialstore.integrations.orion.dumps import Imported, import_dump
from trialstore.integrations.orion.storage import TrialStore

__all__ = ["Imported", "TrialStore", "TrialStoreDB", "import_dump"]
