"""AMLTK's bucket, kept by a store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, Self

from amltk.optimization import Metric
from amltk.store import PathBucket, PathLoader
from amltk.store.paths.path_bucket import DEFAULT_LOADERS

from trialstore.artifacts.store import Artifact
from trialstore.blobs.protocol import Blobs
from trialstore.experiment import Experiment
from trialstore.integrations.amltk.drop import ObjectNotFoundError, StoreDrop
from trialstore.integrations.amltk.formats import Formats
from trialstore.integrations.amltk.metrics import store_metrics
from trialstore.integrations.amltk.objects import NO_TRIAL, Objects
from trialstore.model.errors import ExperimentNotFoundError, InvalidNameError, UsageError, nearest
from trialstore.model.identity import escape
from trialstore.store import Store
from trialstore.store import open as open_store

__all__ = ["TrialStoreBucket"]


class TrialStoreBucket(PathBucket):
    """A bucket of AMLTK whose objects a store keeps, as artifacts of an experiment.

    Give it to an optimiser (``bucket=``), to `Trial.create`, or to `Node.optimize` (``working_dir=``): `Trial.store`,
    `Trial.retrieve`, `sub`, ``/``, `find`, `fetch`, `sizes` and the rest work as on a `PathBucket`, in any process that
    the bucket or the trial is sent to. An object is durable when the call that stores it returns, is seen whole or not
    at all, and is checked when it is loaded. Once a trial's report is written (`TrialStorePlugin`, `save_report`), what
    was stored in its bucket are artifacts of the trial, in SQL and for `trialstore.Trial.retrieve`.

    Give each trial a bucket of its own, ``bucket / trial.name``, as AMLTK's optimisers do: what two trials store
    under one name in one bucket is one object.

    Args:
        store: A store, or where one is.
        experiment: Name of the experiment, of which the newest version is taken; `of` takes the experiment itself.
        metrics: What the experiment's trials report. With them the experiment is created where there is none.
        loaders: Loaders of your own, which go before all others; they read and write local files.
        pickle: Whether ``.pkl``, ``.pickle`` and ``.pdpickle`` may be stored and loaded. Loading them runs whatever
            code is in them, so say so only when you trust all who write to the store.
        path: What `path` is: a folder for what writes beside the bucket, such as SMAC's own files, which the store
            does not keep. By default one among this user's temporary files. It is not made before somebody uses it.
        clean: Whether to delete all objects first.
        exists_ok: Whether there may be objects.

    Raises:
        ExperimentNotFoundError: there is no such experiment, and no metrics are given.
        UsageError: the experiment has other metrics.
        FileExistsError: there are objects and `exists_ok` is False.

    Example:
        >>> from amltk import Metric, Trial
        >>> from trialstore.integrations.amltk import TrialStoreBucket, save_report
        >>> loss = Metric("loss")
        >>> bucket = TrialStoreBucket("memory://doctest/amltk", "tune", metrics=loss)
        >>> trial = Trial.create(name="first", config={"x": 1.5}, metrics=[loss], bucket=bucket / "first")
        >>> trial.store({"config.json": trial.config})
        >>> trial.retrieve("config.json")
        {'x': 1.5}
        >>> number = save_report(trial.success(loss=0.5), bucket.experiment)
        >>> bucket.experiment.trial(number).retrieve("config.json")
        {'x': 1.5}

    Source: AMLTK, `amltk.store.PathBucket`.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | Blobs,
        experiment: str,
        *,
        metrics: Metric[Any] | Iterable[Metric[Any]] | None = None,
        loaders: Sequence[type[PathLoader[Any]]] | None = None,
        pickle: bool = False,
        path: str | os.PathLike[str] | None = None,
        clean: bool = False,
        exists_ok: bool = True,
    ) -> None:
        chosen = _experiment(store if isinstance(store, Store) else open_store(store), experiment, metrics)
        root = _scratch(chosen) if path is None else Path(path)
        self._set(Objects(chosen), Formats(loaders or (), pickle), root, "", NO_TRIAL, "")
        if clean:
            self.rmdir()
        if not exists_ok and self._artifacts():
            raise FileExistsError(f"there are objects in {self}")

    @classmethod
    def of(cls, experiment: Experiment, *, pickle: bool = False) -> Self:
        """The bucket at the top of an experiment that is open already."""
        bucket = cls.__new__(cls)
        bucket._set(Objects(experiment), Formats((), pickle), _scratch(experiment), "", NO_TRIAL, "")
        return bucket

    def _set(self, objects: Objects, formats: Formats, root: Path, folder: str, trial: int, home: str) -> None:
        self._objects = objects
        self._formats = formats
        self._root = root
        self._folder = folder
        self._trial = trial
        self._home = home
        self._create = False
        self.path = root / folder if folder else root
        self.loaders = tuple(chain(formats.loaders, DEFAULT_LOADERS))

    @property
    def experiment(self) -> Experiment:
        """The experiment whose artifacts the objects are."""
        return self._objects.experiment

    @property
    def trial(self) -> int | None:
        """Number of the trial whose artifacts the objects are, None before its report is written."""
        return None if self._trial == NO_TRIAL else self._trial

    @property
    def name(self) -> str:
        """Where it is among the experiment's buckets, such as ``trial-0``; empty for the one at the top."""
        return self._folder.rstrip("/")

    @property
    def folder(self) -> str:
        """`name` with a ``/`` behind it where it is not empty."""
        return self._folder

    @property
    def _blobs(self) -> Blobs:
        return self.experiment._ledger.blobs

    def __repr__(self) -> str:
        of = "" if self.trial is None else f", trial {self.trial}"
        return f"TrialStoreBucket({self._blobs.url!r}, {self.experiment.name!r}, {self.name!r}{of})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TrialStoreBucket):
            return NotImplemented
        return (self.experiment, self._folder) == (other.experiment, other._folder)

    def __hash__(self) -> int:
        return hash((self.experiment, self._folder))

    def __reduce__(self) -> tuple[object, ...]:
        state = (self._objects, self._formats, self._root, self._folder, self._trial, self._home)
        return _reopen, (type(self), state)

    def __copy__(self) -> Self:
        return self._with(self._folder, self._trial, self._home)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._with(self._folder, self._trial, self._home)

    def _with(self, folder: str, trial: int, home: str) -> Self:
        again = type(self).__new__(type(self))
        again._set(self._objects, self._formats, self._root, folder, trial, home)
        return again

    def recorded(self, number: int) -> Self:
        """This bucket as that of a trial whose report is written: what is stored in it is the trial's at once."""
        return self._with(self._folder, number, self._folder)

    # Buckets in it

    def sub(self, key: str, *, create: bool | None = None) -> Self:
        """The bucket of this name in this one. There is nothing to create, so `create` changes nothing."""
        return self._with(f"{self._key(key)}/", self._trial, self._home)

    def add_loader(self, loader: type[PathLoader[Any]]) -> None:
        """Have a loader of yours go before all others, in this bucket and in those made of it from now on."""
        self._formats = Formats((loader, *self._formats.loaders), self._formats.pickle)
        self.loaders = (loader, *self.loaders)

    # Objects

    def __getitem__(self, key: str) -> StoreDrop:
        self._key(key)
        return StoreDrop(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.store({key: value})

    def __delitem__(self, key: str) -> None:
        self._remove(key)

    def store(self, other: Mapping[str, Any]) -> None:
        """Store objects by name, in the place of those that there may be; durable when it returns, in one commit.

        Raises:
            UsageError: an object cannot be stored under its name. Those before it are stored.
        """
        attempt = 0 if self.trial is None else self.experiment.trial(self._trial).attempt
        values = ((self._key(key)[len(self._home) :], self.path / key, value) for key, value in other.items())
        self._objects.put(self._trial, attempt, values, self._formats)

    def update(self, items: Mapping[str, Any]) -> None:
        """The same as `store`."""
        self.store(items)

    def remove(self, keys: Iterable[str]) -> dict[str, bool]:
        """Delete objects by name; True for each, also when there was none."""
        if isinstance(keys, str):
            raise UsageError("keys must be several names", hint=f"write [{keys!r}]", keys=keys)
        return {key: self[key].remove() for key in keys}

    def rmdir(self) -> None:
        """Delete all objects of this bucket and of the buckets in it, also those of recorded trials."""
        self._objects.remove(list(self._artifacts().values()))

    def clear(self) -> None:
        """The same as `rmdir`."""
        self.rmdir()

    def sizes(self) -> dict[str, int]:
        """Bytes of each object by name; buckets in this one are left out."""
        return {name: found.size_bytes for name, found in self._artifacts().items() if "/" not in name}

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        if self._own(key) is not None:
            return True
        return any(name == key or name.startswith(f"{key}/") for name in self._artifacts())

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.partition("/")[0] for name in self._artifacts()))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _artifacts(self) -> dict[str, Artifact]:
        """All objects in it and in buckets in it, by name."""
        found: dict[str, Artifact] = {}
        if self.trial is not None:
            found |= {f"{self._home}{name}": artifact for name, artifact in self._objects.of_trial(self._trial).items()}
            # what a process could not hand over, since it was killed, is still there
            waiting = self._objects.of_trial(NO_TRIAL).items()
            found = {**{name: artifact for name, artifact in waiting if name.startswith(self._home)}, **found}
        else:
            found |= self._objects.of_homes(self._folder)
            found |= self._objects.of_trial(NO_TRIAL)
        return {name[len(self._folder) :]: found[name] for name in sorted(found) if name.startswith(self._folder)}

    def _own(self, key: str) -> Artifact | None:
        """The object of this name where most are: the trial's, or of none."""
        name = self._key(key)[len(self._home) :]
        return self._objects.of_trial(self._trial).get(name)

    def _found(self, key: str) -> Artifact:
        found = self._own(key) or self._artifacts().get(key)
        if found is None:
            self._missing(key)
        return found

    def _load(self, key: str) -> Any:
        return self._formats.load(self._blobs, self._found(key), self.path / key)

    def _remove(self, key: str) -> None:
        self._key(key)
        found = self._artifacts().items()
        self._objects.remove([artifact for name, artifact in found if name == key or name.startswith(f"{key}/")])

    def _remove_path(self, path: Path) -> bool:
        return self[path.relative_to(self.path).as_posix()].remove()

    def _exists_path(self, path: Path) -> bool:
        return path.relative_to(self.path).as_posix() in self

    def _key(self, key: str) -> str:
        if not isinstance(key, str) or PurePosixPath(key).as_posix() != key or key in (".", "") or key.startswith("/"):
            raise InvalidNameError("the name of an object must be a relative path", hint="such as model.npy", name=key)
        if ".." in PurePosixPath(key).parts:
            raise InvalidNameError("the name of an object must not lead out of its bucket", name=key)
        return self._folder + key

    def _missing(self, key: str) -> NoReturn:
        near = nearest(key, self._artifacts())
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "its names are list(bucket)"
        raise ObjectNotFoundError("bucket has no such object", hint=hint, name=key, bucket=self.name)


def _reopen(kind: type[TrialStoreBucket], state: tuple[Any, ...]) -> TrialStoreBucket:
    bucket = kind.__new__(kind)
    bucket._set(*state)
    return bucket


def _experiment(store: Store, name: str, metrics: Metric[Any] | Iterable[Metric[Any]] | None) -> Experiment:
    wanted = None if metrics is None else store_metrics(metrics)
    try:
        experiment = store.experiment(name)
    except ExperimentNotFoundError as error:
        if wanted is None:
            raise ExperimentNotFoundError(
                error.message, hint="give metrics=, and it is created", **error.facts
            ) from None
        experiment = store.create_experiment(name, metrics=wanted, exist_ok=True)
    if wanted is not None and experiment.declared_metrics != wanted:
        raise UsageError(
            "experiment has other metrics",
            hint="take another name for the experiment",
            experiment=name,
            metrics=[str(metric) for metric in wanted],
            declared=[str(metric) for metric in experiment.declared_metrics],
        )
    return experiment


def _scratch(experiment: Experiment) -> Path:
    ledger = experiment._ledger
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"trialstore-amltk-{user}" / ledger.session.store / escape(ledger.key)
