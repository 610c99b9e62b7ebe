"""One process's connection to a bucket: every request goes through `call`, every error comes out as ours."""

from __future__ import annotations

import os
import random
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import fsspec

from trialstore.blobs.faults import Fault, chain_of, classify, reason
from trialstore.blobs.retry import Retry
from trialstore.blobs.secrets import Secrets
from trialstore.model.errors import (
    AccessDeniedError,
    MissingExtraError,
    OutcomeUnknownError,
    StorageFullError,
    StoreNotFoundError,
    StoreUnavailableError,
    TrialStoreError,
    UsageError,
)

__all__ = ["Connection", "Failed"]

_T = TypeVar("_T")
_R = TypeVar("_R")

_WIDTH = 16
_EXTRAS = {"s3": "s3", "gs": "gcs", "az": "azure"}


class Failed(Exception):  # noqa: N818 - it never leaves this package
    """A request that was refused for good, for the caller to read: `fault` says why."""

    def __init__(self, fault: Fault, *, was_lost: bool) -> None:
        super().__init__(fault.name)
        self.fault = fault
        self.was_lost = was_lost


class Connection:
    """Filesystem instances of this process, and the threads that use them side by side.

    Nothing is shared with another user of fsspec, or across a fork: an instance is made when first used, and
    made anew in a forked child.

    Args:
        scheme: ``s3``, ``gs`` or ``az``.
        url: The root, for errors.
        options: Arguments of the fsspec filesystem.
        retry: How often requests are sent again. The client's own repetitions are turned off where they can be
            (S3), so that a lost answer is seen as one; aiohttp still sends once more, unseen, when a connection
            ends without an answer, so a conflict can be with oneself even at the first attempt.

    Raises:
        MissingExtraError: the package that serves the scheme is not installed.
    """

    def __init__(self, scheme: str, url: str, options: Mapping[str, Any], retry: Retry) -> None:
        self._scheme = scheme
        self._url = url
        self._options = dict(options)
        self._secrets = Secrets(options)
        self._retry = retry
        self._chance = random.Random()
        self._mine: tuple[int, Any, ThreadPoolExecutor] | None = None
        self._engines: tuple[int, Any] | None = None
        _connections.add(self)
        try:
            self.kind = fsspec.get_filesystem_class(scheme)
        except ImportError as error:
            extra = _EXTRAS[scheme]
            raise MissingExtraError(
                f"{scheme}:// needs a package that is not installed",
                hint=f'pip install "trialstore[{extra}]"',
                url=url,
                reason=str(error),
            ) from None

    def leave_to_parent(self) -> tuple[object, ...]:
        """Forget, in a forked child, what the parent still uses; returns it."""
        inherited = (self._mine, self._engines)
        self._mine = self._engines = None
        return inherited

    def engine_filesystem(self) -> Any:
        """An instance for engines that read: it caches listings and contents, so only for blobs that never change."""
        if self._engines is None or self._engines[0] != os.getpid():
            self._engines = (os.getpid(), self._make(use_listings_cache=True))
        return self._engines[1]

    def call(self, doing: str, request: Callable[[Any], _T], *, writes: bool = False, **facts: object) -> _T:
        """What `request` returns when it is given the filesystem; it may be sent several times.

        Args:
            doing: What is done, for errors, as in ``"read a blob"``.
            request: Sends one request.
            writes: Whether an answer that never came leaves open what is true.
            facts: What is involved, for errors.

        Raises:
            Failed: the request was answered: the blob is missing, taken or too short.
            TrialStoreError: anything else, as `Blobs` says.
        """
        pauses = self._retry.pauses(self._chance)
        was_lost = False
        while True:
            try:
                return request(self._filesystem())
            except TrialStoreError:
                raise
            except Exception as error:
                fault = classify(error)
                was_lost |= fault is Fault.LOST
                if fault in (Fault.MISSING, Fault.TAKEN, Fault.BEYOND):
                    raise Failed(fault, was_lost=was_lost) from self._tellable(error)
                pause = next(pauses, None) if fault in (Fault.BUSY, Fault.LOST) else None
                if pause is None:
                    told = self._error(fault, error, doing, unknown=writes and was_lost, facts=facts)
                    raise told from self._tellable(error)
            time.sleep(pause)

    def side_by_side(self, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """The results of `function` for each item, in order, several at a time."""
        self._filesystem()
        assert self._mine is not None
        return list(self._mine[2].map(function, items))

    def no_bucket(self) -> StoreNotFoundError:
        """The error for a bucket that is not there."""
        return StoreNotFoundError(
            "there is no such bucket, or this user may not see it",
            hint="create the bucket first, with the provider's own tool; check its name, region and endpoint",
            url=self._url,
        )

    def _filesystem(self) -> Any:
        if self._mine is None or self._mine[0] != os.getpid():
            threads = ThreadPoolExecutor(_WIDTH, thread_name_prefix="trialstore-blobs")
            self._mine = (os.getpid(), self._make(use_listings_cache=False), threads)
        return self._mine[1]

    def _make(self, *, use_listings_cache: bool) -> Any:
        options = {**self._options, "use_listings_cache": use_listings_cache, "skip_instance_cache": True}
        if self._scheme == "s3":
            once = {"retries": {"total_max_attempts": 1, "mode": "standard"}}
            options["config_kwargs"] = {**once, **self._options.get("config_kwargs", {})}
        try:
            filesystem = self.kind(**options)
        except Exception as error:
            fault = classify(error)
            told = self._error(fault, error, "connect to the bucket", unknown=False, facts={})
            raise told from self._tellable(error)
        if self._scheme == "s3":
            filesystem.retries = 1
        return filesystem

    def _tellable(self, error: Exception) -> Exception | None:
        """The error of the client, None when it, or what caused it, would tell a credential."""
        return None if self._secrets.are_in(chain_of(error)) else error

    def _error(
        self, fault: Fault, error: Exception, doing: str, *, unknown: bool, facts: dict[str, object]
    ) -> TrialStoreError:
        facts = {**facts, "url": self._url, "reason": self._secrets.hide(reason(error))}
        if unknown:
            return OutcomeUnknownError(
                f"no answer when asked to {doing}: it may have happened",
                hint="read the blob back before trying again",
                **facts,
            )
        if fault is Fault.NO_BUCKET:
            return self.no_bucket()
        if fault is Fault.DENIED:
            return AccessDeniedError(
                f"not allowed to {doing}", hint="check the credentials and the policy of the bucket", **facts
            )
        if fault is Fault.FULL:
            return StorageFullError(f"no space left to {doing}", hint="free space or raise the quota", **facts)
        if fault is Fault.MISUSED:
            return UsageError(
                f"the address or the storage options do not fit, to {doing}",
                hint="check url, region and endpoint, and the arguments of the fsspec filesystem",
                **facts,
            )
        return StoreUnavailableError(f"failed to {doing}", hint="check the endpoint, then try again", **facts)


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[object] = []
"""A client that is collected in a child closes its sockets in the event queue of the system, which the child shares
with its parent: the parent would wait for an answer for ever. So what a child inherits is kept and never touched."""


def _keep_inherited() -> None:
    _inherited.extend([connection.leave_to_parent() for connection in _connections])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_inherited)
