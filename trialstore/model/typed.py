"""Parameters and results that say of what type they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from trialstore.model.codec import encode, plain
from trialstore.model.errors import UsageError

__all__ = ["Param", "Result", "Value"]


class Value:
    """Something with a name, a type and a value.

    Args:
        name: What it is called.
        type: One of `allowed_types`, or None.
        value: Of any type; arrays become lists.

    Raises:
        UsageError: there is no such type.
    """

    allowed_types: ClassVar[tuple[str, ...]] = ()
    __slots__ = ("_type", "name", "value")

    def __init__(self, *, name: str | None = None, type: str | None = None, value: Any = None) -> None:  # noqa: A002
        self.name = name
        self.type = type
        listed = getattr(value, "tolist", None)
        self.value = listed() if callable(listed) else plain(value)

    @property
    def type(self) -> str | None:
        """What it stands for."""
        return self._type

    @type.setter  # noqa: A003
    def type(self, kind: str | None) -> None:
        if kind is not None and kind not in self.allowed_types:
            raise UsageError("there is no such type", hint=f"one of {', '.join(self.allowed_types)}", type=kind)
        self._type = kind

    @classmethod
    def of(cls, given: Self | Mapping[str, Any]) -> Self:
        """The value itself, or the one that a mapping describes."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping) or not {"name", "type", "value"}.issuperset(given):
            raise UsageError(f"not a {cls.__name__}, nor a mapping of name, type and value", given=given)
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Name, type and value."""
        return {"name": self.name, "type": self.type, "value": self.value}

    def __eq__(self, other: object) -> bool:
        """By name, type and value. Unlike 1 and 1.0, NaN equals NaN."""
        if not isinstance(other, Value):
            return NotImplemented
        return encode(self.to_dict()) == encode(other.to_dict())

    def __hash__(self) -> int:
        return hash(encode(self.to_dict()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, type={self._type!r}, value={self.value!r})"

    def __str__(self) -> str:
        return repr(self)


class Param(Value):
    """One parameter: an integer, a real number, a category, or a fidelity."""

    allowed_types: ClassVar[tuple[str, ...]] = ("integer", "real", "categorical", "fidelity")
    __slots__ = ()


class Result(Value):
    """One result: the objective, a constraint, a gradient, a statistic, or a lie, which stands in for an objective."""

    allowed_types: ClassVar[tuple[str, ...]] = ("objective", "constraint", "gradient", "statistic", "lie")
    __slots__ = ()
