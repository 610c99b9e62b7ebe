"""A pool of worker processes, each of which can be ended alone."""

from __future__ import annotations

import os
import pickle
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from trialstore.model.errors import UsageError
from trialstore.runner.child import BEGUN, READY, serve

__all__ = ["LIMIT", "ProcessPool", "WorkerDiedError"]

LIMIT = "time limit"
"""Why a call is stopped that ran for too long."""

_START_S = 120.0


class WorkerDiedError(BrokenExecutor):
    """The process of a call ended before the call did. Other calls of the pool are not touched.

    Attributes:
        exit_code: Of the process; negative for the signal that ended it.
        reason: Why the pool ended it, None when it did not.
    """

    def __init__(self, exit_code: int | None, reason: str | None) -> None:
        super().__init__(f"worker process died, exit code {exit_code}" + (f": {reason}" if reason else ""))
        self.exit_code = exit_code
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.exit_code, self.reason)


class ProcessPool(Executor):
    """An executor of worker processes that are started fresh (spawn), kept, and replaced when they end.

    Guarantees: a call whose process dies fails with `WorkerDiedError`, and no other call does. A call that is stopped,
    or runs over its limit, is asked first: what it does in `trialstore.runner.stopping.stoppable` gets `Stopped` raised
    in it. When it has not ended after the grace, its process is killed. In either case the process has ended when the
    call's future is done.

    Args:
        workers: Processes; by default as many as this process may use cores. They are started when first needed.
        grace_s: How long a stopped call may take to end by itself.
    """

    def __init__(self, workers: int | None = None, *, grace_s: float = 5.0) -> None:
        count = _cores() if workers is None else workers
        if count < 1:
            raise UsageError("a pool needs at least one worker", workers=workers)
        if not grace_s >= 0:
            raise UsageError("the grace must be 0 or more", grace_s=grace_s)
        self.workers = count
        self._grace_s = grace_s
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._keepers: list[_Keeper] = []
        self._closed = False
        self._open = 0
        # Before the interpreter joins its child processes, which wait for calls.
        self._finalizer = weakref.finalize(self, _end_all, self._calls, self._keepers)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in a worker process."""
        if kwargs:
            return self._submit(None, _with_keywords, (fn, args, kwargs))
        return self._submit(None, fn, args)

    def submit_within(self, limit_s: float | None, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """As `submit`; what the call does in `stoppable` may take `limit_s` seconds, and all of it two minutes more."""
        return self._submit(limit_s, fn, args)

    def _submit(self, limit_s: float | None, fn: Callable[..., Any], args: tuple[Any, ...]) -> Future[Any]:
        call = _Call(pickle.dumps((fn, args)), limit_s)
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._open += 1
            self._calls.put(call)
            if len(self._keepers) < min(self.workers, self._open):
                self._keepers.append(_Keeper(self._calls, self._grace_s))
        call.future.add_done_callback(self._count_down)
        return call.future

    def _count_down(self, future: Future[Any]) -> None:
        with self._lock:
            self._open -= 1

    def stop(self, future: Future[Any], reason: str) -> bool:
        """Have a call end: it never begins, or is asked, and killed after the grace; False when it has ended.

        Returns at once; the future is done when the call's process has ended.
        """
        if future.cancel():
            return True
        with self._lock:
            keepers = list(self._keepers)
        return any(keeper.stop(future, reason) for keeper in keepers)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the processes when those there are have ended."""
        with self._lock:
            self._closed = True
            keepers = list(self._keepers)
        while cancel_futures:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                break
            if call is not None:
                call.future.cancel()
        self._finalizer.detach()
        for _ in keepers:
            self._calls.put(None)
        if wait:
            for keeper in keepers:
                keeper.thread.join()


class _Call:
    def __init__(self, request: bytes, limit_s: float | None) -> None:
        self.request = request
        self.limit_s = limit_s
        self.future: Future[Any] = Future()


class _Keeper:
    """A thread with a worker process of its own, which it starts, hands calls to, stops and replaces."""

    def __init__(self, calls: queue.SimpleQueue[_Call | None], grace_s: float) -> None:
        self._calls = calls
        self._grace_s = grace_s
        self._process: Any = None
        self._connection: Connection | None = None
        self._reasons: Connection | None = None
        self._lock = threading.Lock()
        self._call: _Call | None = None
        self._why: str | None = None
        self._bell, self._rope = get_context("spawn").Pipe(duplex=False)
        self.thread = threading.Thread(target=self._run, name="trialstore-worker", daemon=True)
        self.thread.start()

    def stop(self, future: Future[Any], reason: str) -> bool:
        """Ask for an end of the call, when it is this one's."""
        with self._lock:
            if self._call is None or self._call.future is not future:
                return False
            if self._why is None:
                self._why = reason
                self._rope.send_bytes(b"!")
            return True

    def _run(self) -> None:
        try:
            while True:
                call = self._calls.get()
                if call is None:
                    return
                if call.future.set_running_or_notify_cancel():
                    self._handle(call)
        finally:
            self._end()
            self._bell.close()
            self._rope.close()

    def _handle(self, call: _Call) -> None:
        with self._lock:
            self._call, self._why = call, None
        try:
            result = self._play(call)
        except BaseException as error:
            self._leave()
            call.future.set_exception(error)
        else:
            self._leave()
            call.future.set_result(result)

    def _leave(self) -> None:
        with self._lock:
            self._call = None
            stopped = self._why is not None
        if stopped:
            self._end()  # a function that was stopped may have left anything behind
        while self._bell.poll():
            self._bell.recv_bytes()

    def _play(self, call: _Call) -> Any:
        if self._process is None:
            self._start()
        assert self._connection is not None
        assert self._reasons is not None
        try:
            self._connection.send_bytes(call.request)
            limit = None if call.limit_s is None else time.monotonic() + call.limit_s + _START_S
            asked = False
            while True:
                left = None if limit is None else max(0.0, limit - time.monotonic())
                ready = wait([self._connection, self._bell], timeout=left)
                if self._connection in ready:
                    answer = self._connection.recv_bytes()
                    if answer == BEGUN:
                        if call.limit_s is not None and not asked:
                            limit = time.monotonic() + call.limit_s
                        continue
                    good, value = pickle.loads(answer)
                    if good:
                        return value
                    raise value
                if asked and not ready:
                    self._process.kill()
                    limit = None
                elif not asked:
                    with self._lock:
                        self._why = reason = self._why or LIMIT
                    if ready:
                        self._bell.recv_bytes()
                    asked, limit = True, time.monotonic() + self._grace_s
                    self._reasons.send_bytes(reason.encode())
                    self._process.terminate()
        except (EOFError, ConnectionError):
            self._process.join()
            exit_code = self._process.exitcode
            self._end()
            raise WorkerDiedError(exit_code, self._why) from None

    def _start(self) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        asked, self._reasons = context.Pipe(duplex=False)
        self._process = context.Process(target=serve, args=(theirs, asked), name="trialstore-worker")
        try:
            self._process.start()
            theirs.close()
            asked.close()
            if wait([self._connection], timeout=_START_S) and self._connection.recv_bytes() == READY:
                return
        except (EOFError, ConnectionError):
            self._process.join()
        except BaseException as error:
            for end in (theirs, asked, self._connection, self._reasons):
                end.close()
            self._process = self._connection = self._reasons = None
            if isinstance(error, AssertionError):
                raise UsageError(
                    "this process may not start worker processes: it is a daemon",
                    hint="run without a time limit here; or, with Dask, set distributed.worker.daemon to False",
                ) from error
            raise
        exit_code = self._process.exitcode
        self._end()
        raise UsageError(
            "a worker process did not start",
            hint='guard what a script does with `if __name__ == "__main__":`, since its workers import it',
            exit_code=exit_code,
        )

    def _end(self) -> None:
        if self._process is None:
            return
        assert self._connection is not None
        assert self._reasons is not None
        try:
            self._connection.send_bytes(b"")  # it leaves in order, and closes its session
        except OSError:
            pass
        self._connection.close()
        self._reasons.close()
        self._process.join(timeout=self._grace_s + 1)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self._process.close()
        self._process = self._connection = self._reasons = None


def _with_keywords(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return fn(*args, **kwargs)


def _end_all(calls: queue.SimpleQueue[_Call | None], keepers: list[_Keeper]) -> None:
    """End the processes of a pool that nobody shut down."""
    for _ in keepers:
        calls.put(None)
    for keeper in keepers:
        keeper.thread.join(timeout=keeper._grace_s + 2)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
