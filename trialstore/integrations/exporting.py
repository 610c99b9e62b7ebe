"""What an integration's package exports: imported when it is first used, and told of where the tool is missing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module

from trialstore.model.errors import MissingExtraError

__all__ = ["exported"]


def exported(
    package: str, name: str, homes: Mapping[str, str], *, tool: str, extra: str, needed: Collection[str]
) -> object:
    """A member of a package, for its ``__getattr__``.

    Args:
        package: The package's name.
        name: The member's.
        homes: Module of the package by member.
        tool: What the tool is called.
        extra: Which installs it.
        needed: Top packages that are missing where the tool is.

    Raises:
        AttributeError: there is no such member.
        MissingExtraError: the tool is not installed.
    """
    home = homes.get(name)
    if home is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{package}.{home}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in needed:
            raise
        raise MissingExtraError(
            f"{tool} is not installed", hint=f"pip install 'trialstore[{extra}]'", module=error.name
        ) from error
