"""A filesystem for engines through which nothing can be written."""

from __future__ import annotations

from typing import Any

from fsspec import AbstractFileSystem

__all__ = ["ReadingFileSystem"]


class ReadingFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Reads through another filesystem, under the same protocol; every other verb fails.

    Args:
        inner: Whose files are read.
    """

    cachable = False

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.protocol = inner.protocol

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """An open file; only for reading."""
        if mode != "rb":
            raise PermissionError(f"only reading is allowed: {path}")
        return self.inner.open(path, mode, **options)

    def unstrip_protocol(self, name: str) -> str:
        """The path with its protocol."""
        return str(self.inner.unstrip_protocol(name))

    def info(self, path: str, **options: Any) -> Any:
        """What is known of a file."""
        return self.inner.info(path, **options)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        """The names in a folder."""
        return self.inner.ls(path, detail=detail, **options)

    def glob(self, path: str, **options: Any) -> Any:
        """The files that match a pattern."""
        return self.inner.glob(path, **options)

    def exists(self, path: str, **options: Any) -> Any:
        """Whether there is a file or folder."""
        return self.inner.exists(path, **options)

    def modified(self, path: str) -> Any:
        """When a file was written."""
        return self.inner.modified(path)

    def ukey(self, path: str) -> Any:
        """What changes when a file does."""
        return self.inner.ukey(path)
