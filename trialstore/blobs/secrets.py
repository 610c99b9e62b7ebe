"""Keeping credentials out of whatever people read: errors, logs, addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

__all__ = ["Secrets", "holds_secret", "public_part", "without_secrets"]

_HIDDEN = "***"
_SHORTEST = 4
_OPEN = frozenset(
    {"account_name", "account_host", "addressing_style", "api_version", "default_location", "endpoint_url", "location"}
    | {"mode", "project", "region", "region_name", "signature_version", "user_agent", "url", "host", "protocol"}
)
"""Options whose values say where the storage is, not who asks."""

_WAYS = frozenset({"anon", "browser", "cache", "cloud", "google_default"})
"""Words that stand for a way to sign in, where a token may stand."""


class Secrets:
    """The values of storage options that nobody else may see.

    Args:
        options: Arguments of an fsspec filesystem. Every text in them counts, but for those that say where it is.
    """

    def __init__(self, options: Mapping[str, object]) -> None:
        found = {text for text in _texts(options) if len(text) >= _SHORTEST and text not in _WAYS}
        # Addresses hold them percent-encoded; longer ones first, since one may be part of another.
        self._texts = sorted({spelled for text in found for spelled in (text, quote(text, safe=""))}, key=len)[::-1]

    def hide(self, text: str) -> str:
        """The text with every secret blotted out."""
        for secret in self._texts:
            text = text.replace(secret, _HIDDEN)
        return text

    def are_in(self, errors: Iterable[BaseException]) -> bool:
        """Whether one of these errors would tell a secret."""
        return any(secret in f"{error} {error!r}" for error in errors for secret in self._texts)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name not in _OPEN:
                yield from _texts(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _texts(item)


def public_part(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of storage options, what says where and how, and not who: places, numbers and switches."""
    public: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            public[name] = public_part(value)
        elif not isinstance(value, str):
            if value is None or isinstance(value, bool | int | float):
                public[name] = value
        elif value in _WAYS or (name in _OPEN and not holds_secret(value)):
            public[name] = value
    return public


def holds_secret(url: str) -> bool:
    """Whether an address has a password, or a query, which is where signatures stand."""
    place, _, _ = url.partition("://")[2].partition("/")
    user, at, _ = place.rpartition("@")
    return bool(at and ":" in user) or ("?" in url and "=" in url.partition("?")[2])


def without_secrets(url: str) -> str:
    """The address without its password and query."""
    if not holds_secret(url):
        return url
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if at and ":" in user:
        place = f"{user.partition(':')[0]}:{_HIDDEN}@{host}"
    shown = f"{scheme}{separator}{place}{slash}{path}"
    head, mark, _ = shown.partition("?")
    return head + (mark + _HIDDEN if mark else "")
