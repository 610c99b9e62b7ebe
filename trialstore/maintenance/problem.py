"""What is wrong with a blob, as a value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be.

    Attributes:
        kind: ``missing``, ``damaged``, ``mismatch``, or ``too new``.
        blob: The blob, or the folder, that it is about.
        what: What is wrong, for people to read.
        hint: What mends it.
    """

    kind: str
    blob: str
    what: str
    hint: str
