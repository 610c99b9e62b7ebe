"""The tree that branched experiments form, and the trials that its members have for one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from trialstore.evc.adapters import Adapter, adapter_of
from trialstore.journal.catalog import ExperimentEntry
from trialstore.journal.repeating import repeat_key
from trialstore.ledger import Ledger, catalog_of, ledger_of
from trialstore.model.codec import pack_dict
from trialstore.model.damage import as_damage
from trialstore.model.identity import params_hash
from trialstore.model.record import TrialRecord

__all__ = ["Node", "Relative", "refers_of", "relatives", "seen_through"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Relative:
    """Another experiment of the tree, as one experiment sees it.

    Attributes:
        ledger: Its own.
        adapters: What its trials go through, in order; True for those that go from parent to child.
    """

    ledger: Ledger
    adapters: tuple[tuple[Adapter, bool], ...]

    def adapted(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a trial of the relative is here; None when it is nothing."""
        found: dict[str, Any] | None = dict(params)
        for adapter, forward in self.adapters:
            if found is None:
                return None
            found = adapter.forward(found) if forward else adapter.backward(found)
        return found


def refers_of(entry: ExperimentEntry) -> Mapping[str, Any]:
    """Parent, root and adapter of an experiment; the parent is None of one that was not branched."""
    refers: Mapping[str, Any] = entry.config.get("refers") or {}
    return {"parent_id": refers.get("parent_id"), "root_id": refers.get("root_id") or entry.id, **refers}


def _adapter(entry: ExperimentEntry) -> Adapter:
    with as_damage("the adapters of an experiment", experiment=entry.name, version=entry.version):
        return adapter_of(refers_of(entry).get("adapter") or ())


def _entries(ledger: Ledger) -> dict[int, ExperimentEntry]:
    with catalog_of(ledger.session).view() as catalog:
        return dict(catalog.experiments)


def relatives(ledger: Ledger) -> list[Relative]:
    """Parents and children of an experiment, near ones first; not its siblings."""
    entries, session = _entries(ledger), ledger.session
    found: list[Relative] = []
    path: tuple[tuple[Adapter, bool], ...] = ()
    entry, seen = entries.get(ledger.entry.id, ledger.entry), {ledger.entry.id}
    while (parent := entries.get(refers_of(entry)["parent_id"])) is not None and parent.id not in seen:
        seen.add(parent.id)
        path = ((_adapter(entry), True), *path)
        found.append(Relative(ledger_of(session, parent), path))
        entry = parent
    waiting: list[tuple[int, tuple[tuple[Adapter, bool], ...]]] = [(ledger.entry.id, ())]
    for number, back in waiting:
        for child in entries.values():
            if refers_of(child)["parent_id"] == number and child.id not in seen:
                seen.add(child.id)
                through = ((_adapter(child), False), *back)
                found.append(Relative(ledger_of(session, child), through))
                waiting.append((child.id, through))
    return found


def seen_through(relative: Relative, record: TrialRecord, fidelities: frozenset[str]) -> TrialRecord | None:
    """A trial of a relative with the parameters that it has here; None when it is nothing here.

    Args:
        relative: Whose trial.
        record: The trial, decoded.
        fidelities: Names of the fidelities here.
    """
    found = relative.adapted({**record.params, **(record.fidelity or {})})
    if found is None:
        return None
    efforts = fidelities | (record.fidelity or {}).keys()
    params = {name: value for name, value in found.items() if name not in efforts}
    effort = {name: value for name, value in found.items() if name in efforts}
    return replace(record, params=params, id=params_hash(params), fidelity=effort or None)


def key_of(record: TrialRecord) -> bytes:
    """What trials of equal parameters and fidelity share."""
    fidelity = None if record.fidelity is None else pack_dict(record.fidelity, "fidelity")
    return repeat_key({"id": record.id, "fidelity": fidelity})


class Node(Generic[T]):
    """An experiment's place in the tree of those that were branched from one another.

    Args:
        ledger: Of the experiment.
        make: Makes an experiment of a ledger.
    """

    def __init__(self, ledger: Ledger, make: Callable[[Ledger], T]) -> None:
        self._ledger = ledger
        self._make = make

    @property
    def item(self) -> T:
        """The experiment."""
        return self._make(self._ledger)

    @property
    def parent(self) -> Node[T] | None:
        """Of the experiment that it was branched from; None at the root, or when that was dropped."""
        entry = _entries(self._ledger).get(refers_of(self._ledger.entry)["parent_id"])
        return None if entry is None else self._of(entry)

    @property
    def children(self) -> list[Node[T]]:
        """Of the experiments that were branched from it, by id."""
        mine = self._ledger.entry.id
        return [self._of(entry) for entry in _entries(self._ledger).values() if refers_of(entry)["parent_id"] == mine]

    @property
    def root(self) -> Node[T]:
        """Where the tree begins."""
        node, seen = self, {self._ledger.entry.id}
        while (parent := node.parent) is not None and parent._ledger.entry.id not in seen:
            seen.add(parent._ledger.entry.id)
            node = parent
        return node

    @property
    def adapter(self) -> Adapter:
        """Between the parent and it."""
        return _adapter(self._ledger.entry)

    @property
    def tree_name(self) -> str:
        """Name and version."""
        return f"{self._ledger.entry.name}-v{self._ledger.entry.version}"

    def __iter__(self) -> Iterator[Node[T]]:
        """The node, then its descendants, each before its children."""
        waiting, seen = [self], set()
        while waiting:
            node = waiting.pop()
            if node._ledger.entry.id not in seen:
                seen.add(node._ledger.entry.id)
                yield node
                waiting += reversed(node.children)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        return (self._ledger.blobs.url, self._ledger.entry.id) == (other._ledger.blobs.url, other._ledger.entry.id)

    def __hash__(self) -> int:
        return hash((self._ledger.blobs.url, self._ledger.entry.id))

    def __repr__(self) -> str:
        return f"Node({self.tree_name!r})"

    def _of(self, entry: ExperimentEntry) -> Node[T]:
        return Node(ledger_of(self._ledger.session, entry), self._make)
