"""Local blobs as on a system without nameless files (macOS, NFS, FUSE)."""

from __future__ import annotations

from trialstore.blobs.local import LocalBlobs


class NamedFileBlobs(LocalBlobs):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._nameless = False

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._root,)
