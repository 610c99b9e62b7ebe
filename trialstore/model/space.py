"""A typed parameter space: what values each parameter of an experiment may take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from trialstore.model.codec import encode, pack, plain, unpack
from trialstore.model.errors import InvalidParamsError, UsageError, nearest
from trialstore.model.identity import check_name
from trialstore.model.metric import problems_of

__all__ = ["Categorical", "Dimension", "Fidelity", "Integer", "Real", "Space"]


class Dimension(BaseModel):
    """What one parameter may be. See `Integer`, `Real`, `Categorical` and `Fidelity`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, arbitrary_types_allowed=True)

    kind: ClassVar[str]
    default: Any = None

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UsageError(f"not a parameter space: {problems_of(error)}", kind=type(self).__name__) from None

    def check(self, value: object) -> tuple[Any, str | None]:
        """The value to store and None, or None and what is wrong with it."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if self.default is not None:
            _, problem = self.check(self.default)
            if problem is not None:
                raise ValueError(f"the default {problem}")
        return self

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {"kind": self.kind, **{name: pack(value) for name, value in self if value is not None}}


class Integer(Dimension):
    """A whole number of `low` to `high`, both included.

    Args:
        low: Smallest value.
        high: Largest value.
        log: Whether samplers should draw it on a logarithmic scale; `low` must then be positive.
        default: Used where a trial does not give the parameter.

    Example:
        >>> Integer(64, 4096, log=True).check(256), Integer(0, 9).check(2.5)
        ((256, None), (None, 'must be an integer, not 2.5'))
    """

    kind: ClassVar[str] = "integer"
    low: int
    high: int
    log: bool = False

    def __init__(self, low: int, high: int, *, log: bool = False, default: int | None = None) -> None:
        super().__init__(low=low, high=high, log=log, default=default)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _check_range(self)
        return self

    def check(self, value: object) -> tuple[Any, str | None]:
        """The integer itself and None, or None and what is wrong with it."""
        number = plain(value)
        if type(number) is not int:
            return None, f"must be an integer, not {value!r:.100}"
        if not self.low <= number <= self.high:
            return None, f"must be {self.low} to {self.high}, not {number}"
        return number, None


class Real(Dimension):
    """A finite number of `low` to `high`, both included. Whole numbers become floats.

    Args:
        low: Smallest value.
        high: Largest value.
        log: Whether samplers should draw it on a logarithmic scale; `low` must then be positive.
        precision: Significant digits that samplers should draw; values are stored as given.
        default: Used where a trial does not give the parameter.

    Example:
        >>> Real(0, 1).check(1), Real(0, 1).check(float("nan"))
        ((1.0, None), (None, 'must be 0.0 to 1.0, not nan'))
    """

    kind: ClassVar[str] = "real"
    low: float
    high: float
    log: bool = False
    precision: int | None = None

    def __init__(
        self,
        low: float,
        high: float,
        *,
        log: bool = False,
        precision: int | None = None,
        default: float | None = None,
    ) -> None:
        super().__init__(low=low, high=high, log=log, precision=precision, default=default)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError("low and high must be finite")
        if self.precision is not None and self.precision < 1:
            raise ValueError("precision counts significant digits and must be at least 1")
        _check_range(self)
        return self

    def check(self, value: object) -> tuple[Any, str | None]:
        """The float and None, or None and what is wrong with it."""
        number = plain(value)
        if type(number) is int:
            as_float = float(number) if abs(number) <= 2**1023 else math.inf
            if as_float != number:
                return None, f"has no exact float: {number}"
            number = as_float
        if type(number) is not float:
            return None, f"must be a number, not {value!r:.100}"
        if not self.low <= number <= self.high:
            return None, f"must be {self.low} to {self.high}, not {number}"
        return number, None


class Categorical(Dimension):
    """One of a list of values of any types. ``1``, ``1.0``, ``True`` and ``"1"`` are four different choices.

    Args:
        choices: At least one, without repetition.
        default: Used where a trial does not give the parameter; None means that there is no default.

    Example:
        >>> Categorical([1, "auto", None, True]).check(True)
        (True, None)
        >>> Categorical(["lru", "lfu"]).check("lrx")
        (None, "must be one of ['lru', 'lfu'], not 'lrx'")
    """

    kind: ClassVar[str] = "categorical"
    choices: tuple[Any, ...]

    def __init__(self, choices: Sequence[object], *, default: object = None) -> None:
        if isinstance(choices, str) or not isinstance(choices, Sequence):
            raise UsageError("choices must be a list", hint='write Categorical(["a", "b"])', choices=choices)
        super().__init__(choices=tuple(plain(choice) for choice in choices), default=default)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.choices:
            raise ValueError("there must be at least one choice")
        if len({encode(choice) for choice in self.choices}) < len(self.choices):
            raise ValueError("a choice is given twice")
        return self

    def check(self, value: object) -> tuple[Any, str | None]:
        """The choice and None, or None and what is wrong with it."""
        value = plain(value)
        for choice in self.choices:
            if type(choice) is type(value) and (choice == value or encode(choice) == encode(value)):
                return choice, None
        return None, f"must be one of {list(self.choices)!r:.300}, not {value!r:.100}"


class Fidelity(Dimension):
    """How much effort a trial spends: epochs, seconds, rows. It is not part of the trial's id.

    Args:
        low: Least effort.
        high: Most effort.
        base: Factor between the rungs that multi-fidelity algorithms use.
        default: Used where a trial does not give it.

    Source: Oríon, `fidelity(low, high, base)`.
    """

    kind: ClassVar[str] = "fidelity"
    low: float
    high: float
    base: float = 2

    def __init__(self, low: float, high: float, *, base: float = 2, default: float | None = None) -> None:
        super().__init__(low=low, high=high, base=base, default=default)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.base < 1:
            raise ValueError("base must be at least 1")
        _check_range(self)
        return self

    def check(self, value: object) -> tuple[Any, str | None]:
        """The number as given and None, or None and what is wrong with it."""
        number = plain(value)
        if type(number) not in (int, float):
            return None, f"must be a number, not {value!r:.100}"
        if not self.low <= number <= self.high:  # type: ignore[operator]
            return None, f"must be {self.low} to {self.high}, not {number}"
        return number, None


def _check_range(dimension: Integer | Real | Fidelity) -> None:
    if not dimension.low <= dimension.high:
        raise ValueError("low must not be above high")
    if getattr(dimension, "log", False) and dimension.low <= 0:
        raise ValueError("low must be positive on a logarithmic scale")


class Space(Mapping[str, Dimension]):
    """The parameters of an experiment by name, in order.

    Args:
        dimensions: What each parameter may be.
    """

    __slots__ = ("_dimensions", "_fidelities")

    def __init__(self, dimensions: Mapping[str, Dimension]) -> None:
        for name, dimension in dimensions.items():
            check_name(name, "parameter")
            if not isinstance(dimension, Dimension):
                raise UsageError(
                    "a parameter's space must be Integer, Real, Categorical or Fidelity",
                    hint=f"for example {name!r}: ts.Real(0, 1)",
                    parameter=name,
                    space=dimension,
                )
        self._dimensions = dict(dimensions)
        self._fidelities = [name for name, dimension in dimensions.items() if isinstance(dimension, Fidelity)]

    def __getitem__(self, name: str) -> Dimension:
        return self._dimensions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dimensions)

    def __len__(self) -> int:
        return len(self._dimensions)

    def __repr__(self) -> str:
        return f"Space({self._dimensions!r})"

    def validate(
        self, params: Mapping[str, object], fidelity: Mapping[str, object] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Parameters and fidelity as they are stored, with defaults filled in.

        The value of a `Fidelity` may stand in either mapping; it is returned in the second.

        Raises:
            InvalidParamsError: names every missing, unknown or unfit parameter at once.
        """
        problems: list[str] = []
        values: dict[str, Any] = {}
        effort: dict[str, Any] = dict(fidelity or {})
        for name, given in params.items():
            dimension = self._dimensions.get(name)
            if dimension is None:
                near = nearest(str(name), self._dimensions)
                problems.append(f"{name!r} is not in the space" + (f"; did you mean {near[0]!r}?" if near else ""))
            elif name in self._fidelities:
                effort[name] = given
            else:
                values[name], problem = dimension.check(given)
                if problem is not None:
                    problems.append(f"{name!r} {problem}")
        if len(values) + len(self._fidelities) < len(self._dimensions):
            self._fill_in(values, problems)
        for name in self._fidelities:
            dimension = self._dimensions[name]
            if name in effort:
                effort[name], problem = dimension.check(effort[name])
                if problem is not None:
                    problems.append(f"fidelity {name!r} {problem}")
            elif dimension.default is not None:
                effort[name] = dimension.default
        if problems:
            raise InvalidParamsError(
                "parameters do not fit the space:\n    " + "\n    ".join(problems),
                hint="the space is experiment.space",
            )
        return values, effort or None

    def _fill_in(self, values: dict[str, Any], problems: list[str]) -> None:
        for name, dimension in self._dimensions.items():
            if name not in values and name not in self._fidelities:
                if dimension.default is None:
                    problems.append(f"{name!r} is missing")
                else:
                    values[name] = dimension.default

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {name: dimension.to_json() for name, dimension in self._dimensions.items()}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Space:
        """The space that `to_json` described."""
        return cls({name: _dimension(dict(fields)) for name, fields in body.items()})


_KINDS: dict[str, type[Dimension]] = {kind.kind: kind for kind in (Integer, Real, Categorical, Fidelity)}


def _dimension(fields: dict[str, Any]) -> Dimension:
    kind = _KINDS.get(fields.pop("kind"))
    if kind is None:
        raise UsageError("the space has a kind of parameter that this version does not know", hint="upgrade trialstore")
    return kind(**{name: unpack(value) for name, value in fields.items()})
