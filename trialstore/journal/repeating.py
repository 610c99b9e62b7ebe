"""When one trial is a repeat of another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

__all__ = ["repeat_key"]


def repeat_key(body: Mapping[str, Any]) -> bytes:
    """What two trials share when one is a repeat of the other: parameters and fidelity."""
    fidelity = body.get("fidelity")
    if fidelity is None:
        return bytes.fromhex(body["id"])
    effort = to_json({name: fidelity[name] for name in sorted(fidelity)})
    return hashlib.sha256(body["id"].encode() + effort).digest()[:16]
