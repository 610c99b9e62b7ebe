"""One thread runs at a time, and a seed decides which: virtual time, tasks, and the locks they wait on.

A task is a thread that holds the baton. It gives it away where real programs wait: at a call to storage, a sleep, a
taken lock. Between two such points nothing else moves, so a seed fixes the whole history.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """The process died here. No code of the project may catch it and go on."""


class Process:
    """A simulated process: its clocks, its chance, and whether it is alive.

    Attributes:
        skew_s: How far its wall clock is ahead of the storage's.
        suspended_until: It does not run before this virtual time.
        stood_still: Whether it was ever suspended.
        ended_at: When it ended or died.
        slept_s: Seconds that its monotonic clock did not count: the whole machine was suspended.
    """

    def __init__(self, name: str, chance: random.Random, skew_s: float) -> None:
        self.name = name
        self.chance = chance
        self.skew_s = skew_s
        self.started = chance.uniform(0, 1e6)
        self.suspended_until = 0.0
        self.slept_s = 0.0
        self.stood_still = False
        self.ended_at: float | None = None
        self.dead = False
        self.tasks: list[Task] = []


class Task:
    """A thread of a simulated process."""

    def __init__(self, process: Process, body: Callable[[], None]) -> None:
        self.process = process
        self.body = body
        self.baton = threading.Lock()
        self.baton.acquire()
        self.turn = 0
        self.done = False
        self.joiners: list[Task] = []


class StuckError(Exception):
    """The simulation cannot go on: a deadlock, or work without end."""


class Scheduler:
    """Virtual time, and the events in it.

    Args:
        seed: Decides everything.
        most_events: After so many the history counts as endless.
    """

    def __init__(self, seed: int, most_events: int = 400_000) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.current: Task | None = None
        self.failure: BaseException | None = None
        self._events: list[tuple[float, int, Callable[[], Task | None]]] = []
        self._count = 0
        self._left = most_events
        self._tasks: list[Task] = []
        self._over = threading.Event()

    # Time

    def at(self, time: float, act: Callable[[], Any]) -> None:
        """Let something happen at a time, whoever is alive then."""
        self._push(time, lambda: (act(), None)[1])

    def _push(self, time: float, act: Callable[[], Task | None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, act))

    def sleep(self, seconds: float) -> None:
        """Let the running task wait."""
        task = self._running()
        task.turn += 1
        self._wake(task, self.now + seconds, task.turn)
        self._give_up_baton(task)

    def block(self, seconds: float | None = None) -> None:
        """Let the running task wait until `unblock`, at most so long."""
        task = self._running()
        task.turn += 1
        if seconds is not None:
            self._wake(task, self.now + seconds, task.turn)
        self._give_up_baton(task)

    def unblock(self, task: Task) -> None:
        """Let a task go on that waits; it goes on once, however often it is told to."""
        self._wake(task, self.now, task.turn)

    def _wake(self, task: Task, time: float, turn: int) -> None:
        def go_on() -> Task | None:
            if task.done or task.turn != turn:
                return None
            if not task.process.dead and task.process.suspended_until > self.now:
                self._wake(task, task.process.suspended_until, turn)
                return None
            task.turn += 1
            return task

        self._push(time, go_on)

    def _running(self) -> Task:
        task = self.current
        assert task is not None, "outside the simulation"
        if task.process.dead:
            raise Killed
        return task

    # Tasks

    def spawn(self, process: Process, body: Callable[[], None], after: float = 0.0) -> Task:
        """Start a thread of a process."""
        task = Task(process, body)
        process.tasks.append(task)
        self._tasks.append(task)
        threading.Thread(target=self._live, args=(task,), daemon=True).start()
        self._wake(task, self.now + after, task.turn)
        return task

    def _live(self, task: Task) -> None:
        task.baton.acquire()
        try:
            if not task.process.dead:
                task.body()
        except Killed:
            pass
        except BaseException as error:  # whatever a program did not expect is a finding
            self.failure = self.failure or error
        task.done = True
        for joiner in task.joiners:
            self.unblock(joiner)
        self._pass_baton()

    def kill(self, process: Process) -> None:
        """End a process where it stands. What it had sent arrives all the same."""
        process.dead = True
        process.ended_at = self.now
        for task in process.tasks:
            self.unblock(task)

    def suspend(self, process: Process, seconds: float, machine: bool) -> None:
        """Let a process stand still; its monotonic clock too, when it is the machine that does."""
        process.stood_still = True
        process.suspended_until = max(process.suspended_until, self.now + seconds)
        if machine:
            process.slept_s += seconds

    # The baton

    def run(self) -> None:
        """Let everything happen; returns when all tasks are done.

        Raises:
            StuckError: a deadlock, or no end in sight.
            BaseException: what a task raised.
        """
        self._over.clear()
        self._pass_baton()
        self._over.wait()
        self.current = None
        if self.failure is not None:
            raise self.failure
        waiting = [task.process.name for task in self._tasks if not task.done]
        if waiting:
            raise StuckError(f"deadlock: tasks of {waiting} wait for ever")

    def _next(self) -> Task | None:
        if self.failure is not None:
            for task in self._tasks:
                if not task.done and not task.process.dead:
                    self.kill(task.process)
        while self._events:
            self._left -= 1
            if self._left == 0:
                self.failure = self.failure or StuckError("no end in sight: too many events")
                return self._next()
            time, _, act = heapq.heappop(self._events)
            self.now = max(self.now, time)
            try:
                task = act()
            except Exception as error:
                self.failure = self.failure or error
                return self._next()
            if task is not None:
                return task
        return None

    def _pass_baton(self) -> None:
        task = self._next()
        self.current = task
        if task is None:
            self._over.set()
        else:
            task.baton.release()

    def _give_up_baton(self, task: Task) -> None:
        following = self._next()
        if following is not task:
            self.current = following
            if following is None:
                self._over.set()
            else:
                following.baton.release()
            task.baton.acquire()
        if task.process.dead:
            raise Killed


class Lock:
    """A lock among tasks; its holder may take it again when `again`."""

    def __init__(self, scheduler: Scheduler, again: bool) -> None:
        self._scheduler = scheduler
        self._again = again
        self._holder: Task | None = None
        self._depth = 0
        self._waiting: list[Task] = []

    def acquire(self) -> bool:
        task = self._scheduler.current
        assert task is not None
        while self._holder is not None and not (self._again and self._holder is task):
            self._waiting.append(task)
            self._scheduler.block()
        self._holder = task
        self._depth += 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._holder = None
            if self._waiting:
                self._scheduler.unblock(self._waiting.pop(0))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Event:
    """A flag that tasks wait for."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False
        self._waiting: list[Task] = []

    def set(self) -> None:
        self._set = True
        for task in self._waiting:
            self._scheduler.unblock(task)
        self._waiting.clear()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            task = self._scheduler.current
            assert task is not None
            self._waiting.append(task)
            self._scheduler.block(timeout)
            if task in self._waiting:
                self._waiting.remove(task)
        return self._set


class Thread:
    """A thread that the code under test starts, as a task of the same process."""

    def __init__(self, scheduler: Scheduler, target: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._target = target
        self._task: Task | None = None

    def start(self) -> None:
        assert self._scheduler.current is not None
        self._task = self._scheduler.spawn(self._scheduler.current.process, self._target)

    def join(self, timeout: float | None = None) -> None:
        task = self._task
        if task is not None and not task.done:
            waiting = self._scheduler.current
            assert waiting is not None
            task.joiners.append(waiting)
            self._scheduler.block(timeout)
            if waiting in task.joiners:  # it waited long enough, and must not be woken for this any more
                task.joiners.remove(waiting)


class Pool:
    """What a thread pool does, with a task for each piece of work."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def submit(self, work: Callable[..., Any], *args: Any) -> Future:
        future = Future(self._scheduler, work, args)
        future.start()
        return future

    def shutdown(self, wait: bool = True) -> None:
        pass


class Future(Thread):
    """The result of a piece of work."""

    def __init__(self, scheduler: Scheduler, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__(scheduler, self._do)
        self._work, self._args = work, args
        self._result: Any = None
        self._error: Exception | None = None

    def _do(self) -> None:
        try:
            self._result = self._work(*self._args)
        except Exception as error:
            self._error = error

    def exception(self) -> Exception | None:
        self.join()
        return self._error

    def result(self) -> Any:
        if (error := self.exception()) is not None:
            raise error
        return self._result
