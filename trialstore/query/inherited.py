"""What a forked child inherits of its parent's queries: kept, and never touched."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["watch"]


class Forked(Protocol):
    """Something that holds what only the process that made it can end."""

    def leave_to_parent(self) -> object:
        """Forget, in a forked child, what the parent still uses; returns it."""


def watch(one: Forked) -> None:
    """Have `leave_to_parent` called in every forked child, and keep what it returns for ever.

    A DuckDB connection that is collected in a child waits for threads that only its parent has: the child crashes or
    hangs, at whatever time its garbage is next collected.
    """
    _watched.add(one)


_watched: weakref.WeakSet[Forked] = weakref.WeakSet()
_inherited: list[object] = []


def _keep_inherited() -> None:
    _inherited.extend([one.leave_to_parent() for one in _watched])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_inherited)
