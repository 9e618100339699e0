"""Long work gives way to short requests of the same server, which need the interpreter only for a moment.

A thread that computes keeps the interpreter for a switch interval each time that another one asks for it,
and a short request asks about ten times: after each statement, and whenever it passes between the event loop
and its thread. So long work looks between its rows whether a short request is in progress, and stops until it
is done. It stops for a bounded time after each one that begins, and then goes on for at least half as long as
it stopped, so that it ends however many short requests there are.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

SHORT_SECONDS = 0.01
"""How long a request has the right of way, from its beginning."""
LEAST_WORK = 0.5
"""The time that long work goes on, as a multiple of that for which it stopped."""


class Traffic:
    """The short requests in progress in a server. They begin and end on its event loop."""

    __slots__ = ("_begun_at", "_stopped", "clock", "in_progress")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.in_progress = 0
        self._begun_at = 0.0
        self._stopped: deque[threading.Lock] = deque()

    @contextmanager
    def short(self) -> Iterator[None]:
        """Have the right of way while the block runs, or until it takes too long to be short."""
        self.in_progress += 1
        self._begun_at = self.clock()
        try:
            yield
        finally:
            self.in_progress -= 1
            if not self.in_progress:
                with suppress(IndexError):  # no more
                    while True:
                        self._stopped.popleft().release()

    def work(self, *, is_long: bool) -> "Work":
        """Return what a thread gives way with. Work that is not known to be long does so after a while."""
        return Work(self, 0.0 if is_long else self.clock() + SHORT_SECONDS)

    def seconds_to_stop(self, now: float) -> float:
        """Return for how long to stop now, if at all."""
        return self._begun_at + SHORT_SECONDS - now if self.in_progress else 0.0

    def stop(self, seconds: float) -> None:
        """Wait until no short request is in progress, at most for this long."""
        turn = threading.Lock()
        turn.acquire()
        self._stopped.append(turn)
        if self.in_progress:  # else it may have ended before it could see this one
            turn.acquire(timeout=seconds)
        with suppress(ValueError):
            self._stopped.remove(turn)


class Work:
    """Work in one thread."""

    __slots__ = ("_goes_on_until", "_traffic")

    def __init__(self, traffic: Traffic, goes_on_until: float) -> None:
        self._traffic = traffic
        self._goes_on_until = goes_on_until

    def give_way(self) -> None:
        """Stop for short requests, unless this work has just stopped for one."""
        traffic = self._traffic
        if not traffic.in_progress:
            return
        now = traffic.clock()
        if now < self._goes_on_until or (seconds := traffic.seconds_to_stop(now)) <= 0:
            return
        traffic.stop(seconds)
        done = traffic.clock()
        self._goes_on_until = done + (done - now) * LEAST_WORK


class _Thread(threading.local):
    work: Work | None = None


_thread = _Thread()


def begin(work: Work | None) -> None:
    """Make this the work of the current thread, until the next one begins; None never gives way."""
    _thread.work = work


def give_way() -> None:
    """Let short requests of this server go first. Call it between pieces of work of less than a millisecond.

    Does nothing in a process that is not a server.
    """
    work = _thread.work
    if work is not None:
        work.give_way()


def giving_way(items: Iterable[T]) -> Iterable[T]:
    """Return the items, each after short requests."""
    work = _thread.work
    return items if work is None else _after_others(work, items)


def _after_others(work: Work, items: Iterable[T]) -> Iterator[T]:
    for item in items:
        work.give_way()
        yield item
