"""Moments of a store's past as they are typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from trialstore.cli.options import parse_duration

if TYPE_CHECKING:
    from trialstore.past import AsOf

__all__ = ["MOMENT", "AsOfOption", "parse_moment"]

MOMENT = (
    "The id of a snapshot; a time such as 2026-11-21T01:02:03Z; a time ago such as 2h or 1d12h; or NAME=NUMBER, a "
    "sequence number of an experiment's journal"
)

AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="MOMENT", show_default=False, help=f"Look at the store as it was. {MOMENT}."),
]

_NUMBERED = re.compile(r"(.+)=(-?\d+)", re.DOTALL)
_AGO = re.compile(r"(\d+(\.\d+)?[dhms])+", re.IGNORECASE)


def parse_moment(text: str | None) -> AsOf | None:
    """What `Store.snapshot` takes; None for the present.

    Raises:
        UsageError: it is none of what `MOMENT` says; raised when the snapshot is taken.

    Example:
        >>> parse_moment("tune=17"), parse_moment("now"), parse_moment("2026-11-21T01:02:03Z")
        ({'tune': 17}, None, '2026-11-21T01:02:03Z')
    """
    if text is None or text.strip().lower() == "now":
        return None
    numbered = _NUMBERED.fullmatch(text)
    if numbered:
        return {numbered[1]: int(numbered[2])}
    if _AGO.fullmatch(text.strip()):
        length: timedelta = parse_duration(text)
        try:
            return datetime.now(UTC) - length
        except OverflowError:
            raise typer.BadParameter(f"{text!r} is too long ago", param_hint="MOMENT") from None
    return text
