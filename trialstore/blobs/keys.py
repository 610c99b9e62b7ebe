"""What a key may be: a relative path that no backend can read as a way out of the root."""

from __future__ import annotations

from trialstore.model.errors import UsageError

__all__ = ["check_key", "check_prefix"]

_LONGEST_BYTES = 1024
"""The longest key of S3, GCS and Azure."""


def check_key(key: str) -> str:
    """The key itself, when it names one blob under the root and nothing else.

    Its parts are not empty and do not start with a dot, so neither ``..`` nor a backend's own hidden
    files can be reached.

    Raises:
        UsageError: the key is empty, absolute, too long, or has such a part; nothing was read or written.
    """
    if (
        not key
        or key[0] in "/."
        or key[-1] == "/"
        or "//" in key
        or "/." in key
        or "\0" in key
        or len(key) > _LONGEST_BYTES
        or (not key.isascii() and not _fits(key))
    ):
        raise UsageError(
            "not a key of a blob",
            hint="use a relative path of at most 1024 bytes whose parts are not empty and do not start with a dot",
            key=key,
        )
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself, when it is a folder: empty, or a key with ``/`` after it.

    Raises:
        UsageError: it is anything else.
    """
    if prefix:
        if prefix[-1] != "/":
            raise UsageError(
                "the prefix of a listing is a folder", hint="end it with '/', or leave it empty", prefix=prefix
            )
        check_key(prefix[:-1])
    return prefix


def _fits(key: str) -> bool:
    try:
        return len(key.encode()) <= _LONGEST_BYTES
    except UnicodeEncodeError:
        return False
