"""Calls of Linux that Python has no name for."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

__all__ = ["failure", "linux_call"]


@cache
def linux_call(name: str, *types: type) -> Callable[..., int] | None:
    """A function of the C library that returns 0 or sets ``errno``; None where there is none, or on another system.

    Args:
        name: Of the function.
        types: Of its arguments.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        call = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError):
        return None
    call.argtypes = list(types)
    call.restype = ctypes.c_int
    checked: Callable[..., int] = call
    return checked


def failure() -> OSError:
    """Why the last such call failed."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
