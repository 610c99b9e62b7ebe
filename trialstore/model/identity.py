"""Identifiers: ULIDs, the hash of parameters, and the folder name of an experiment."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from urllib.parse import unquote

from pydantic_core import to_json

from trialstore.model.codec import pack
from trialstore.model.errors import InvalidNameError

__all__ = ["NAME_LIMIT", "check_name", "escape", "new_ulid", "packed_hash", "params_hash", "unescape"]

NAME_LIMIT = 1024
"""Most characters in the name of an experiment, trial, metric, parameter, document or artifact."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def new_ulid() -> str:
    """A unique 26-character identifier that sorts by the millisecond it was made in.

    Source: https://github.com/ulid/spec
    """
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def params_hash(params: Mapping[str, object]) -> str:
    """32 hexadecimal digits that equal parameters share, in whatever order they are given.

    Values are equal when type and value are: 1, 1.0, True and "1" are four different values, and NaN
    equals NaN.

    Example:
        >>> params_hash({"a": 1, "b": "x"}) == params_hash({"b": "x", "a": 1})
        True
        >>> params_hash({"a": 1}) == params_hash({"a": 1.0})
        False
    """
    ordered = {name: params[name] for name in sorted(params, key=str)}
    return hashlib.sha256(to_json(pack(ordered, "params"))).hexdigest()[:32]


def packed_hash(params: Mapping[str, object], packed: Mapping[str, object]) -> str:
    """`params_hash` of parameters whose values were packed already, for speed."""
    names = sorted(packed)
    if any(name[:1] == "$" for name in names):
        return params_hash(params)
    return hashlib.sha256(to_json({name: packed[name] for name in names})).hexdigest()[:32]


def check_name(name: object, what: str) -> str:
    """The name itself, when it can be stored.

    Raises:
        InvalidNameError: the name is not text, is empty, has more than `NAME_LIMIT` characters, or is
            not valid Unicode.
    """
    if not isinstance(name, str):
        raise InvalidNameError(f"the name of a {what} must be text", name=name)
    if not name:
        raise InvalidNameError(f"the name of a {what} is empty", hint="give it at least one character")
    if len(name) > NAME_LIMIT:
        raise InvalidNameError(f"the name of a {what} is too long", limit=NAME_LIMIT, length=len(name), name=name)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidNameError(f"the name of a {what} is not valid Unicode", name=name) from None
    return name


def escape(name: str, limit: int = 120) -> str:
    """A file name for any text: safe on every file system and in every URL, and readable where it can be.

    Everything but ASCII letters, digits and ``-_.`` is percent-encoded, as is a leading or trailing dot.
    What would be longer than `limit` is cut and closed with a hash of the whole, so that two long names
    never share a file.

    Example:
        >>> escape("tune redis"), escape("../a/b"), escape("é")
        ('tune%20redis', '%2E.%2Fa%2Fb', '%C3%A9')
    """
    last = len(name) - 1
    text = "".join(
        char if char in _SAFE and not (char == "." and index in (0, last)) else _percent(char)
        for index, char in enumerate(name)
    )
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{text[: limit - 17].rsplit('%', 1)[0] or text[: limit - 17]}~{digest}"


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def unescape(text: str) -> str:
    """The text that `escape` spelled, unless it was cut."""
    return unquote(text)
