"""What a copy of an experiment must say otherwise than the original, wherever a tool wrote down where it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trialstore.algorithms import DOCUMENT
from trialstore.artifacts.store import Artifact

__all__ = ["carried_document", "orion_id", "orion_metadata"]

_ORION, _ORION_DOCUMENT, _ORION_ALGORITHM = "orion", "document", "orion.algorithm"


def carried_document(name: str, value: Any, artifacts: Mapping[str, Artifact]) -> Any:
    """A named value of an experiment as its copy has it: locks are free, and artifacts are those of the copy.

    Args:
        name: Of the value.
        value: In the original.
        artifacts: The copies of artifacts by the ids of the originals.
    """
    if name == DOCUMENT:
        row = value["state"].get("row")
        before = artifacts.get(str(value["previous"]))
        state = value["state"] if row is None else {**value["state"], "row": artifacts[row[-1]].row()}
        return {**value, "state": state, "previous": None if before is None else before.id, "holder": None}
    if name == _ORION_ALGORITHM:
        row = value.get("artifact")
        document = {**value["document"], "locked": 0}
        return {
            **value,
            "document": {key: item for key, item in document.items() if key != "_id"},
            "artifact": None if row is None else artifacts[row[-1]].row(),
            "holder": None,
        }
    return value


def orion_id(metadata: Mapping[str, Any], number: int) -> Any:
    """Under which Oríon knows an experiment of the store; None when it is none of Oríon's.

    Args:
        metadata: Of the experiment.
        number: Its id in the store.
    """
    document = _orion_document(metadata)
    return None if document is None else document.get("_id", number)


def orion_metadata(
    metadata: Mapping[str, Any], number: int, version: tuple[int, int], ids: Mapping[Any, Any], taken: Iterable[Any]
) -> dict[str, Any] | None:
    """The metadata of a copy of one of Oríon's experiments; None when it is none.

    The copy has an `_id` of its own, its version is the store's, and it refers to the copies of its parents; one whose
    parent was not copied is a root.

    Args:
        metadata: Of the original.
        number: Id of the copy in the store.
        version: Of the original and of the copy.
        ids: What Oríon calls the copies, by what it calls the originals.
        taken: What Oríon calls the other experiments of the target.
    """
    document = _orion_document(metadata)
    if document is None:
        return None
    after = {name: value for name, value in document.items() if name != "_id"}
    mine: Any = number
    others = list(taken)
    if number in others:
        after["_id"] = mine = max(item for item in others if isinstance(item, int)) + 1
    if document.get("version", 1) == version[0]:
        after["version"] = version[1]
    refers = document.get("refers")
    if isinstance(refers, Mapping) and "root_id" in refers:
        parent = ids.get(refers.get("parent_id"))
        root = ids.get(refers["root_id"], parent)
        after["refers"] = {**refers, "parent_id": parent, "root_id": mine if parent is None else root}
    return {**metadata, _ORION: {**metadata[_ORION], _ORION_DOCUMENT: after}}


def _orion_document(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    member = metadata.get(_ORION)
    document = member.get(_ORION_DOCUMENT) if isinstance(member, Mapping) else None
    return document if isinstance(document, Mapping) else None
