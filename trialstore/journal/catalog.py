"""The catalog: which experiments the store has, and which small integers stand for configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trialstore.journal.commit import Command
from trialstore.journal.machine import Machine, Outcome, accepted, refused
from trialstore.journal.shapes import CATALOG_HEAD, ENTRY, INTERNED
from trialstore.model.identity import escape

__all__ = ["Catalog", "ExperimentEntry"]


@dataclass(slots=True)
class ExperimentEntry:
    """What the catalog says of an experiment.

    Attributes:
        id: 1, 2, 3 … in the order of creation, never used again.
        name: Unique together with the version.
        version: 1, 2, 3 … among the experiments of one name.
        key: Its folder, never used again.
        created_at: Stored spelling of a time.
        revision: Grows by one with every update.
        config: Metrics, space, limits, metadata, in their stored forms.
        seq: Sequence number of the catalog's commit that last changed any of this.
    """

    id: int
    name: str
    version: int
    key: str
    created_at: str
    revision: int
    config: dict[str, Any]
    seq: int


class Catalog(Machine):
    """The fold of the catalog's journal.

    Attributes:
        experiments: Live experiments by id.
        last_id: Highest id ever given.
        keys: Every folder ever given, case-folded.
        dropped: Folders of dropped experiments, with the time.
        configurations: Interned parameters by their small integer id, 1, 2, 3 …
    """

    def __init__(self) -> None:
        super().__init__()
        self.experiments: dict[int, ExperimentEntry] = {}
        self.by_name: dict[tuple[str, int], int] = {}
        self.last_id = 0
        self.keys: set[str] = set()
        self.dropped: dict[str, str] = {}
        self.configurations: dict[int, Any] = {}
        self.configuration_ids: dict[str, int] = {}
        self.handlers |= {
            "create_experiment": self._create,
            "update_experiment": self._update,
            "drop_experiment": self._drop,
            "intern": self._intern,
        }

    def versions(self, name: str) -> list[int]:
        """Live versions of a name, ascending."""
        return sorted(version for known, version in self.by_name if known == name)

    def find(self, name: str, version: int | None = None) -> ExperimentEntry | None:
        """The experiment of this name: the given version, or the newest."""
        if version is None:
            versions = self.versions(name)
            if not versions:
                return None
            version = versions[-1]
        number = self.by_name.get((name, version))
        return None if number is None else self.experiments[number]

    def _create(self, command: Command) -> Outcome:
        name, version = command["name"], command["version"]
        versions = self.versions(name)
        if version is None:
            version = versions[-1] + 1 if versions else 1
        if (name, version) in self.by_name:
            return refused("exists", id=self.by_name[name, version], version=version)
        self.last_id += 1
        key = escape(name) + (f"~v{version}" if version > 1 else "")
        if key.casefold() in self.keys:
            key = f"{key}~{self.last_id}"
        self.keys.add(key.casefold())
        self.experiments[self.last_id] = ExperimentEntry(
            self.last_id, name, version, key, command["at"], 1, command["config"], self.seq
        )
        self.by_name[name, version] = self.last_id
        return accepted(self.last_id)

    def _update(self, command: Command) -> Outcome:
        entry = self.experiments.get(command["id"])
        if entry is None:
            return refused("no experiment", id=command["id"])
        if command["revision"] is not None and command["revision"] != entry.revision:
            return refused("stale revision", id=entry.id, revision=entry.revision, expected=command["revision"])
        entry.config = {**entry.config, **command["config"]}
        entry.revision += 1
        entry.seq = self.seq
        return accepted(entry.revision)

    def _drop(self, command: Command) -> Outcome:
        entry = self.experiments.pop(command["id"], None)
        if entry is None:
            return refused("no experiment", id=command["id"])
        del self.by_name[entry.name, entry.version]
        self.dropped[entry.key] = command["at"]
        return accepted(entry.key)

    def _intern(self, command: Command) -> Outcome:
        ids = []
        for digest, params in zip(command["hashes"], command["params"], strict=True):
            number = self.configuration_ids.get(digest)
            if number is None:
                number = len(self.configurations) + 1
                self.configuration_ids[digest] = number
                self.configurations[number] = params
            ids.append(number)
        return accepted(ids)

    def size(self) -> int:
        """About how many lines a checkpoint has."""
        return 1 + len(self.configurations) + len(self.experiments)

    def dump(self) -> list[Any]:
        """The whole state as JSON values."""
        (head,) = super().dump()
        head |= {"last_id": self.last_id, "keys": sorted(self.keys), "configurations": len(self.configurations)}
        if self.dropped:
            head["dropped"] = self.dropped
        digests = {number: digest for digest, number in self.configuration_ids.items()}
        return [
            head,
            *([digests[number], params] for number, params in self.configurations.items()),
            *(
                [e.id, e.name, e.version, e.key, e.created_at, e.revision, e.config, e.seq]
                for e in self.experiments.values()
            ),
        ]

    def load(self, lines: list[Any]) -> None:
        """Become the state that `dump` wrote."""
        CATALOG_HEAD.require(lines[0])
        super().load(lines)
        head = lines[0]
        self.last_id, self.keys = head["last_id"], set(head["keys"])
        self.dropped = dict(head.get("dropped", {}))
        split = 1 + head["configurations"]
        for number, line in enumerate(lines[1:split], start=1):
            INTERNED.require(line)
            digest, params = line
            self.configuration_ids[digest] = number
            self.configurations[number] = params
        for fields in lines[split:]:
            ENTRY.require(fields)
            entry = ExperimentEntry(*fields)
            self.experiments[entry.id] = entry
            self.by_name[entry.name, entry.version] = entry.id
