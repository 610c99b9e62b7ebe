"""What differs between an experiment and how it is asked for now, and the adapter that resolves each difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trialstore.evc.adapters import (
    CHANGES,
    Adapter,
    AlgorithmChange,
    CodeChange,
    CommandLineChange,
    DimensionAddition,
    DimensionDeletion,
    DimensionPriorChange,
    DimensionRenaming,
    ScriptConfigChange,
)
from trialstore.model.codec import encode
from trialstore.model.errors import UsageError
from trialstore.model.space import Dimension, Space

__all__ = ["Branching", "Conflict", "Described", "detect"]


@dataclass(frozen=True, slots=True)
class Branching:
    """How an experiment that is asked for differently becomes another version.

    Attributes:
        enable: Whether a version is made; otherwise differences are an error.
        branch_to: Name of the new experiment; by default the same name in the next version.
        renames: New names of parameters by their old ones.
        defaults: Values for parameters that are new or gone, where their dimension has no default.
        code: What a change of the code means: ``"noeffect"``, ``"unsure"`` or ``"break"``.
        command_line: The same of the program's arguments.
        script: The same of its configuration file.
        ignore_code_changes: Whether another commit of the program's repository is no change at all.
        manual: Whether each difference but a parameter's must be resolved here by name: `code`, `command_line` or
            `script` that is not given is then an error.
    """

    enable: bool = True
    branch_to: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    command_line: str | None = None
    script: str | None = None
    ignore_code_changes: bool = False
    manual: bool = False

    def __post_init__(self) -> None:
        for name in ("code", "command_line", "script"):
            value = getattr(self, name)
            if value is not None and value not in CHANGES:
                raise UsageError("no kind of change", hint=f"one of {', '.join(CHANGES)}", **{name: value})


@dataclass(frozen=True, slots=True)
class Described:
    """What of an experiment makes its results comparable.

    Attributes:
        space: Its parameters.
        algorithms: The configuration of its algorithm.
        code: What is known of the program's repository.
        command_line: The program and its arguments.
        script: What its configuration file holds.
    """

    space: Space
    algorithms: Any = None
    code: Any = None
    command_line: Any = None
    script: Any = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """One difference.

    Attributes:
        kind: Such as ``new dimension``.
        message: What differs, in a line.
        adapter: What resolves it; None when nothing does.
    """

    kind: str
    message: str
    adapter: Adapter | None


def detect(old: Described, new: Described, branching: Branching) -> list[Conflict]:
    """All differences, in the order in which their adapters are applied.

    Raises:
        UsageError: a renaming names a parameter that is not there.
    """
    return [*_dimensions(old.space, new.space, branching), *_rest(old, new, branching)]


def _dimensions(old: Space, new: Space, branching: Branching) -> Iterator[Conflict]:
    for before, after in branching.renames.items():
        if before not in old or after not in new or before in new or after in old:
            raise UsageError(
                "a renaming must lead from a parameter that is gone to one that is new",
                gone=sorted(old.keys() - new.keys()),
                new=sorted(new.keys() - old.keys()),
                renames=dict(branching.renames),
            )
    names = {name: branching.renames.get(name, name) for name in old}
    for before, after in branching.renames.items():
        yield Conflict("renamed dimension", f"{before!r} is {after!r} now", DimensionRenaming(before, after))
    for name, dimension in old.items():
        if names[name] not in new:
            default = _default(name, dimension, branching)
            yield Conflict("missing dimension", f"{name!r} is gone", DimensionDeletion(name, *default))
    for before, name in names.items():
        if name in new and not _equal(old[before], new[name]):
            adapter = DimensionPriorChange(name, old[before], new[name])
            yield Conflict("changed dimension", f"{name!r} was {old[before]!r} and is {new[name]!r}", adapter)
    for name, dimension in new.items():
        if name not in names.values():
            default = _default(name, dimension, branching)
            yield Conflict("new dimension", f"{name!r} is new", DimensionAddition(name, *default))


def _rest(old: Described, new: Described, branching: Branching) -> Iterator[Conflict]:
    if new.algorithms is not None and _differ(old.algorithms, new.algorithms):
        message = f"the algorithm was {old.algorithms!r:.200} and is {new.algorithms!r:.200}"
        yield Conflict("algorithm", message, AlgorithmChange())
    programs: tuple[tuple[str, str, Any, Any, type[CodeChange], str | None], ...] = (
        ("code", "the code", old.code, new.code, CodeChange, branching.code),
        (
            "command line",
            "the command line",
            old.command_line,
            new.command_line,
            CommandLineChange,
            branching.command_line,
        ),
        ("script", "the configuration of the program", old.script, new.script, ScriptConfigChange, branching.script),
    )
    for kind, name, before, after, change, chosen in programs:
        unknown = after is None or (before is None and kind != "script")
        if unknown or not _differ(before, after) or (kind == "code" and branching.ignore_code_changes):
            continue
        effect = chosen if branching.manual else chosen or "break"
        message = f"{name} was {before!r:.200} and is {after!r:.200}"
        yield Conflict(kind, message, None if effect is None else change(effect))


def _default(name: str, dimension: Dimension, branching: Branching) -> tuple[Any, bool]:
    if name in branching.defaults:
        value, problem = dimension.check(branching.defaults[name])
        if problem is not None:
            raise UsageError(f"the default of {name!r} {problem}")
        return value, True
    return dimension.default, dimension.default is not None


def _equal(one: Dimension, other: Dimension) -> bool:
    return not _differ(one.to_json(), other.to_json())


def _differ(one: Any, other: Any) -> bool:
    return encode(one) != encode(other)
