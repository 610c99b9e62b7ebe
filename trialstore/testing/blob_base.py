"""What a subclass says of the backend under test."""

from __future__ import annotations

from typing import ClassVar

import pytest

from trialstore.blobs.protocol import Blobs

__all__ = ["MEBIBYTE", "OnBlobs"]

MEBIBYTE = 1 << 20


class OnBlobs:
    """The fixture and the figures that all blob tests share.

    Attributes:
        rounds: How often a race is run.
        shared_by_processes: Whether another process that unpickles the blobs sees the same ones.
    """

    rounds: ClassVar[int] = 60
    shared_by_processes: ClassVar[bool] = True

    @pytest.fixture
    def blobs(self) -> Blobs:
        """An empty backend; the subclass gives it."""
        raise NotImplementedError("give a fixture `blobs` that returns an empty backend")
