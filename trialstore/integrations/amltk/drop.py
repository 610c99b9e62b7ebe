"""One object of a bucket, as AMLTK handles it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amltk.store import Drop, Stored

from trialstore.integrations.amltk.formats import local_file
from trialstore.model.errors import ArtifactNotFoundError

if TYPE_CHECKING:
    from trialstore.integrations.amltk.bucket import TrialStoreBucket

__all__ = ["ObjectNotFoundError", "StoreDrop"]


class ObjectNotFoundError(ArtifactNotFoundError, FileNotFoundError):
    """The bucket has no such object. AMLTK's programs expect a FileNotFoundError."""


class StoreDrop(Drop[Path]):
    """An object of a `TrialStoreBucket`, which need not be there. It may be sent to another process.

    Attributes:
        key: The path that the object has for AMLTK: that of its bucket, and its name.
        bucket: Where it is.
        name: Its name there.

    Source: AMLTK, `amltk.store.Drop`.
    """

    def __init__(self, bucket: TrialStoreBucket, name: str) -> None:
        super().__init__(
            key=bucket.path / name, loaders=bucket.loaders, _remove=bucket._remove_path, _exists=bucket._exists_path
        )
        self.bucket = bucket
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return StoreDrop, (self.bucket, self.name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoreDrop):
            return NotImplemented
        return (self.bucket, self.name) == (other.bucket, other.name)

    def __hash__(self) -> int:
        return hash((self.bucket, self.name))

    def put(self, obj: Any) -> Stored[Any]:
        """Store an object here, in the place of one that there may be; durable when it returns.

        Returns:
            A handle that loads it, in this process or in another one.
        """
        self.bucket.store({self.name: obj})
        return self.as_stored()

    def load(self, *, check: type[Any] | None = None) -> Any:
        """The object.

        Raises:
            ObjectNotFoundError: it is not there; near names are given.
            TypeError: it is no `check`.
            DamagedError: its bytes are not those that were stored.
        """
        value = self.bucket._load(self.name)
        if check is not None and not isinstance(value, check):
            raise TypeError(f"{self.name!r} holds {type(value).__name__}, not {check.__name__}")
        return value

    def get(self, default: Any = None, *, check: type[Any] | None = None) -> Any:
        """The object, or `default` when it is not there.

        Raises:
            TypeError: it is no `check`.
            DamagedError: its bytes are not those that were stored. AMLTK's own buckets give None.
        """
        try:
            return self.load(check=check)
        except ObjectNotFoundError:
            return default

    def remove(self) -> bool:
        """Delete it, or all that is in the bucket of this name; True, also when there is nothing."""
        self.bucket._remove(self.name)
        return True

    def exists(self) -> bool:
        """Whether there is an object of this name now, or a bucket with objects."""
        return self.name in self.bucket

    def as_stored(self, read: Callable[[Path], Any] | None = None) -> Stored[Any]:
        """A handle that loads the object when it is asked to, in this process or in another one.

        Args:
            read: Reads a local file that has the object's bytes; by default the object is loaded as `load` does.
        """
        return Stored(self.key, read=_Read(self.bucket, self.name, read))


class _Read:
    """Loads one object, whatever path it is asked for; may be pickled."""

    def __init__(self, bucket: TrialStoreBucket, name: str, read: Callable[[Path], Any] | None) -> None:
        self.bucket = bucket
        self.name = name
        self.read = read

    def __call__(self, key: Path) -> Any:
        if self.read is None:
            return self.bucket._load(self.name)
        with local_file(self.bucket._blobs, self.bucket._found(self.name), key) as file:
            return self.read(file)
