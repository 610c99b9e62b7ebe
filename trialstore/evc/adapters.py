"""How trials of a parent look to its child, and those of a child to its parent.

An adapter takes the parameters of one trial, fidelity included, and gives those that the other experiment would have
tried; None where it would not have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from trialstore.model.codec import encode, pack, unpack
from trialstore.model.errors import UsageError
from trialstore.model.identity import check_name
from trialstore.model.space import Dimension, Space

__all__ = [
    "CHANGES",
    "Adapter",
    "AlgorithmChange",
    "CodeChange",
    "CommandLineChange",
    "CompositeAdapter",
    "DimensionAddition",
    "DimensionDeletion",
    "DimensionPriorChange",
    "DimensionRenaming",
    "ScriptConfigChange",
    "adapter_of",
]

Params = Mapping[str, Any]

CHANGES = ("noeffect", "unsure", "break")
"""What a change of code may mean for results: nothing, nobody knows, or that they cannot be compared."""


class Adapter(ABC):
    """Between an experiment and one that was branched from it."""

    kind: ClassVar[str]

    @abstractmethod
    def forward(self, params: Params) -> dict[str, Any] | None:
        """What a trial of the parent is for the child; None when it is nothing."""

    @abstractmethod
    def backward(self, params: Params) -> dict[str, Any] | None:
        """What a trial of the child is for the parent; None when it is nothing."""

    def to_dict(self) -> dict[str, Any]:
        """The stored form."""
        return {"of_type": self.kind}

    @property
    def configuration(self) -> list[dict[str, Any]]:
        """The stored forms of the simple adapters that it is made of."""
        return [self.to_dict()]

    def __eq__(self, other: object) -> bool:
        return self.configuration == other.configuration if isinstance(other, Adapter) else NotImplemented

    def __hash__(self) -> int:
        return hash(encode(self.configuration))

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items() if name != "of_type")
        return f"{type(self).__name__}({facts})"


class DimensionAddition(Adapter):
    """The child has a parameter more; a trial without it counts as one with its default.

    Args:
        name: The parameter.
        default: The value that the parent's trials had, in effect.
        has_default: Whether there is one; without, no trial counts for the other.
    """

    kind = "dimensionaddition"

    def __init__(self, name: str, default: Any = None, has_default: bool = True) -> None:
        self.name, self.default, self.has_default = name, default, has_default

    def forward(self, params: Params) -> dict[str, Any] | None:
        """The trial with the default."""
        if not self.has_default or self.name in params:
            return None
        return {**params, self.name: self.default}

    def backward(self, params: Params) -> dict[str, Any] | None:
        """The trial without the parameter, where that has the default."""
        if not self.has_default or self.name not in params or not _same(params[self.name], self.default):
            return None
        return {name: value for name, value in params.items() if name != self.name}

    def to_dict(self) -> dict[str, Any]:
        """The stored form."""
        default = {"default": pack(self.default)} if self.has_default else {}
        return {"of_type": self.kind, "name": self.name, **default}


class DimensionDeletion(Adapter):
    """The child has a parameter less: the opposite of `DimensionAddition`.

    Args:
        name: The parameter.
        default: The value that the child's trials have, in effect.
        has_default: Whether there is one; without, no trial counts for the other.
    """

    kind = "dimensiondeletion"

    def __init__(self, name: str, default: Any = None, has_default: bool = True) -> None:
        self._addition = DimensionAddition(name, default, has_default)

    def forward(self, params: Params) -> dict[str, Any] | None:
        """The trial without the parameter, where that has the default."""
        return self._addition.backward(params)

    def backward(self, params: Params) -> dict[str, Any] | None:
        """The trial with the default."""
        return self._addition.forward(params)

    def to_dict(self) -> dict[str, Any]:
        """The stored form."""
        return {**self._addition.to_dict(), "of_type": self.kind}


class DimensionRenaming(Adapter):
    """A parameter has another name in the child.

    Args:
        old_name: In the parent.
        new_name: In the child.
    """

    kind = "dimensionrenaming"

    def __init__(self, old_name: str, new_name: str) -> None:
        self.old_name, self.new_name = old_name, new_name

    def forward(self, params: Params) -> dict[str, Any] | None:
        """The trial under the new name."""
        return _renamed(params, self.old_name, self.new_name)

    def backward(self, params: Params) -> dict[str, Any] | None:
        """The trial under the old name."""
        return _renamed(params, self.new_name, self.old_name)

    def to_dict(self) -> dict[str, Any]:
        """The stored form."""
        return {"of_type": self.kind, "old_name": self.old_name, "new_name": self.new_name}


class DimensionPriorChange(Adapter):
    """A parameter may have other values in the child: each sees the other's trials that it could have tried itself.

    Args:
        name: The parameter.
        old: What it was.
        new: What it is.
    """

    kind = "dimensionpriorchange"

    def __init__(self, name: str, old: Dimension, new: Dimension) -> None:
        self.name, self.old, self.new = name, old, new

    def forward(self, params: Params) -> dict[str, Any] | None:
        """The trial, where its value fits the child's space."""
        return self._fitting(params, self.new)

    def backward(self, params: Params) -> dict[str, Any] | None:
        """The trial, where its value fits the parent's space."""
        return self._fitting(params, self.old)

    def _fitting(self, params: Params, dimension: Dimension) -> dict[str, Any] | None:
        if self.name not in params:
            return None
        value, problem = dimension.check(params[self.name])
        return {**params, self.name: value} if problem is None else None

    def to_dict(self) -> dict[str, Any]:
        """The stored form."""
        return {"of_type": self.kind, "name": self.name, "old": self.old.to_json(), "new": self.new.to_json()}


class AlgorithmChange(Adapter):
    """Another algorithm: all trials count for both."""

    kind = "algorithmchange"

    def forward(self, params: Params) -> dict[str, Any] | None:
        """The trial itself."""
        return dict(params)

    def backward(self, params: Params) -> dict[str, Any] | None:
        """The trial itself."""
        return dict(params)


class CodeChange(Adapter):
    """Other code.

    Args:
        change_type: ``"noeffect"``: all trials count for both. ``"unsure"``: the parent's count for the child, and not
            the other way, so that the parent stays as it was. ``"break"``: none count.

    Raises:
        UsageError: there is no such kind of change.
    """

    kind = "codechange"

    def __init__(self, change_type: str) -> None:
        if change_type not in CHANGES:
            raise UsageError("no kind of change", hint=f"one of {', '.join(CHANGES)}", change_type=change_type)
        self.change_type = change_type

    def forward(self, params: Params) -> dict[str, Any] | None:
        """The trial, unless the change breaks."""
        return None if self.change_type == "break" else dict(params)

    def backward(self, params: Params) -> dict[str, Any] | None:
        """The trial, where the change surely has no effect."""
        return dict(params) if self.change_type == "noeffect" else None

    def to_dict(self) -> dict[str, Any]:
        """The stored form."""
        return {"of_type": self.kind, "change_type": self.change_type}


class CommandLineChange(CodeChange):
    """Other arguments of the program; see `CodeChange`."""

    kind = "commandlinechange"


class ScriptConfigChange(CodeChange):
    """Another configuration file of the program; see `CodeChange`."""

    kind = "scriptconfigchange"


class CompositeAdapter(Adapter):
    """Several adapters, one after the other.

    Args:
        adapters: From the parent's side to the child's.
    """

    kind = "composite"

    def __init__(self, *adapters: Adapter) -> None:
        self.adapters = adapters

    def forward(self, params: Params) -> dict[str, Any] | None:
        """What all of them make of it, from the first to the last."""
        found: dict[str, Any] | None = dict(params)
        for adapter in self.adapters:
            found = None if found is None else adapter.forward(found)
        return found

    def backward(self, params: Params) -> dict[str, Any] | None:
        """What all of them make of it, from the last to the first."""
        found: dict[str, Any] | None = dict(params)
        for adapter in reversed(self.adapters):
            found = None if found is None else adapter.backward(found)
        return found

    @property
    def configuration(self) -> list[dict[str, Any]]:
        """The stored forms of all of them."""
        return [body for adapter in self.adapters for body in adapter.configuration]

    def __repr__(self) -> str:
        return f"CompositeAdapter({', '.join(map(repr, self.adapters))})"


_SIMPLE = {kind.kind: kind for kind in (CodeChange, CommandLineChange, ScriptConfigChange)}


def adapter_of(configuration: Iterable[Mapping[str, Any]]) -> CompositeAdapter:
    """The adapter that `configuration` described.

    Raises:
        UsageError: a kind of adapter is not known, or a member is missing.

    Example:
        >>> adapter = adapter_of([{"of_type": "dimensionrenaming", "old_name": "lr", "new_name": "rate"}])
        >>> adapter.forward({"lr": 0.1}), adapter.backward({"rate": 0.1})
        ({'rate': 0.1}, {'lr': 0.1})
    """
    return CompositeAdapter(*map(_one, configuration))


def _one(body: Mapping[str, Any]) -> Adapter:
    kind = body.get("of_type")
    try:
        if kind in (DimensionAddition.kind, DimensionDeletion.kind):
            make = DimensionAddition if kind == DimensionAddition.kind else DimensionDeletion
            return make(_name(body["name"]), unpack(body.get("default")), "default" in body)
        if kind == DimensionRenaming.kind:
            return DimensionRenaming(_name(body["old_name"]), _name(body["new_name"]))
        if kind == DimensionPriorChange.kind:
            space = Space.from_json({"old": body["old"], "new": body["new"]})
            return DimensionPriorChange(_name(body["name"]), space["old"], space["new"])
        if kind == AlgorithmChange.kind:
            return AlgorithmChange()
        return _SIMPLE[str(kind)](body["change_type"])
    except KeyError as error:
        raise UsageError(
            "not an adapter that this version knows",
            hint="upgrade trialstore",
            adapter=dict(body),
            missing=error.args[0],
        ) from None


def _name(name: object) -> str:
    return check_name(name, "parameter")


def _same(one: Any, other: Any) -> bool:
    return encode(one) == encode(other)


def _renamed(params: Params, old: str, new: str) -> dict[str, Any] | None:
    if old not in params or new in params:
        return None
    return {new if name == old else name: value for name, value in params.items()}
