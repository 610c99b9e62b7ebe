"""Storage options on their way to another process, in a pickle that tells nobody the credentials in them.

What is promised: the options come out of a pickle whole in the process that made it, and in the processes that
`multiprocessing` started from it, however they were started. Anybody else who has the pickle learns of them only what
says where the storage is, and opens it with credentials of their own: the environment's, a profile's, a role's.

The options are encrypted with the key that `multiprocessing` makes at random for each family of processes and hands to
each child (`multiprocessing.Process.authkey`). It is in no pickle.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import pickle
from collections.abc import Mapping
from typing import Any

from trialstore.blobs.secrets import public_part

__all__ = ["Sealed", "opened", "seal"]

_log = logging.getLogger("trialstore")
_TAG_AT, _BODY_AT = 16, 48


class Sealed:
    """Options that only processes of one family can read whole.

    Args:
        public: What anybody may know of them.
        box: All of them, encrypted.
    """

    __slots__ = ("_box", "_public")

    def __init__(self, public: dict[str, Any], box: bytes) -> None:
        self._public = public
        self._box = box

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._public, self._box)

    def options(self) -> dict[str, Any]:
        """All of them; elsewhere than in the family, those that are no secret, and a warning in the log."""
        nonce, tag, body = self._box[:_TAG_AT], self._box[_TAG_AT:_BODY_AT], self._box[_BODY_AT:]
        secret, signing = _keys(nonce)
        if not hmac.compare_digest(tag, hmac.digest(signing, body, "sha256")):
            _log.warning("credentials travel in no pickle to processes started elsewhere: using this one's environment")
            return dict(self._public)
        found: dict[str, Any] = pickle.loads(_crossed(body, secret))  # made by this family, says the tag
        return found


def seal(options: Mapping[str, Any]) -> Mapping[str, Any] | Sealed:
    """The options, sealed if anything in them is a secret."""
    public = public_part(options)
    if public == dict(options):
        return public
    nonce = os.urandom(_TAG_AT)
    secret, signing = _keys(nonce)
    body = _crossed(pickle.dumps(dict(options)), secret)
    return Sealed(public, nonce + hmac.digest(signing, body, "sha256") + body)


def _keys(nonce: bytes) -> tuple[bytes, bytes]:
    import multiprocessing

    family = bytes(multiprocessing.current_process().authkey)
    derived = hmac.digest(family, b"trialstore storage options" + nonce, "sha512")
    return derived[:32], derived[32:]


def _crossed(data: bytes, secret: bytes) -> bytes:
    stream = hashlib.shake_256(secret).digest(len(data))
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))


def opened(options: Mapping[str, Any] | Sealed) -> Mapping[str, Any]:
    """What `seal` was given."""
    return options.options() if isinstance(options, Sealed) else options
