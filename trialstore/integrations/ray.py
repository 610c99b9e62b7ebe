"""Ray as a `concurrent.futures.Executor`, which it does not bring itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from trialstore.model.errors import MissingExtraError

__all__ = ["RayExecutor"]


class RayExecutor(Executor):
    """Calls that a Ray cluster makes: ``experiment.run(function, executor=RayExecutor(num_cpus=2), workers=16)``.

    A call is made once: Ray does not repeat one whose worker died, since a trial that is tried again is a new trial.

    Args:
        options: Of each call, for Ray: ``num_cpus``, ``num_gpus``, ``resources``, ``runtime_env`` and so on.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, **options: Any) -> None:
        try:
            import ray
        except ImportError:
            raise MissingExtraError("running on Ray needs Ray", hint='pip install "trialstore[ray]"') from None
        if not ray.is_initialized():
            ray.init()
        self._ray = ray
        self._call = ray.remote(_call).options(**{"max_retries": 0, **options})
        self._open: set[Future[Any]] = set()
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have the cluster call a function."""
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        reference = self._call.remote(fn, args, kwargs)
        future: Future[Any] = reference.future()
        self._open.add(future)

        def end(done: Future[Any]) -> None:
            self._open.discard(done)
            if done.cancelled():
                self._ray.cancel(reference, force=True)

        future.add_done_callback(end)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. The cluster stays: it is not this executor's."""
        self._closed = True
        for future in list(self._open):
            if cancel_futures:
                future.cancel()
            elif wait:
                future.exception()


def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return fn(*args, **kwargs)
