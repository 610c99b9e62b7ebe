"""Counting how often the disk is forced to hold what was written ahead of commits."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from trialstore.blobs import turns


class Flushes:
    """The flushes so far.

    Attributes:
        count: How many.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        force = os.fdatasync

        def counted(fd: int) -> None:
            self.count += 1
            force(fd)

        monkeypatch.setattr(os, "fdatasync", counted)
        monkeypatch.setattr(turns, "can_write_ahead", lambda folder: True)  # whatever disk the tests run on
        monkeypatch.setattr(turns, "BEGIN_AT", 1)

    def of(self, step: Callable[[], object]) -> int:
        """How many a step takes."""
        before = self.count
        step()
        return self.count - before
