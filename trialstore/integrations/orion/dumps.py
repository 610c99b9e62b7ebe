"""Experiments from Oríon's other databases: the file of a PickledDB, which Oríon's dumps are too, or a mongodump."""

from __future__ import annotations

import importlib
import io
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orion.core.io.database.ephemeraldb import EphemeralDB

from trialstore.integrations.orion.database import TrialStoreDB, told
from trialstore.integrations.orion.mongo import read_mongodump, without_bson
from trialstore.model.errors import DamagedError, DuplicateExperimentError, UsageError

__all__ = ["Imported", "import_dump"]

_CHUNK = 1000
_NAMED = frozenset(
    {
        ("orion.core.io.database.ephemeraldb", "EphemeralDB"),
        ("orion.core.io.database.ephemeraldb", "EphemeralCollection"),
        ("orion.core.io.database.ephemeraldb", "EphemeralDocument"),
        ("collections", "defaultdict"),
        ("collections", "OrderedDict"),
        ("datetime", "datetime"),
        ("datetime", "date"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("bson.objectid", "ObjectId"),
        ("bson.int64", "Int64"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
        ("copyreg", "_reconstructor"),
        ("builtins", "object"),
        ("builtins", "set"),
        ("builtins", "frozenset"),
        ("builtins", "bytearray"),
        ("builtins", "complex"),
    }
)
"""All that a file of documents has to name; anything else would be code of somebody's."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came in.

    Attributes:
        experiments, trials, benchmarks: How many.
        ignored: Name and version of experiments that were there already, and were left as they are.
    """

    experiments: int
    trials: int
    benchmarks: int
    ignored: tuple[tuple[str, int], ...]


class _Documents(pickle.Unpickler):
    """Loads documents, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMED:
            raise UsageError(
                "file names what no dump of Oríon has, and is not loaded",
                hint="do not trust it",
                name=f"{module}.{name}",
            )
        return getattr(importlib.import_module(module), name)


@told
def import_dump(
    url: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    version: int | None = None,
    resolve: Literal["ignore", "overwrite", "bump"] | None = None,
    **options: Any,
) -> Imported:
    """Take experiments, with their trials and algorithms, and benchmarks from a file of Oríon's into a store.

    Args:
        url: The store, which is created when it is not there.
        path: The file of a PickledDB (``orion_db.pkl``), or what ``orion db dump`` wrote, of MongoDB as well; or the
            folder that MongoDB's own ``mongodump`` made of the database.
        name: Only the experiments of this name, and no benchmarks.
        version: Only this version of them.
        resolve: What to do with an experiment whose name and version the store has: ``"ignore"`` leaves it as it is,
            ``"overwrite"`` replaces it, ``"bump"`` gives the one that comes the next version. None refuses.
        options: Of `trialstore.open`.

    Raises:
        DatabaseError: the file is no such database; or an experiment is there already and `resolve` is None. Then
            nothing was taken in.

    Guarantees: code in the file is never run. Values keep their types. An experiment has its trials in the order in
    which they were registered, with the status, times, results and parents that they had.
    """
    source = _load(path)
    target = TrialStoreDB(host=os.fspath(url), **options)
    try:
        return _Import(source, target, name, version, resolve).run()
    finally:
        target.close_connection()


def _load(path: str | os.PathLike[str]) -> EphemeralDB:
    if os.path.isdir(path):
        return read_mongodump(path)
    with open(path, "rb") as file:
        data = file.read()
    try:
        source = _Documents(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise DamagedError("not a file of an Oríon database", path=os.fspath(path), reason=str(error)) from None
    if not isinstance(source, EphemeralDB):
        raise UsageError("not a file of an Oríon database", path=os.fspath(path), holds=type(source).__name__)
    return source


class _Import:
    def __init__(
        self, source: EphemeralDB, target: TrialStoreDB, name: str | None, version: int | None, resolve: str | None
    ) -> None:
        if resolve not in (None, "ignore", "overwrite", "bump"):
            raise UsageError("not a way to resolve", hint="ignore, overwrite or bump", resolve=resolve)
        self.source = source
        self.target = target
        self.resolve = resolve
        query = {key: value for key, value in (("name", name), ("version", version)) if value is not None}
        self.experiments = without_bson(source.read("experiments", query))
        self.benchmarks = [] if query else without_bson(source.read("benchmarks"))
        self.trials = 0
        self.ids: dict[Any, Any] = {}

    def run(self) -> Imported:
        there = {(item["name"], item.get("version", 1)): item for item in self.target.read("experiments")}
        clashes = [(item["name"], item.get("version", 1)) for item in self.experiments]
        clashes = [clash for clash in clashes if clash in there]
        if clashes and self.resolve is None:
            raise DuplicateExperimentError(
                "store has experiments of these names and versions",
                hint='resolve="ignore", "overwrite" or "bump"',
                experiments=clashes,
            )
        ignored, done = [], 0
        for document in sorted(self.experiments, key=lambda item: item.get("version", 1)):
            key = (document["name"], document.get("version", 1))
            if key in there:
                if self.resolve == "ignore":
                    ignored.append(key)
                    self.ids[document["_id"]] = there[key]["_id"]
                    continue
                if self.resolve == "overwrite":
                    self.target.remove("experiments", {"_id": there[key]["_id"]})
                else:
                    versions = [version for other, version in there if other == key[0]]
                    document = {**document, "version": max(versions) + 1}
                    there[key[0], document["version"]] = document
            self._experiment(document)
            done += 1
        known = {item["name"] for item in self.target.read("benchmarks")}
        fresh = [_without_id(item) for item in self.benchmarks if item["name"] not in known]
        if fresh:
            self.target.write("benchmarks", fresh)
        return Imported(done, self.trials, len(fresh), tuple(ignored))

    def _experiment(self, document: Mapping[str, Any]) -> None:
        old = document["_id"]
        new = _without_id(document)
        refers = new.get("refers")
        if isinstance(refers, Mapping):
            ids = {key: self.ids.get(refers[key], refers[key]) for key in ("root_id", "parent_id") if key in refers}
            new["refers"] = {**refers, **ids}
        self.target.write("experiments", new)
        self.ids[old] = new["_id"]
        if isinstance(refers, Mapping) and refers.get("root_id") == old:
            after = {**new["refers"], "root_id": new["_id"]}
            self.target.write("experiments", {"refers": after}, {"_id": new["_id"]})
        for algorithm in without_bson(self.source.read("algo", {"experiment": old})[:1]):
            self.target.write("algo", {**_without_id(algorithm), "experiment": new["_id"], "locked": 0})
        trials = without_bson(self.source.read("trials", {"experiment": old}))
        renamed = [{**_without_id(item), "experiment": new["_id"]} for item in trials]
        for start in range(0, len(renamed), _CHUNK):
            self.target.write("trials", renamed[start : start + _CHUNK])
        self.trials += len(trials)


def _without_id(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "_id"}
