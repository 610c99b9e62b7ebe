"""Test modules that need a tool which is not installed everywhere: skipped where it is not, and saying so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["Skipped", "let_warn"]


class Skipped(pytest.Module):
    """Stands for a module that cannot be imported here."""

    reason = ""

    @classmethod
    def instead_of(cls, module_path: Any, parent: Any, reason: str) -> Skipped:
        """The stand-in for a module, which gives the reason when it is collected."""
        module: Skipped = cls.from_parent(parent, path=module_path)
        module.reason = reason
        return module

    def collect(self) -> Any:
        pytest.skip(self.reason, allow_module_level=True)


def let_warn(items: Iterable[pytest.Item], folder: str) -> None:
    """Let the tests of a folder pass though the tool warns of itself."""
    for item in items:
        if folder in str(item.path):
            item.add_marker(pytest.mark.filterwarnings("ignore"))
