"""A database of mlos_bench holds every value as text; a store holds what the text says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlos_bench.util import try_parse_val

__all__ = ["split", "typed"]


def typed(text: Any) -> int | float | str | None:
    """The number that a text spells, or the text.

    ``str`` gives the same text back, for every text: ``"007"`` and ``"1e3"`` stay texts.

    Source: mlos_bench, `mlos_bench.util.try_parse_val`.

    Example:
        >>> typed("100"), typed("1.5"), typed("007"), typed("nan"), typed(None)
        (100, 1.5, '007', nan, None)
    """
    if text is None:
        return None
    spelled = str(text)
    value = try_parse_val(spelled)
    return value if str(value) == spelled else spelled


def split(results: Mapping[str, Any]) -> tuple[dict[str, int | float], dict[str, str | None]]:
    """The numbers that results spell, and the results that say more than the number: both together give each text back.

    Example:
        >>> split({"latency": "1.5", "cost": "1.50", "plan": "hash", "note": None})
        ({'latency': 1.5, 'cost': 1.5}, {'cost': '1.50', 'plan': 'hash', 'note': None})
    """
    numbers: dict[str, int | float] = {}
    texts: dict[str, str | None] = {}
    for name, text in results.items():
        value = try_parse_val(text)
        if isinstance(value, int | float):
            numbers[name] = value
        if not isinstance(typed(text), int | float):
            texts[name] = text
    return numbers, texts
