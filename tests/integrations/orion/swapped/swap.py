"""Puts a trialstore in the place of the databases that Oríon's own tests ask for, in this process and its children.

``pickleddb`` becomes a store beside the file that was asked for, ``ephemeraldb`` one in memory, and ``legacy`` the
storage of this project. A file of the name is made, since the tests delete it to start afresh. With
``TRIALSTORE_SWAP=broken`` every write is refused: the suites must then fail, or they do not test what they seem to.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import Any, Self

_AFTER = "orion.core.utils"


def place_of(host: str) -> str:
    """Where the store is for a file that a database was to be in."""
    host = os.path.abspath(host)
    folder = host + ".trialstore"
    if not os.path.exists(host):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(os.path.dirname(host), exist_ok=True)
        open(host, "w").close()
    return folder


def swapped(base: str, of_type: str) -> Any:
    """What is to be made when Oríon's factory of a base class is asked for a type; None for what it makes itself."""
    if base == "Database" and of_type in ("pickleddb", "ephemeraldb"):
        from trialstore.integrations.orion import TrialStoreDB

        def database(host: str = "", name: str | None = None, timeout: float = 60, **rest: Any) -> Any:
            return TrialStoreDB(host=_url(of_type, host), durability="process")

        return database
    if base == "BaseStorageProtocol" and of_type == "legacy":
        from orion.storage.legacy import Legacy

        from trialstore.integrations.orion import TrialStore

        def storage(database: Any = None, setup: bool = True) -> Any:
            import orion.core

            database = dict(orion.core.config.database.to_dict() if database is None else database)
            kind = database.get("type", "pickleddb").lower()
            if kind not in ("pickleddb", "ephemeraldb"):
                return Legacy(database=database, setup=setup)
            made = TrialStore(url=_url(kind, database.get("host", "")), setup=setup, durability="process")
            made._db.host = _Host(made._db.host, database.get("host", ""))
            return made

        return storage
    return None


class _Host(str):
    """Where a store is, which is also the file that was asked for when somebody compares."""

    def __new__(cls, place: str, asked: str) -> Self:
        made = super().__new__(cls, place)
        made._asked = asked
        return made

    _asked: str

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) or other == self._asked

    __hash__ = str.__hash__

    def __reduce__(self) -> tuple[object, ...]:
        return _Host, (str(self), self._asked)


def _url(kind: str, host: str) -> str:
    if kind == "ephemeraldb":
        return f"memory://{uuid.uuid4().hex}"
    from orion.core.io.database.pickleddb import DEFAULT_HOST

    return place_of(host or DEFAULT_HOST)


def patch() -> None:
    """Swap what Oríon's factories make."""
    from orion.core.utils import GenericFactory

    original = GenericFactory.get_class

    def get_class(self: Any, of_type: str) -> Any:
        return swapped(self.base.__name__, of_type.lower()) or original(self, of_type)

    GenericFactory.get_class = get_class
    if os.environ.get("TRIALSTORE_SWAP") == "broken":
        from orion.core.io.database import DatabaseError

        from trialstore.ledger import Ledger

        def execute(self: Any, *drafts: Any, force: bool = True) -> Any:
            raise DatabaseError("broken on purpose")

        Ledger.execute = execute  # type: ignore[method-assign]


class _Finder(MetaPathFinder):
    """Patches Oríon right after its module of factories is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != _AFTER:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Patching(spec.loader)
        return spec


class _Patching(Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        patch()


def install() -> None:
    """Swap as soon as Oríon is imported."""
    if _AFTER in sys.modules:
        patch()
    else:
        sys.meta_path.insert(0, _Finder())
