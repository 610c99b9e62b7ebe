"""Optuna's own programs, as they were released, on stores: `optuna` and `optuna-dashboard`.

They make their storages themselves, from an address, and know no classes but Optuna's own; so the functions in which
they do it are wrapped here, in this process alone. All else of them runs as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from trialstore.integrations.optuna.artifacts import TrialStoreArtifactStore
from trialstore.integrations.optuna.storage import TrialStoreStorage
from trialstore.model.errors import MissingExtraError, TrialStoreError, UsageError

__all__ = ["is_store", "main"]

PROGRAMS = ("optuna", "optuna-dashboard")

_SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "abfss", "file", "memory")

_USAGE = """usage: python -m trialstore.integrations.optuna {optuna,optuna-dashboard} ...

Runs Optuna's command line or its dashboard, with every option of theirs. Where they take the URL of a storage, a folder
or an address such as s3://bucket/results is a store."""


def is_store(address: str) -> bool:
    """Whether an address means a store: that of a bucket, or a path at which no file is.

    Example:
        >>> [is_store(address) for address in ("s3://bucket/results", "sqlite:///study.db")]
        [True, False]
    """
    scheme, separator, _ = address.partition("://")
    return scheme.lower() in _SCHEMES if separator else not os.path.isfile(address)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the programs; returns the status to exit with.

    Args:
        arguments: The program's name and what it takes; those of this process by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in PROGRAMS:
        asked = given[:1] in (["-h"], ["--help"])
        print(_USAGE, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    before, sys.argv = sys.argv, given
    try:
        return _optuna() if given[0] == "optuna" else _dashboard()
    except TrialStoreError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, UsageError) else 1
    finally:
        sys.argv = before


def _optuna() -> int:
    cli = import_module("optuna.cli")

    def opened(url: str | None, storage_class: str | None, otherwise: Callable[..., Any]) -> Any:
        given = url if url is not None else os.environ.get("OPTUNA_STORAGE")
        if given is None or storage_class or not is_store(given):
            return otherwise(url, storage_class)
        return TrialStoreStorage(given)

    with _Replaced(cli, "_get_storage", opened):
        return cli.main() or 0


def _dashboard() -> int:
    try:
        cli = import_module("optuna_dashboard._cli")
    except ModuleNotFoundError as error:
        raise MissingExtraError("the dashboard is not installed", hint="pip install optuna-dashboard") from error
    stores: list[TrialStoreStorage] = []

    def opened(storage: Any, storage_class: str | None = None, *, otherwise: Callable[..., Any]) -> Any:
        if not isinstance(storage, str) or storage_class or not is_store(storage):
            return otherwise(storage, storage_class)
        stores.append(TrialStoreStorage(storage))
        return stores[-1]

    def artifacts(config: Any, otherwise: Callable[..., Any]) -> Any:
        chosen = otherwise(config)
        return TrialStoreArtifactStore(stores[-1]) if chosen is None and stores else chosen

    with _Replaced(cli, "get_storage", opened), _Replaced(cli, "create_artifact_store_from_config", artifacts):
        cli.main()
    return 0


class _Replaced:
    """A function of a module, replaced by one that is given it as `otherwise`, inside of a block."""

    def __init__(self, module: Any, name: str, function: Callable[..., Any]) -> None:
        self._module, self._name = module, name
        self._before = getattr(module, name)
        self._function = function

    def __enter__(self) -> None:
        def replaced(*arguments: Any, **named: Any) -> Any:
            return self._function(*arguments, **named, otherwise=self._before)

        setattr(self._module, self._name, replaced)

    def __exit__(self, *_: object) -> None:
        setattr(self._module, self._name, self._before)
