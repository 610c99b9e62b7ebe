"""A bucket: a folder of objects, on a disk or anywhere that fsspec reaches."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, TypeVar, overload

from trialstore.artifacts.loaders import dump, loader_named, loader_of, parse
from trialstore.artifacts.transfer import chunks, opened, write_file
from trialstore.blobs.local import Durability
from trialstore.blobs.protocol import Blobs
from trialstore.blobs.resolve import open_anywhere
from trialstore.model.errors import ArtifactNotFoundError, BlobNotFoundError, InvalidNameError, UsageError, nearest

__all__ = ["Bucket", "Stored"]

_WHOLE_BYTES = 8 << 20
_ABSENT: Any = object()

T = TypeVar("T")


class Stored:
    """One object of a bucket, which need not be there. Cheap, and may be sent to another process.

    `Bucket.__getitem__` gives one; nothing is read before a method is called.

    Attributes:
        bucket: Where it is.
        name: Its name there.
    """

    __slots__ = ("bucket", "name")

    def __init__(self, bucket: Bucket, name: str) -> None:
        self.bucket = bucket
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name!r} in {self.bucket.url}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stored):
            return NotImplemented
        return (self.bucket.url, self.name) == (other.bucket.url, other.name)

    def __hash__(self) -> int:
        return hash((self.bucket.url, self.name))

    def __reduce__(self) -> tuple[object, ...]:
        return Stored, (self.bucket, self.name)

    @property
    def exists(self) -> bool:
        """Whether it is there now."""
        return self.bucket._blobs.info(self.bucket._key(self.name)) is not None

    @property
    def size_bytes(self) -> int:
        """Its size.

        Raises:
            ArtifactNotFoundError: it is not there.
        """
        info = self.bucket._blobs.info(self.bucket._key(self.name))
        if info is None:
            raise self.bucket._missing(self.name)
        return info.size_bytes

    def put(self, value: Any, *, loader: str | None = None) -> Stored:
        """Store an object here, in the place of one that there may be; see `Bucket.store`."""
        bucket, key = self.bucket, self.bucket._key(self.name)
        if isinstance(value, os.PathLike) or hasattr(value, "read"):
            if loader is not None:
                loader_named(loader)
            with opened(value) as file:
                bucket._blobs.write_stream(key, _Binary(file))  # type: ignore[arg-type]
            return self
        data, _ = dump(self.name, value, loader)
        if len(data) > _WHOLE_BYTES:
            bucket._blobs.write_stream(key, io.BytesIO(data))
        else:
            bucket._blobs.write(key, data)
        return self

    @overload
    def load(self, *, loader: str | None = None, check: None = None) -> Any: ...

    @overload
    def load(self, *, loader: str | None = None, check: type[T]) -> T: ...

    def load(self, *, loader: str | None = None, check: type[Any] | None = None) -> Any:
        """The object.

        Args:
            loader: Load it this way, instead of the way its name's ending says; ``"pickle"`` and ``"joblib"``, which
                can run any code, are never chosen by a name.
            check: The type that it must have.

        Raises:
            ArtifactNotFoundError: it is not there; near names are given.
            TypeError: it has another type.
        """
        how = loader_of(self.name) if loader is None else loader_named(loader)
        try:
            data = self.bucket._blobs.read(self.bucket._key(self.name))
        except BlobNotFoundError:
            raise self.bucket._missing(self.name) from None
        value = parse(self.name, data, how)
        if check is not None and not isinstance(value, check):
            raise TypeError(f"{self.name!r} holds {type(value).__name__}, not {check.__name__}")
        return value

    def open(self) -> IO[bytes]:
        """A seekable reader of its bytes that fetches only what is read."""
        try:
            return self.bucket._blobs.open(self.bucket._key(self.name))
        except BlobNotFoundError:
            raise self.bucket._missing(self.name) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write its bytes to a local file, which appears whole or not at all. Memory: 40 MiB at most."""
        try:
            with write_file(path) as file:
                for data in chunks(self.bucket._blobs, self.bucket._key(self.name)):
                    file.write(data)
        except BlobNotFoundError:
            raise self.bucket._missing(self.name) from None

    def remove(self) -> bool:
        """Delete it; whether it was there."""
        existed = self.exists
        self.bucket._blobs.delete([self.bucket._key(self.name)])
        return existed


class Bucket(Mapping[str, Stored]):
    r"""Objects by name, each a file of its own under one folder, in a format that its name's ending chooses.

    Guarantees: an object is seen whole or not at all, and is durable when `store` returns. Nothing is pickled or
    unpickled unless it is asked for by name. What is stored comes back the same, except that CSV has no types.

    A bucket stands beside a store, for what is not a trial's or shall lie in plain files. What `Trial.store` keeps in
    the store itself is checked, shared and cleaned up as well.

    Args:
        url: A path, ``file://``, ``memory://``, ``s3://``, ``gs://``, ``az://``, or any other address that fsspec
            knows. The folder is made with the first object.
        storage_options: For fsspec's filesystem: credentials, endpoint, and so on.
        durability: What a stored object on a local path survives: ``"machine"`` a crash of the machine, ``"process"``
            only the end of the process.

    Raises:
        UsageError: there is no such scheme, or the path is a file.
        MissingExtraError: the scheme needs a package; the hint names it.

    Example:
        >>> import trialstore as ts
        >>> bucket = ts.Bucket("memory://doctest/bucket")
        >>> _ = bucket.store({"config.json": {"lr": 0.1}, "logs/0.txt": "started"})
        >>> bucket["config.json"].load()
        {'lr': 0.1}
        >>> sorted(bucket), bucket.sub("logs").fetch("0.txt")
        (['config.json', 'logs/0.txt'], {'0.txt': 'started'})
        >>> bucket.find(r"logs/(.*)\.txt")
        {'0': <'logs/0.txt' in memory://doctest/bucket>}

    Source: AMLTK, `PathBucket`.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | Blobs,
        *,
        storage_options: Mapping[str, Any] | None = None,
        durability: Durability = "machine",
    ) -> None:
        self._blobs = open_anywhere(url, durability=durability, storage_options=storage_options)
        self._folder = ""

    @property
    def url(self) -> str:
        """The address of the folder."""
        return f"{self._blobs.url.rstrip('/')}/{self._folder}".rstrip("/") if self._folder else self._blobs.url

    def __repr__(self) -> str:
        return f"<Bucket {self.url}>"

    def __eq__(self, other: object) -> bool:
        return self.url == other.url if isinstance(other, Bucket) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self._blobs, self._folder)

    # Writing

    def store(self, items: Mapping[str, Any], *, loader: str | None = None) -> list[Stored]:
        """Write objects, each in one step, in the place of what may have its name.

        The name's ending chooses how (see `trialstore.artifacts.loaders`). Bytes are stored as they are; a path
        (`pathlib.Path`) or an open binary file is copied in bounded memory, however large it is.

        Args:
            items: Objects by name; ``/`` in a name makes folders.
            loader: Name of a loader for all of them, such as ``"pickle"``.

        Raises:
            UsageError: an object cannot be stored under its name. Those before it are stored.
        """
        return [Stored(self, name).put(value, loader=loader) for name, value in items.items()]

    def __setitem__(self, name: str, value: Any) -> None:
        self.store({name: value})

    def remove(self, names: Iterable[str]) -> dict[str, bool]:
        """Delete objects; for each name, whether there was one."""
        if isinstance(names, str):
            raise UsageError("names must be several", hint=f"write [{names!r}]", names=names)
        return {name: Stored(self, name).remove() for name in names}

    def __delitem__(self, name: str) -> None:
        if not Stored(self, name).remove():
            raise self._missing(name)

    def clear(self) -> None:
        """Delete all objects, those in sub-buckets as well."""
        self._blobs.delete([info.key for info in self._blobs.list(self._folder)])

    # Reading

    def __getitem__(self, name: str) -> Stored:
        self._key(name)
        return Stored(self, name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and Stored(self, name).exists

    def __iter__(self) -> Iterator[str]:
        return (info.key[len(self._folder) :] for info in self._blobs.list(self._folder))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def fetch(self, *names: str, default: Any = _ABSENT, loader: str | None = None) -> dict[str, Any]:
        """Objects by name, in the order asked for.

        Args:
            names: Which.
            default: Stands for each that is not there; a mapping gives each name's own, and None to those it leaves
                out.
            loader: Load all of them this way; see `Stored.load`.

        Raises:
            ArtifactNotFoundError: one is not there, and there is no default; near names are given.
        """
        found = {}
        for name in names:
            try:
                found[name] = Stored(self, name).load(loader=loader)
            except ArtifactNotFoundError:
                if default is _ABSENT:
                    raise
                found[name] = default.get(name) if isinstance(default, Mapping) else default
        return found

    def find(self, pattern: str) -> dict[Any, Stored]:
        r"""Objects whose name a regular expression finds something in.

        Args:
            pattern: Such as ``r"trial_(\d+)/model"``. One group in it gives the keys of the result, several give
                tuples; without any, the keys are the names.

        Raises:
            UsageError: it is no regular expression, or two names would have one key.
        """
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise UsageError("not a regular expression", pattern=pattern, reason=str(error)) from None
        found: dict[Any, Stored] = {}
        for name in self:
            match = wanted.search(name)
            if match is None:
                continue
            key = name if not wanted.groups else match[1] if wanted.groups == 1 else match.groups()
            if key in found:
                raise UsageError(
                    "two names have one key",
                    hint="put a group around what differs",
                    key=key,
                    names=[found[key].name, name],
                )
            found[key] = Stored(self, name)
        return found

    def sizes(self) -> dict[str, int]:
        """Bytes of each object, in one listing."""
        return {info.key[len(self._folder) :]: info.size_bytes for info in self._blobs.list(self._folder)}

    def sub(self, name: str) -> Bucket:
        """The bucket of a folder in this one; it need not exist."""
        return _reopen(self._blobs, f"{self._key(name)}/")

    def __truediv__(self, name: str) -> Bucket:
        return self.sub(name)

    def _key(self, name: str) -> str:
        if not isinstance(name, str):
            raise InvalidNameError("the name of an object must be text", name=name)
        if any(not piece or piece.startswith(".") for piece in name.split("/")):
            raise InvalidNameError(
                "the name of an object must be a relative path whose parts do not start with a dot",
                hint="such as plots/loss.svg",
                name=name,
            )
        return self._folder + name

    def _missing(self, name: str) -> ArtifactNotFoundError:
        near = nearest(name, self)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "its names are list(bucket)"
        return ArtifactNotFoundError("bucket has no such object", hint=hint, name=name, url=self.url)


class _Binary:
    """A reader that refuses a file that is open for text."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if not isinstance(data, bytes):
            raise UsageError("file must be open in binary mode", hint='open(path, "rb")')
        return data


def _reopen(blobs: Blobs, folder: str) -> Bucket:
    bucket = Bucket(blobs)
    bucket._folder = folder
    return bucket
