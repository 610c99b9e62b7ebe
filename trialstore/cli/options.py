"""Arguments that several commands share, and opening a store with them."""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trialstore.cli.failures import say_json
from trialstore.model.errors import StoreNotFoundError

if TYPE_CHECKING:
    from trialstore.store import Store

__all__ = [
    "AsJson",
    "ExperimentVersion",
    "StorageOptions",
    "Url",
    "open_store",
    "parse_duration",
    "parse_storage_options",
]

_ENVIRONMENT = "TRIALSTORE_STORAGE_OPTIONS"
_WITHOUT_OPTIONS = ("file", "local", "memory")


def _as_json(ctx: typer.Context, value: bool) -> bool:
    if value:
        say_json(ctx)
    return value


Url = Annotated[str, typer.Argument(show_default=False, help="A folder, or an address such as s3://bucket/results.")]
StorageOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="KEY=VALUE",
        show_default=False,
        help="For the bucket's filesystem; may be repeated. VALUE is JSON, or else text. The variable "
        f"{_ENVIRONMENT} may hold a JSON object of them.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", callback=_as_json, is_eager=True, help="Print exact JSON for programs; errors are JSON too."
    ),
]
ExperimentVersion = Annotated[
    int | None,
    typer.Option("--version", min=1, show_default=False, help="Version of the experiment; the newest if not given."),
]


def open_store(url: str, storage_options: list[str] | None, *, writable: bool = False) -> Store:
    """The store at an address. One that does not exist is an error and is never created.

    Raises:
        StoreNotFoundError: there is no store.
    """
    from trialstore.store import open as open_at

    options = parse_storage_options(url, storage_options)
    try:
        store = open_at(url, mode="r", storage_options=options)
    except StoreNotFoundError as error:
        hint = "check the address; trialstore.open(url) in a program creates a store"
        raise StoreNotFoundError(error.message, hint=hint, **error.facts) from None
    return open_at(url, storage_options=options) if writable else store


def parse_storage_options(url: str, given: list[str] | None) -> dict[str, Any] | None:
    """What was given as ``KEY=VALUE``, and in the environment where the address takes options; None for nothing.

    Raises:
        typer.BadParameter: something is not of this form.
    """
    options: dict[str, Any] = {}
    scheme, separator, _ = url.partition("://")
    environment = os.environ.get(_ENVIRONMENT)
    if environment and separator and scheme.lower() not in _WITHOUT_OPTIONS:
        try:
            options = json.loads(environment)
        except ValueError:
            options = []  # type: ignore[assignment]
        if not isinstance(options, dict):
            raise typer.BadParameter(f"{_ENVIRONMENT} must hold a JSON object", param_hint="--storage-option")
    for item in given or ():
        key, equals, text = item.partition("=")
        if not equals or not key:
            # What was given is not repeated: it may be a key.
            raise typer.BadParameter("one is not KEY=VALUE, such as anon=true", param_hint="--storage-option")
        try:
            options[key] = json.loads(text)
        except ValueError:
            options[key] = text
    return options or None


_UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_duration(text: str, option: str = "--grace") -> timedelta:
    """A length of time such as ``90s``, ``30m``, ``1h30m`` or ``2d``; a bare number counts seconds.

    Raises:
        typer.BadParameter: the text is not a length of time.

    Example:
        >>> parse_duration("1h30m") == parse_duration("5400")
        True
    """
    spelled = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", spelled):
        spelled += "s"
    pieces = re.findall(r"(\d+(?:\.\d+)?)([dhms])", spelled)
    if not pieces or "".join(number + unit for number, unit in pieces) != spelled:
        raise typer.BadParameter(f"{text!r} is not a length of time, such as 90s, 30m, 1h30m or 2d", param_hint=option)
    try:
        return timedelta(seconds=sum(float(number) * _UNITS_S[unit] for number, unit in pieces))
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is too long", param_hint=option) from None
